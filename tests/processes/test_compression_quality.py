"""compression_quality: numbers against formulas over the whole cube, bytes counted once, its files."""

from __future__ import annotations

import json
import re

import dask
import fakes
import numpy as np
import pytest
import xarray as xr
from markup import Balanced

from openeo_nc import errors, resources
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.store import write_store
from openeo_nc.cubes.stored import open_cube
from openeo_nc.graphs import execute
from openeo_nc.graphs.registry import default_registry
from openeo_nc.processes.compression_quality import compression_quality
from openeo_nc.processes.save_result import save_result

BANDS = ("B02", "B03", "B04", "B08")
TILE = 16


@pytest.fixture
def original():
    """Two dates of four smooth bands, with no data in a corner."""
    cube = fakes.cube(40, 36, bands=BANDS, dtype="uint16", nodata=0)
    values = cube.values.astype(float)
    smooth = 2000 + sum(np.roll(values, n, axis) for n in range(4) for axis in (2, 3)) / 20
    smooth[:, :, :5, :7] = 0
    return cube.copy(data=smooth.astype("uint16")).chunk({"t": 1, "y": 20, "x": 36})


@pytest.fixture
def restored(original):
    """Something near it, with other errors at borders of tiles of 16 pixels."""
    noise = np.random.default_rng(5).normal(0, 30, original.shape)
    there = original.values != 0
    noisy = np.where(there, np.clip(original.values + noise, 1, 65535), 0).astype("uint16")
    return original.copy(data=noisy).assign_attrs({"nc:tile": TILE}).chunk({"t": 1, "y": 11})


def tiles_of(cube):
    """Slices of the tiles of the cube, by row and column."""
    window = TileGrid.of(cube, TILE).window(cube)
    tops = [max(0, n * TILE - window.pad_top) for n in range(window.nj + 1)]
    lefts = [max(0, n * TILE - window.pad_left) for n in range(window.ni + 1)]
    tops[-1], lefts[-1] = cube.sizes["y"], cube.sizes["x"]
    return {
        (row, column): (slice(tops[row], tops[row + 1]), slice(lefts[column], lefts[column + 1]))
        for row in range(window.nj)
        for column in range(window.ni)
    }


def naive_psnr(x, y, valid):
    error = (np.clip(x, 0, 10000) - np.clip(y, 0, 10000))[valid] ** 2
    return 10 * np.log10(1e8 / error.mean()) if error.mean() else np.inf


def test_numbers_are_those_of_formulas_over_the_whole_cube(original, restored):
    found = compression_quality(restored, original).compute()
    x, y = original.values.astype(float), restored.values.astype(float)
    valid = x != 0
    error = np.where(valid, y - x, 0)
    total = found["overall"]
    assert total["rmse"] == pytest.approx(np.sqrt((error**2).sum() / valid.sum()))
    assert total["max_error"] == np.abs(error).max()
    assert total["valid_share"] == pytest.approx(valid.mean())
    cosine = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1)).clip(1)
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))[valid.all(1)]
    assert total["sam"] == pytest.approx(angles.mean())
    index = [(v[:, 3] - v[:, 2]) / np.where(valid[:, 2], v[:, 3] + v[:, 2], 1) for v in (x, y)]
    off = (index[1] - index[0])[valid[:, 2]]
    assert total["ndvi_mae"] == pytest.approx(np.abs(off).mean())
    assert total["ndvi_rmse"] == pytest.approx(np.sqrt((off**2).mean()))
    for place, band in enumerate(found["bands"]):
        squares = (error[:, place] ** 2).sum() / valid[:, place].sum()
        assert band["band"] == BANDS[place]
        assert band["rmse"] == pytest.approx(np.sqrt(squares))
        assert band["max_error"] == np.abs(error[:, place]).max()


def test_tiles_are_those_of_the_grid_and_psnr_is_their_mean(original, restored):
    found = compression_quality(restored, original).compute()
    x, y = original.values.astype(float), restored.values.astype(float)
    by_place = {(t["date"], t["row"], t["column"]): t for t in found["tiles"]}
    expected = {}
    for (row, column), place in tiles_of(original).items():
        for t, date in enumerate(("2022-06-01", "2022-06-06")):
            part = (t, slice(None), *place)
            expected[date, row, column] = naive_psnr(x[part], y[part], x[part] != 0)
    assert by_place.keys() == expected.keys()
    for key, decibel in expected.items():
        assert by_place[key]["psnr"] == pytest.approx(decibel)
    assert found["overall"]["psnr"] == pytest.approx(np.mean(list(expected.values())))
    assert found["overall"]["psnr_min"] == pytest.approx(min(expected.values()))
    first = [v for (date, *_), v in expected.items() if date == "2022-06-01"]
    assert found["dates"][0]["psnr"] == pytest.approx(np.mean(first))
    assert found["cube"]["peak"] == 10000
    assert found["overall"]["bytes"] is None


