"""The guard benchmark, and what it must find on places left out of training."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from openeo_nc.benchmarks import guard as benchmark
from openeo_nc.benchmarks.corruptions import CORRUPTIONS
from openeo_nc.benchmarks.foreign import foreign_tiles
from openeo_nc.benchmarks.guard_output import table
from openeo_nc.benchmarks.tiles import Tile, from_split
from openeo_nc.cli import main
from openeo_nc.codecs.guard import Guard
from openeo_nc.codecs.registry import get_card
from openeo_nc.errors import InvalidParameterError, OutputExistsError

FOREIGN_WITHOUT_FILES = {
    "white noise",
    "1/f noise",
    "test pattern",
    "bands reversed",
    "one band twelve times",
}


def scene(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    wave = 1500 + 300 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 60, (height, width))
    return (np.linspace(0.4, 1.6, 12)[:, None, None] * wave).clip(1).astype("u2")


def tile_of(pixels):
    return Tile(place="here", name="t", pixels=pixels, nodata=None, native_bpppb=None)


def test_windows_cover_the_tile_once():
    x = scene(264, 130)
    parts = list(benchmark.windows(tile_of(x)))
    assert [p.name for p in parts] == ["t/00", "t/10"]
    np.testing.assert_array_equal(np.concatenate([p.pixels for p in parts], axis=1), x)
    (whole,) = benchmark.windows(tile_of(x[:, :100, :100]))
    assert whole.pixels.shape == (12, 100, 100)


def test_auroc_is_the_chance_of_a_right_order():
    assert benchmark.auroc([0, 1], [2, 3]) == 1
    assert benchmark.auroc([2, 3], [0, 1]) == 0
    assert benchmark.auroc([1, 1], [1]) == 0.5
    assert benchmark.auroc([0, 2], [1, 3]) == 0.75


def test_forms_are_all_corruptions_and_two_that_are_none():
    found = list(benchmark.forms(scene(96, 64), seed=0))
    assert len(found) == 2 + 3 * len(CORRUPTIONS)
    assert found[1][2].shape == (12, 64, 96)


def test_foreign_kinds_need_no_files(tmp_path):
    found = foreign_tiles(tmp_path, [scene(64, 64)])
    assert {tile.kind for tile in found} == FOREIGN_WITHOUT_FILES
    assert {tile.kind for tile in found if tile.calibrates} == {"white noise"}
    assert all(t.pixels.dtype == np.int16 and len(t.pixels) == 12 for t in found)
    again = foreign_tiles(tmp_path, [scene(64, 64)])
    assert [zlib.crc32(t.pixels.tobytes()) for t in found] == [
        zlib.crc32(t.pixels.tobytes()) for t in again
    ]


@pytest.fixture
def folder(tmp_path):
    pixels = scene(72, 80)
    path = tmp_path / "tiles" / "a.tif"
    path.parent.mkdir()
    with rasterio.open(
        path, "w", driver="GTiff", count=12, height=72, width=80, dtype="uint16",
        crs="EPSG:32633", transform=from_origin(0, 0, 10, 10),
    ) as file:  # fmt: skip
        file.write(pixels)
    return path.parent


def test_command_prints_and_writes(folder, tmp_path):
    out = tmp_path / "out"
    arguments = ["bench", "guard", "--tiles", str(folder), "--codec", "klt-dct", "--out", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "guard.json").read_text())
    assert report["windows"] == 1
    assert table(report).splitlines()[0] == "Guard on tiles: 1 clean windows."
    assert {row["kind"] for row in report["coding"]} == {"clean", benchmark.TURNED, *CORRUPTIONS}
    noisy, clean = (
        next(row for row in report["coding"] if (row["kind"], row["strength"]) == which)
        for which in (("gaussian-noise", 3), ("clean", 0))
    )
    assert noisy["bpppb"] > clean["bpppb"] + 0.1
    assert (out / "guard.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputExistsError):
        benchmark.run(tiles=folder, out=out)


def test_nothing_to_measure_is_told():
    with pytest.raises(InvalidParameterError, match="data nor tiles"):
        benchmark.run()
    with pytest.raises(InvalidParameterError, match="codec"):
        benchmark.run(codecs=())


@pytest.mark.realdata
def test_calibration_holds_on_places_left_out(shared_data):
    """The same scores as `openeo-nc bench guard`, which prints what these limits are below."""
    guard = Guard.load(get_card("s2l2a-hyperprior"))
    cut = [w for tile in from_split(shared_data, "s2l2a") for w in benchmark.windows(tile)]
    rows = benchmark.score_windows(guard, cut[::2])
    report = benchmark.summarise(rows)
    assert report["false_alarms"] <= 0.12
    assert report["overall"]["auroc"] > 0.9
    found = {(row["kind"], row["strength"]): row["auroc"] for row in report["detection"]}
    assert found.pop((benchmark.TURNED, 0)) == pytest.approx(0.5, abs=0.15)
    for (kind, strength), auroc in found.items():
        assert auroc > (0.45, 0.7, 0.9)[strength - 1], (kind, strength)
    clean = [row["score"] for row in rows if row["kind"] == ""]
    for row in benchmark.score_foreign(guard, shared_data, cut[::2], clean):
        assert row["auroc"] > 0.9, row
