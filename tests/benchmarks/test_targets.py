"""The benchmark of targets: what it measures, how it says what is missed, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from openeo_nc.benchmarks import targets
from openeo_nc.cli import main
from openeo_nc.codecs.registry import open_codec
from openeo_nc.cubes.metrics import psnr
from openeo_nc.errors import CodecNotFoundError, InvalidParameterError, NoDataAvailableError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def folder(tmp_path):
    """Two tiles of twelve bands; 0 is no data."""
    rng = np.random.default_rng(3)
    ground = rng.normal(size=(48, 56)).cumsum(0).cumsum(1)
    ground = 2500 + 500 * ground / ground.std() * np.linspace(0.5, 1.5, 12)[:, None, None]
    values = (ground + rng.normal(0, 60, ground.shape)).clip(1, 9999).astype(np.uint16)
    values[:, 4:9, 10:30] = 0
    profile = {"driver": "GTiff", "count": 12, "height": 48, "width": 56, "nodata": 0}
    folder = tmp_path / "scene"
    folder.mkdir()
    for name, tile in (("a", values), ("b", values[:, ::-1])):
        with rasterio.open(folder / f"{name}.tif", "w", dtype="uint16", **profile) as file:
            file.write(tile)
    return folder


def test_rows_are_of_what_payloads_decode_to(folder, monkeypatch):
    codecs, payloads = ("klt-dct", "sz3"), {}
    encode = targets.encode_tile

    def kept(codec, x, rate, **options):
        payload = encode(codec, x, rate, **options)
        payloads.setdefault((codec.card.codec_id, rate.target_psnr), []).append((x, payload))
        return payload

    monkeypatch.setattr(targets, "encode_tile", kept)
    report = targets.run(tiles=folder, codecs=codecs, targets=(44, 50), crop=40, progress=False)
    for row, case in zip(report["tiles"][::2], payloads, strict=True):
        (x, payload), _ = payloads[case]
        assert x.shape == (12, 40, 40)
        assert (row["codec"], row["target"], row["bytes"]) == (*case, len(payload))
        assert row["bpppb"] == 8 * len(payload) / x.size
        out = open_codec(case[0]).decode(payload)
        assert row["psnr"] == pytest.approx(psnr(x, out, peak=10000, nodata=0))
    klt = [mean for mean in report["means"] if mean["codec"] == "klt-dct"]
    assert [(mean["target"], mean["within"], mean["tiles"]) for mean in klt] == [
        (44, 2, 2), (50, 2, 2)
    ]  # fmt: skip
    assert all(mean["worst"] <= targets.WITHIN for mean in klt)
    assert f"{klt[0]['worst']:.2f} (2 of 2)" in targets.table(report)


def test_what_is_missed_is_told():
    row = {"codec": "c", "target": 45.0, "bpppb": 1.0, "encode_seconds": 1.0, "decode_seconds": 2.0}
    (mean,) = targets.means([{**row, "psnr": found} for found in (45.2, 44.5, None)])
    assert mean["worst"] == pytest.approx(0.5)
    assert (mean["within"], mean["exact"], mean["tiles"]) == (1, 1, 3)
    text = targets.table({"source": "s", "crop": 8, "means": [mean]})
    assert "0.50 (1 of 3, 1 exact)" in text
    (exact,) = targets.means([{**row, "psnr": None}])
    assert exact["worst"] is None
    assert "exact" in targets.table({"source": "s", "crop": 8, "means": [exact]}).splitlines()[-9]


def test_the_command_prints_json(folder):
    arguments = ["bench", "targets", "--tiles", str(folder), "--codec", "pcodec", "--target", "45"]
    result = CliRunner().invoke(main, [*arguments, "--crop", "32", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["crop"] == 32
    (mean,) = report["means"]
    assert (mean["target"], mean["exact"]) == (45.0, 2)


def test_bad_input(folder, tmp_path):
    with pytest.raises(InvalidParameterError, match="Neither"):
        targets.run()
    with pytest.raises(CodecNotFoundError, match="nothing"):
        targets.run(tiles=folder, codecs=["nothing"])
    with pytest.raises(NoDataAvailableError):
        targets.run(tiles=tmp_path)