def test_bytes_are_those_of_the_payloads_and_no_tile_is_coded_twice(codecs, tmp_path):
    cube = fakes.cube(nodata=0)
    compressed = compress_cube(cube, "fake-rgb")
    report = compression_quality(compressed, cube)
    with output_folder(tmp_path / "out") as outputs:
        save_result(compressed, "ZARR")
        save_result(report, "JSON")
        save_result(report, "HTML")
    assert codecs.calls["pack"] == 18
    assert [s.path.name for s in outputs.saved] == ["result.zarr", "result.json", "result.html"]
    found = json.loads((tmp_path / "out/result.json").read_text())
    payloads = compressed.attrs["nc:payloads"].payloads.blocks.compute().ravel()
    assert found["overall"]["bytes"] == sum(map(len, payloads))
    assert found["overall"]["bpppb"] == pytest.approx(8 * sum(map(len, payloads)) / cube.size)
    assert found["overall"]["ratio"] == pytest.approx(16 / found["overall"]["bpppb"])
    assert found["codec"]["id"] == "fake-rgb"
    assert found["overall"]["exact_tiles"] == 18
    assert found["overall"]["psnr"] is None
    assert found["overall"]["max_error"] == 0


def test_a_store_that_was_loaded_has_its_bytes(codecs, tmp_path):
    cube = fakes.cube(dtype="float32")
    compressed = compress_cube(cube, "fake-rgb", 6)
    write_store(compressed, tmp_path / "a.zarr")
    there = compression_quality(open_cube(tmp_path / "a.zarr"), cube).compute()
    here = compression_quality(compressed, cube).compute()
    assert there == here
    assert here["overall"]["bytes"] > 0
    assert compression_quality(compressed * 1, cube).compute()["overall"]["bytes"] is None


def test_lost_pixels_make_metrics_null(original, restored):
    broken = restored.astype("float32")
    values = broken.values.copy()
    values[1, 2, 20, 20] = np.nan
    found = compression_quality(broken.copy(data=values), original).compute()
    total, first, second = found["overall"], *found["dates"]
    assert (total["lost"], first["lost"], second["lost"]) == (1, 0, 1)
    for name in ("psnr", "rmse", "max_error", "sam", "ms_ssim", "ndvi_mae"):
        assert total[name] is second[name] is None
        assert first[name] is not None
    assert found["bands"][2]["rmse"] is None
    assert found["bands"][0]["rmse"] is not None
    json.dumps(found, allow_nan=False)


def test_the_reference_may_hold_more_in_another_order(original, restored):
    expected = compression_quality(restored, original).compute()
    more = original.isel(bands=[3, 1, 0, 2])
    assert compression_quality(restored, more).compute() == expected
    part = restored.isel(t=[1], bands=[0, 2], y=slice(4, 30), x=slice(3, 33))
    found = compression_quality(part, original).compute()
    cut = original.isel(t=[1], bands=[0, 2], y=slice(4, 30), x=slice(3, 33))
    error = np.where(cut != 0, part.values.astype(float) - cut.values, 0)
    assert found["overall"]["max_error"] == np.abs(error).max()
    days = original.assign_coords(t=original.t + np.timedelta64(37000, "s"))
    assert compression_quality(restored, days).compute()["overall"] == expected["overall"]


def test_numbers_of_another_scale_are_converted(original, restored):
    small = (restored.astype("float64") * 1e-4).assign_attrs(restored.attrs | {"nc:scale": 1.0})
    found = compression_quality(small, original.assign_attrs(original.attrs | {"nc:scale": 1e-4}))
    expected = compression_quality(restored, original).compute()["overall"]
    assert found.compute()["overall"]["rmse"] == pytest.approx(expected["rmse"], rel=1e-6)


def test_dimensions_that_are_not_there(original, restored):
    flat, flat_original = (c.isel(t=0, bands=0, drop=True) for c in (restored, original))
    found = compression_quality(flat, flat_original).compute()
    assert found["dates"][0]["date"] is None
    assert found["overall"]["sam"] is found["overall"]["ndvi_mae"] is None
    assert found["overall"]["rmse"] > 0


