"""Cards of the models of `udfs/`: they agree with files, encoder, splits and docs, and fits repeat."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import openeo_nc
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.models.registry import get_model_card
from openeo_nc.resources import udfs
from openeo_nc.sentinel2 import BANDS
from udfs.fit import embedded, left_out, places, scores, table, writing

NAMES = table.UDFS
SPLIT = Path(openeo_nc.__file__).parent / "training/splits/s2-embed.json"
OF_NO_LABELS = ("change", "anomaly")


def weights(name):
    return json.loads(
        (udfs() / f"{name}.py").read_text().split('json.loads("""')[1].split('"""')[0]
    )


def numbers(value):
    if isinstance(value, dict):
        return sum(numbers(one) for field, one in value.items() if field not in ("codes", "dim"))
    return sum(map(numbers, value)) if isinstance(value, list) else isinstance(value, int | float)


def test_every_udf_has_a_card_and_a_fit_script():
    files = {path.stem for path in udfs().glob("*.py")}
    assert files == {path.stem for path in udfs().glob("*.json")} == set(NAMES)
    assert all((udfs() / "fit" / f"{name}.py").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_is_asked_of_it(name):
    card = table.card(name)
    assert card["name"] == name
    assert card["command"] == f"python -m udfs.fit.{name} --data ../shared/data"
    assert card["parameters"] == numbers(weights(name))
    assert {"title", "input", "output", "licence", "attributions", "limits", "left_out_places"} <= {
        *card
    }
    assert card["training_places"]
    for score in [card["score"], *card.get("more_scores", [])]:
        assert score["interval"][0] <= score["value"] <= score["interval"][1]
        assert score["places"] == len(score["each_place"])
        assert ("report" in score["standing"]) == (score["places"] < 10)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_the_encoder_that_there_is(name):
    if (encoder := table.card(name)["encoder"]) is not None:
        card = get_model_card(encoder["id"])
        assert encoder["weights_sha256"] == card.weights_sha256, "run make udfs"
        assert encoder["version"] == card.version


@pytest.mark.parametrize("name", NAMES)
def test_no_place_is_measured_that_was_trained_on(name):
    """Neither by the encoder, nor, where places are not left out in turn, by the UDF."""
    card = table.card(name)
    split = json.loads(SPLIT.read_text())
    seen = {file for entry in split["train"] for file in entry["files"]}
    measured = set(card["score"]["each_place"])
    if name in OF_NO_LABELS:
        assert measured == set(card["left_out_places"])
        assert not measured & set(card["training_places"])
    elif card["encoder"] is not None:
        assert measured <= set(card["training_places"])
        assert not seen & {file for files in card["training_places"].values() for file in files}


def test_the_table_in_the_docs_is_that_of_the_cards():
    assert "\n".join(table.lines()) in table.PAGE.read_text(), "run python -m udfs.fit.table"


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["land_cover", "crop_type", "vessels"])
def test_a_fit_gives_what_is_there(shared_data, tmp_path, monkeypatch, name):
    folder = tmp_path / "udfs"
    shutil.copytree(udfs(), folder, ignore=shutil.ignore_patterns("fit", "__pycache__"))
    monkeypatch.setattr(writing, "FOLDER", folder)
    importlib.import_module(f"udfs.fit.{name}").fit.callback(shared_data)
    card, found = table.card(name), json.loads((folder / f"{name}.json").read_text())
    assert found["training_places"] == card["training_places"]
    assert found["score"]["each_place"].keys() == card["score"]["each_place"].keys()
    assert found["score"]["value"] == pytest.approx(card["score"]["value"], abs=0.01)
    made = (folder / f"{name}.py").read_text().split('json.loads("""')[1].split('"""')[0]
    for field, value in weights(name).items():
        if field in ("weight", "bias"):
            np.testing.assert_allclose(json.loads(made)[field], value, rtol=0.05, atol=0.02)
        else:
            assert json.loads(made)[field] == value


@pytest.mark.realdata
def test_places_of_scenes_are_none_of_training(shared_data):
    seen = {f for entry in json.loads(SPLIT.read_text())["train"] for f in entry["files"]}
    for place in [*places.majortom(shared_data), *places.scenes(shared_data)]:
        assert not seen & set(place.files)
        assert place.pixels.shape[1] == 12
        assert place.labels.shape == (len(place.pixels), *place.pixels.shape[-2:])


def test_the_class_of_a_patch_is_that_of_most_of_its_pixels():
    labels = np.full((1, 17, 16), 255, np.uint8)
    labels[0, :8, :8] = 4
    labels[0, 2:4, :] = 6
    labels[0, 8:16, 8:12] = 5
    found = places.patches(labels)
    assert found.tolist() == [[[4, 255], [255, 5]]]


def test_moments_of_patches():
    pixels = np.random.default_rng(0).normal(size=(2, 3, 16, 24))
    found = left_out.moments(pixels)
    np.testing.assert_allclose(found[6 + 4, :3], pixels[1, :, 8:16, 8:16].mean((1, 2)))
    np.testing.assert_allclose(found[6 + 4, 3:], pixels[1, :, 8:16, 8:16].std((1, 2)))


def test_scores_against_counts():
    truth, found = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    tables = {"a": scores.confusion(truth, found, 2), "b": scores.confusion(truth, truth, 2)}
    told = scores.score("accuracy", tables, scores.accuracy)
    assert told["value"] == 0.8
    assert told["each_place"] == {"a": 0.6, "b": 1.0}
    assert told["interval"] == [0.6, 1.0]
    assert scores.f1(1)([tables["a"]]) == pytest.approx(2 / 3)
    assert np.isnan(scores.f1(0)([scores.confusion(truth[2:], truth[2:], 2)]))


def test_places_are_embedded_as_encode_embedding_embeds_them():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(200, 4000, (2, 12, 48, 320)).astype(np.float32)
    pixels[:, 7] = np.nan
    pixels[1, :, 8:16, 264:280] = np.nan
    coords = {"t": np.array(["2024-05-01", "2024-05-06"], "datetime64[ns]"), "bands": list(BANDS),
              "y": -10.0 * (np.arange(48) + 0.5), "x": 10.0 * (np.arange(320) + 0.5)}  # fmt: skip
    cube = xr.DataArray(pixels, dims=("t", "bands", "y", "x"), coords=coords,
                        attrs={"nc:scale": 0.0001}).rio.write_crs(32632)  # fmt: skip
    expected = embed_cube(cube.chunk({"t": 1}), embedded.encoder()).values[..., :6, :40]
    found = embedded.embed(pixels)
    assert np.isnan(found[1, :, 1, 33:35]).all()
    step = np.nanmax(np.abs(expected)) / 127
    np.testing.assert_allclose(found, expected, atol=1.01 * step)
