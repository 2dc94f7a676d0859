"""inspect_store: what it says is what lies on disk, and the errors are those of the pixels."""

import json
import math

import fakes
import numpy as np
import pytest
import zarr

from openeo_nc import errors
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.inspect import inspect_store
from openeo_nc.cubes.measures import TileError, summary
from openeo_nc.cubes.metrics import psnr
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.store import write_store


@pytest.fixture(autouse=True)
def _codecs(codecs):
    pass


def test_bytes_and_rates_are_those_on_disk(tmp_path):
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    payloads = [len(p) for p in payloads_of(compressed).blocks.compute().ravel()]
    report = write_store(compressed, tmp_path / "s.zarr", shard_tiles=2, self_contained=True)
    assert report == inspect_store(tmp_path / "s.zarr")
    assert report.bytes == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    data = report.arrays[0]
    files = [p for p in (tmp_path / "s.zarr" / "data" / "c").rglob("*") if p.is_file()]
    assert data.name == "data"
    assert data.objects == len(files) == 8
    assert data.bytes == sum(p.stat().st_size for p in files)
    assert data.bytes == sum(payloads) + 8 * (4 * 16 + 4)  # payloads, indexes, checksums
    assert data.chunk_bytes == (min(payloads), sum(payloads) / 18, max(payloads))
    assert report.date_bytes == tuple(
        sum(p.stat().st_size for p in files if p.parts[-4] == str(t)) for t in range(2)
    )
    assert report.shape == (2, 3, 40, 36)
    assert report.bpppb == 8 * data.bytes / (2 * 3 * 40 * 36)
    assert report.ratio == 16 / report.bpppb
    assert (report.ratio_to, report.tiles, report.tile) == ("uint16", 18, 16)
    assert (report.codec, report.quality, report.view) == ("fake-rgb", 5.0, "pixels")
    assert report.self_contained


def test_errors_are_those_of_the_pixels(tmp_path):
    cube = fakes.cube(32, 32, dtype="float32", x0=600_000.0 - 160 * 5)
    values = cube.values
    values[0, :, :16, :16] = np.nan
    values[1, 1, 20:, 20:] = np.nan
    cube = cube.copy(data=values).chunk({"t": 1})
    compressed = compress_cube(cube, "fake-rgb", 2.0)
    report = write_store(compressed, tmp_path / "s.zarr")
    ratios = []
    for t in range(2):
        for row in range(2):
            for column in range(2):
                part = np.s_[t, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                ratios.append(psnr(values[part], compressed.values[part], peak=10_000.0))
    found = [ratio for ratio in ratios if not math.isnan(ratio)]
    assert len(found) == 7
    assert report.metrics["psnr"] == pytest.approx(np.mean(found))
    assert report.metrics["psnr_min"] == pytest.approx(min(found))
    assert report.metrics["max_error"] == np.nanmax(np.abs(values - compressed.values))
    assert (report.metrics["tiles"], report.metrics["exact_tiles"]) == (7, 0)
    record = json.loads((tmp_path / "s.zarr" / ".nc" / "write.json").read_text())
    assert [tile["tile"] for tile in record["tiles"]][:2] == [[0, 0, 0], [0, 0, 1]]
    assert record["tiles"][0]["psnr"] is None


def test_no_data_of_integers_is_no_error(tmp_path):
    cube = fakes.cube(dtype="int16", nodata=-9)
    values = cube.values
    values[:, :, :9] = -9
    compressed = compress_cube(cube.copy(data=values).chunk({"t": 1}), "fake-rgb", 2.0)
    report = write_store(compressed, tmp_path / "s.zarr")
    valid = values != -9
    assert (
        report.metrics["max_error"] == np.abs(values - compressed.values.astype(float))[valid].max()
    )


def test_exact_tiles_are_counted(tmp_path):
    report = write_store(compress_cube(fakes.cube(), "fake-rgb", 8.0), tmp_path / "s.zarr")
    assert report.metrics == {
        "tiles": 18, "exact_tiles": 18, "psnr": None, "psnr_min": None, "max_error": 0.0,
    }  # fmt: skip


def test_a_summary_of_nothing_is_none():
    assert summary([]) is None
    assert summary([TileError(tile=(0, 0, 0), psnr=None, max_error=None)]) is None


def test_embeddings_and_plain_stores(tmp_path):
    report = write_store(encode_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "e.zarr")
    assert (report.view, report.arrays[0].name, report.shape) == (
        "latents",
        "embeddings",
        (2, 3, 40, 36),
    )
    assert report.metrics is None
    report = write_store(fakes.cube() * 2, tmp_path / "p.zarr")
    assert (report.view, report.codec, report.bpppb, report.tiles) == (None, None, None, None)
    assert report.arrays[0].name == "data"
    assert report.arrays[0].stored_chunks == 2
    assert report == inspect_store(tmp_path / "p.zarr")


def test_stores_of_others_and_damage(tmp_path):
    group = zarr.open_group(tmp_path / "z", mode="w")
    group.create_array("a", shape=(4, 4), dtype="f4", chunks=(2, 2), shards=(4, 4))[:] = 1
    report = inspect_store(tmp_path / "z")
    assert [array.name for array in report.arrays] == ["a"]
    assert report.arrays[0].stored_chunks == 4
    with pytest.raises(errors.FormatUnsuitableError):
        inspect_store(tmp_path)
    write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    shard = tmp_path / "s.zarr" / "data" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(errors.PayloadError, match="damaged"):
        inspect_store(tmp_path / "s.zarr")