def test_curves_of_the_reference(codecs):
    cube = fakes.cube(nodata=0)
    compressed = compress_cube(cube, "fake-rgb", 6)
    options = {"qualities": [4, 6], "codecs": ["fake-rgb", "klt-dct"]}
    found = compression_quality(compressed, cube, options).compute()
    ours, other = found["rate_distortion"]
    assert ours["points"][1]["bytes"] == found["overall"]["bytes"]
    assert ours["points"][1]["psnr"] == pytest.approx(found["overall"]["psnr"])
    assert [p["quality"] for p in other["points"]] == [4, 6]
    assert other["points"][0]["bytes"] < other["points"][1]["bytes"]
    tiles = compress_cube(cube, "klt-dct", 4).attrs["nc:payloads"].payloads.blocks.compute()
    assert other["points"][0]["bytes"] == sum(map(len, tiles.ravel()))


# --- as a process --------------------------------------------------------------------------------


@pytest.fixture
def registry(original):
    from openeo_pg_parser_networkx.process_registry import Process

    processes = default_registry()
    processes["load_fake"] = Process(
        spec={"id": "load_fake", "parameters": []}, implementation=lambda: original
    )
    yield processes
    del processes["load_fake"]


GRAPH = {
    "load": {"process_id": "load_fake", "arguments": {}},
    "compress": {
        "process_id": "compress_cube",
        "arguments": {"data": {"from_node": "load"}, "codec": "klt-dct", "quality": 5},
    },
    "quality": {
        "process_id": "compression_quality",
        "arguments": {"data": {"from_node": "compress"}, "reference": {"from_node": "load"},
                      "options": {"qualities": [4, 6], "codecs": ["klt-dct"]}},
    },
    "json": {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "quality"}, "format": "JSON"},
    },
    "page": {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "quality"}, "format": "html",
                      "options": {"filename_prefix": "page"}},
        "result": True,
    },
}  # fmt: skip


def test_a_graph_measures_and_saves_a_report(registry, tmp_path):
    outputs = output_folder(tmp_path / "out")
    with outputs as written, dask.config.set(scheduler=fakes.raising_scheduler):
        assert execute(GRAPH, registry=registry) is True
    report, page = written.saved
    assert report.to_dict()["quality"]["psnr"] > 25
    found = json.loads(report.path.read_text())
    schema = json.loads((resources.process_definitions() / "compression_quality.json").read_text())[
        "returns"
    ]["schema"]
    import jsonschema

    jsonschema.validate(found, schema)
    assert set(found) == set(schema["properties"])
    assert set(found["overall"]) == set(schema["properties"]["overall"]["properties"])
    text = page.path.read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<script" not in text
    for part in ("Worst tiles", "klt-dct", f"{found['overall']['bpppb']:.3f}", "B08"):
        assert part in text


def test_the_process_gives_its_object_when_computed(registry):
    graph = {name: GRAPH[name] for name in ("load", "compress")}
    graph["quality"] = {**GRAPH["quality"], "result": True}
    result = execute(graph, registry=registry)
    assert dask.is_dask_collection(result)
    (found,) = dask.compute(result)
    assert found == result.persist().compute()
    assert [curve["codec"] for curve in found["rate_distortion"]] == ["klt-dct"]


@pytest.mark.parametrize(
    ("change", "options", "error"),
    [
        (lambda c: c.isel(x=slice(1, None)), {}, errors.GridMismatchError),
        (lambda c: c.isel(t=[0]), {}, errors.GridMismatchError),
        (lambda c: c.assign_coords(x=c.x + 3), {}, errors.GridMismatchError),
        (lambda c: c.rio.write_crs("EPSG:32632"), {}, errors.GridMismatchError),
        (lambda c: c.isel(bands=[0, 1]), {}, errors.BandMismatchError),
        (lambda c: c.isel(bands=[0, 1]).drop_vars("bands"), {}, errors.GridMismatchError),
        (lambda c: c.drop_vars("spatial_ref"), {}, errors.CRSMissingError),
        (lambda c: c.isel(x=0), {}, errors.DimensionMissingError),
        (lambda c: c, {"red": "B99"}, errors.BandMismatchError),
        (lambda c: c, {"peak": -1}, errors.InvalidParameterError),
        (lambda c: c, {"peak": "high"}, errors.InvalidParameterError),
        (lambda c: c, {"qualities": [4]}, errors.InvalidParameterError),
        (lambda c: c, {"qualities": [99], "codecs": ["klt-dct"]}, errors.InvalidParameterError),
        (lambda c: c, {"qualities": [4], "codecs": ["nothing"]}, errors.CodecNotFoundError),
        (lambda c: c, {"tiles": 3}, errors.InvalidParameterError),
    ],
)
def test_what_cannot_be_compared_is_refused(original, restored, change, options, error):
    with pytest.raises(error):
        compression_quality(restored, change(original), options)


