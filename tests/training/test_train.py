"""Training on a folder of one's own tiles: a short run gives weights that encode and decode."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from openeo_nc.cli import main
from openeo_nc.codecs import weights
from openeo_nc.codecs.hyperprior import HyperpriorCodec
from openeo_nc.codecs.registry import open_codec, parse_card
from openeo_nc.codecs.restoration import RestorationCodec
from openeo_nc.errors import InvalidParameterError, NoDataAvailableError
from openeo_nc.training import data as samples
from openeo_nc.training.run import CONFIGS, train_codec
from openeo_nc.training.split import load_split, split_folder
from openeo_nc.training.train import read_config


def write_tile(path, seed, size=160):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / 20
    scene = np.stack([np.sin(x + seed), np.cos(y), np.sin(x * y / 9)])
    bands = 2500 + 600 * np.tensordot(rng.uniform(0, 1, (12, 3)), scene, 1)
    bands += rng.normal(0, 30, bands.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 12, "dtype": "uint16", "height": size, "width": size}
    profile |= {"crs": "EPSG:32632", "transform": from_origin(5e5, 5e6, 10, 10)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands.astype("uint16"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles")
    for i, name in enumerate(["alps/one.tif", "alps/two.tif", "coast.tif", "steppe.tif"]):
        write_tile(root / name, i)
    return root


def small_config(tmp_path):
    config = json.loads((CONFIGS / "s2l2a-hyperprior.json").read_text())
    config |= {"batch": 2, "crop": 64, "warm_up": 2, "evaluate_every": 4, "place_weights": {}}
    config["widths"] = {
        "latents": 96, "transform": 16, "analysis_blocks": 1, "synthesis_blocks": 1,
        "hyper": 4, "context": 8, "slices": [16, 80],
    }  # fmt: skip
    config["split"] = str(CONFIGS.parent / "splits" / "s2l2a.json")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return path


def test_a_short_run_ships_a_codec(folder, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "--data", str(folder), "--config", str(small_config(tmp_path))]
    result = CliRunner().invoke(
        main, [*arguments, "--out", str(out), "--steps", "6", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "steppe" in result.stdout
    assert f"weights: {out / 'weights'}" in result.stdout
    split = json.loads((out / "split.json").read_text())
    assert [e["place"] for e in split["evaluation"]] == ["steppe"]
    assert {e["place"] for e in split["train"]} == {"alps", "coast"}

    card = parse_card(json.loads((out / "cards" / "s2l2a-hyperprior.json").read_text()))
    codec = HyperpriorCodec(card, weights.load(card, [out / "weights"]), None)
    with rasterio.open(folder / "steppe.tif") as file:
        x = file.read()
    payload = codec.encode(x, 5.0)
    stated = card.evaluation["bytes"]["steppe"]["steppe"]["5"]
    assert stated["bytes"] == len(payload)
    error = np.sqrt(np.mean((codec.decode(payload).astype(float) - x) ** 2))
    assert error < 200
    assert [row["step"] for row in card.evaluation["curve"]] == [4, 6]

    again = CliRunner().invoke(main, [*arguments, "--out", str(out)])
    assert again.exit_code != 0
    assert "OutputExists" in again.output


def test_places_never_stand_on_both_sides(tmp_path):
    entry = {"place": "here", "files": ["a.tif"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": [entry], "evaluation": [entry]}))
    with pytest.raises(InvalidParameterError, match="here"):
        load_split(tmp_path, path)


def test_a_folder_with_part_of_a_split_is_refused(tmp_path):
    sides = {s: [{"place": s, "files": [f"{s}.tif"]}] for s in ("train", "evaluation")}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(sides))
    write_tile(tmp_path / "train.tif", 0, 16)
    with pytest.raises(InvalidParameterError, match=r"evaluation\.tif"):
        load_split(tmp_path, path)


def test_one_place_is_too_few(tmp_path):
    write_tile(tmp_path / "only" / "a.tif", 0, 16)
    write_tile(tmp_path / "only" / "b.tif", 0, 16)
    with pytest.raises(NoDataAvailableError, match="1 places"):
        split_folder(tmp_path)


def test_repeated_pixels_are_interpolated_and_ten_metre_bands_are_left():
    rng = np.random.default_rng(0)
    native = rng.normal(0, 1, (10, 12)).astype("f4")
    smooth = samples.interpolate_repeated(native.repeat(2, axis=0).repeat(2, axis=1))
    assert smooth.shape == (20, 24)
    inner = smooth[1:-1, 1:-1]
    np.testing.assert_allclose(inner[0, 0], 0.75**2 * native[0, 0] + 0.1875 * (
        native[0, 1] + native[1, 0]) + 0.0625 * native[1, 1], rtol=1e-5)  # fmt: skip


def test_the_shipped_configuration_is_read():
    config = read_config(CONFIGS / "s2l2a-hyperprior.json")
    assert (CONFIGS / config.split).is_file()
    assert sum(config.widths["slices"]) == config.widths["latents"]


def test_a_short_run_ships_a_restoration(folder, tmp_path):
    config = json.loads((CONFIGS / "s2l2a-restoration.json").read_text())
    config |= {"crops": 6, "batch": 2, "width": 16, "blocks": 1, "evaluate_every": 4}
    config |= {"place_weights": {}, "split": str(CONFIGS.parent / "splits" / "s2l2a.json")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "run"
    arguments = ["--data", str(folder), "--config", str(tmp_path / "config.json")]
    result = CliRunner().invoke(
        main, ["train", *arguments, "--out", str(out), "--steps", "6", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    card = parse_card(json.loads((out / "cards" / "s2l2a-restoration.json").read_text()))
    codec = RestorationCodec(card, weights.load(card, [out / "weights"]), None)
    with rasterio.open(folder / "steppe.tif") as file:
        x = file.read()
    payload = codec.encode(x, 5.0)
    assert card.evaluation["bytes"]["steppe"]["steppe"]["5"]["bytes"] == len(payload)
    universal = open_codec("klt-dct")
    plain = universal.decode(universal.encode(x, 5.0))
    errors = [np.mean((a.astype(float) - x) ** 2) for a in (codec.decode(payload), plain)]
    assert errors[0] <= 1.001 * errors[1]
    assert [row["step"] for row in card.evaluation["curve"]] == [4, 6]


def test_a_configuration_is_a_shipped_one_or_a_file(folder, tmp_path):
    with pytest.raises(InvalidParameterError, match="s2l2a-restoration"):
        train_codec("nonesuch", folder, tmp_path / "run")
