"""The benchmark of bounds: what is counted, what is smallest, and that bounds are checked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from openeo_nc.benchmarks import bounds
from openeo_nc.benchmarks.tiles import Tile
from openeo_nc.cli import main
from openeo_nc.codecs.registry import UNIVERSAL, choose
from openeo_nc.errors import InvalidParameterError, OutputExistsError
from openeo_nc.sentinel2 import BANDS


def tile_of(pixels, nodata):
    return Tile(place="p", name="t", pixels=pixels, nodata=nodata, native_bpppb=None)


@pytest.fixture(scope="module")
def tile():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:30, :40]
    pixels = (900 + 400 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 20, (3, 30, 40))).round()
    pixels[:, :4, :4] = 0
    return tile_of(pixels.astype(np.uint16), 0.0)


def test_rows_means_and_table(tile):
    codecs = (UNIVERSAL, "jpegxl", "pcodec", "htj2k")
    rows = bounds.measure([tile, tile], codecs, (0.0, 8.0))
    by_codec = {(r["codec"], r["bound"]): r for r in rows}
    for bound in (0.0, 8.0):
        kept = [by_codec[c, bound] for c in codecs if by_codec[c, bound]["bytes"] is not None]
        assert all(row["error"] <= bound for row in kept)
        assert all(row["bpppb"] == row["bytes"] * 8 / tile.pixels.size for row in kept)
        smallest = by_codec[bounds.SMALLEST, bound]
        taken = [row for row in kept if row["codec"] != "htj2k"]  # no fallback of compress_cube
        assert smallest["bytes"] == min(row["bytes"] for row in taken)
        assert by_codec[smallest["by"], bound]["bytes"] == smallest["bytes"]
    assert by_codec[UNIVERSAL, 0.0]["psnr"] is None  # exact
    found = {(m["codec"], m["bound"]): m for m in bounds.means(rows)}
    assert found[UNIVERSAL, 8.0]["bpppb"] == by_codec[UNIVERSAL, 8.0]["bpppb"]
    assert sum(found[bounds.SMALLEST, 8.0]["by"].values()) == 2
    text = bounds.table({"source": "s", "means": bounds.means(rows)})
    assert f"{found[UNIVERSAL, 8.0]['bpppb']:.3f}" in text
    assert "tiles by " in text


def test_a_codec_that_does_not_keep_a_bound_has_a_gap(tile):
    rows = bounds.measure([tile_of(tile.pixels.astype(np.float32) / 7, None)], ("sperr",), (0.0,))
    assert [row["bytes"] for row in rows] == [None]
    (mean,) = bounds.means(rows)
    assert mean["bpppb"] is None
    assert "sperr" in bounds.table({"source": "s", "means": [mean]})


def test_defaults_and_bad_input(tmp_path):
    assert {choose("auto", BANDS).codec_id, UNIVERSAL, "jpegxl"} <= set(bounds.default_codecs())
    with pytest.raises(InvalidParameterError, match="Neither"):
        bounds.run()
    failed = CliRunner().invoke(main, ["bench", "bounds", "--tiles", str(tmp_path)])
    assert failed.output.startswith("NoDataAvailable")
    (tmp_path / bounds.FILE).write_text("mine")
    with pytest.raises(OutputExistsError):
        bounds.run(tiles=tmp_path, out=tmp_path)


@pytest.mark.realdata
def test_the_smallest_of_real_tiles_and_its_report(shared_data, tmp_path):
    report = bounds.run(
        shared_data, codecs=("jpegxl", "pcodec"), bounds=(0.0,), out=tmp_path, progress=False
    )
    assert json.loads((tmp_path / bounds.FILE).read_text()) == report
    rates = {m["codec"]: m["bpppb"] for m in report["means"]}
    assert rates[bounds.SMALLEST] <= min(rates["jpegxl"], rates["pcodec"])
    assert all(row["error"] == 0 for row in report["tiles"])