def test_formats_hold_what_they_are_for(original, restored, tmp_path):
    report = compression_quality(restored, original)
    with pytest.raises(errors.FormatUnsuitableError, match="HTML, JSON"):
        save_result(report, "ZARR")
    with pytest.raises(errors.FormatUnsuitableError, match="ZARR"):
        save_result(original, "HTML")
    with pytest.raises(errors.FormatUnsupportedError, match="JSON"):
        save_result(report, "PDF")
    with pytest.raises(errors.InvalidParameterError), output_folder(tmp_path / "out"):
        save_result(report, "JSON", {"self_contained": True})


def test_dask_arrays_in_memory_are_as_good(original, restored):
    lazy = compression_quality(restored, original).compute()
    computed = compression_quality(restored.compute(), xr.DataArray(original.compute())).compute()
    assert lazy == computed


def test_slivers_of_tiles_are_shown_last(original, restored):
    quality = compression_quality(restored, original).quality.compute()
    shares = {(t["date"], t["row"], t["column"]): t["share"] for t in quality.document["tiles"]}
    expected = {
        place: (part[0].stop - part[0].start) * (part[1].stop - part[1].start) / TILE**2
        for place, part in tiles_of(original).items()
    }
    assert {key[1:]: share for key, share in shares.items()} == pytest.approx(expected)
    ranks = [(sample.share < 1 / 8, sample.psnr) for sample in quality.samples]
    assert len(ranks) == 6
    assert ranks == sorted(ranks)
    assert not ranks[0][0]
    worst = min(t["psnr"] for t in quality.document["tiles"] if t["share"] >= 1 / 8)
    assert ranks[0][1] == worst
    sample = quality.samples[0]
    t, row, column = sample.place
    part = (t, slice(None), *tiles_of(original)[row, column])
    x, y = original.values[part].astype(float), restored.values[part].astype(float)
    error = np.sqrt(np.where(x != 0, (y - x) ** 2, 0).mean(axis=0))
    np.testing.assert_allclose(
        sample.error, np.where((x != 0).any(axis=0), error, np.nan), rtol=1e-5
    )


def landsat():
    """Digital numbers of surface reflectance as Landsat's Collection 2 has them: 7000 to 30000."""
    cube = fakes.cube(40, 36, bands=("red", "nir08"), dtype="uint16")
    share = cube.values / cube.values.max()
    return cube.copy(data=np.rint(7000 + 23000 * share).astype("uint16")).chunk({"t": 1})


def test_numbers_above_10000_have_errors_as_others_have():
    cube = landsat()
    off = cube.values.astype(int) + np.random.default_rng(0).integers(-600, 600, cube.shape)
    data = cube.copy(data=off.astype("uint16")).assign_attrs({"nc:tile": TILE})
    found = compression_quality(data, cube).compute()
    total, rmse = found["overall"], found["overall"]["rmse"]
    assert total["exact_tiles"] == 0
    assert total["psnr"] == pytest.approx(20 * np.log10(10000 / rmse), abs=0.1)
    assert total["ms_ssim"] < 0.9999


def test_a_psnr_that_was_asked_for_is_the_one_reported():
    cube = landsat()
    compressed = compress_cube(cube, "klt-dct", target_psnr=55)
    total = compression_quality(compressed, cube).compute()["overall"]
    assert total["psnr_min"] == pytest.approx(55, abs=0.3)
    assert total["rmse"] == pytest.approx(10000 * 10 ** (-55 / 20), rel=0.1)


def test_a_tile_whose_errors_no_psnr_sees_is_not_exact():
    cube = fakes.cube(16, 16, bands=("a", "b"), dtype="uint16")
    cube = cube.copy(data=np.full(cube.shape, 10000, "uint16")).chunk({"t": 1})
    found = compression_quality(cube + np.uint16(3), cube).compute()["overall"]
    assert (found["exact_tiles"], found["psnr"], found["max_error"]) == (0, None, 3)
