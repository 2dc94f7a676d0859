"""Stores: what comes back, who writes what, and what a crash or a taken path leaves."""

import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dask
import fakes
import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster

import openeo_nc.cubes.publishing as publishing_module
import openeo_nc.cubes.staging as staging_module
import openeo_nc.cubes.store as store_module
from openeo_nc import errors
from openeo_nc.codecs import loading, registry
from openeo_nc.codecs.views import latent_view, pixel_view, view_of
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.shards import shard_bytes, tile_bytes
from openeo_nc.cubes.store import plan_store, write_store
from openeo_nc.cubes.stored import open_cube

OFF_GRID = {"x0": 600_070.0, "y0": 5_000_030.0}


@pytest.fixture(autouse=True)
def _fresh(codecs):
    loading._codecs.clear()
    yield
    loading._codecs.clear()


def holes(cube, nodata):
    """The cube without data in a corner, in one band of a block, and on its last date."""
    values = cube.values.copy()
    values[0, :, :7, :9] = nodata
    values[0, 1, 20:30, 20:30] = nodata
    values[-1] = nodata
    return cube.copy(data=values).chunk({"t": 1})


def cubes():
    reflectance = fakes.cube(dtype="float32", **OFF_GRID) * np.float32(0.0001)
    return {
        "uint16": fakes.cube(**OFF_GRID),
        "int16 with no data": holes(fakes.cube(dtype="int16", nodata=-3, **OFF_GRID), -3),
        "float32 with NaN": holes(fakes.cube(dtype="float32", **OFF_GRID), np.nan),
        "reflectance": holes(reflectance.assign_attrs({"nc:scale": 1.0}), np.nan),
        "whole tiles": fakes.cube(32, 48, x0=600_000.0, y0=5_000_000.0),
        "one date, no t": fakes.cube(dates=1).isel(t=0, drop=True),
        "degrees": fakes.cube(x0=2.33333, y0=41.77777, res=0.00012345, crs="EPSG:4326"),
        "its own CRS": fakes.cube(crs="+proj=laea +lat_0=52 +lon_0=10.1 +ellps=GRS80 +units=m"),
        "named dates": fakes.cube().assign_coords(t=["before", "after"]),
        "transposed": fakes.cube().transpose("y", "x", "bands", "t"),
    }


def files(path):
    return {str(p.relative_to(path)) for p in Path(path).rglob("*") if p.is_file()}


def content(path):
    return {name: (Path(path) / name).read_bytes() for name in files(path)}


def leftovers(path):
    return [p for p in path.parent.iterdir() if p != path]


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", cubes())
def test_a_compressed_cube_comes_back_as_it_was_saved(tmp_path, what):
    compressed = compress_cube(cubes()[what], "fake-rgb", 6.0)
    write_store(compressed, tmp_path / "s.zarr", shard_tiles=2)
    opened = open_cube(tmp_path / "s.zarr")
    xr.testing.assert_equal(opened.drop_vars("spatial_ref"), compressed.drop_vars("spatial_ref"))
    assert (opened.dims, opened.dtype) == (compressed.dims, compressed.dtype)
    assert opened.rio.crs == compressed.rio.crs
    assert opened.attrs.get("_FillValue") == compressed.attrs.get("_FillValue")
    assert opened.attrs.get("nc:scale") == compressed.attrs.get("nc:scale")
    assert opened.attrs["nc:codec"] == "fake-rgb"
    edges = np.cumsum(opened.chunks[opened.get_axis_num("x")])[:-1]
    first = payloads_of(compressed).window.pad_left
    assert not ((edges + first) % 16).any()


@pytest.mark.parametrize("what", cubes())
def test_xarray_alone_gives_the_same_numbers(tmp_path, what):
    compressed = compress_cube(cubes()[what], "fake-rgb", 6.0)
    write_store(compressed, tmp_path / "s.zarr")
    dataset = xr.open_zarr(tmp_path / "s.zarr")
    data = dataset["data"]
    assert data.dims == ("t", "bands", "y", "x")
    assert data.rio.crs == compressed.rio.crs
    assert data.sizes["x"] % 16 == 0
    assert data.sizes["y"] % 16 == 0
    expected = compressed.compute()
    if (nodata := expected.attrs.get("_FillValue")) is not None:
        expected = expected.where(expected != nodata)
    inside = data.sel(x=expected.x, y=expected.y)
    inside = inside.isel({d: 0 for d in ("t", "bands") if d not in expected.dims})
    inside = inside.transpose(*expected.dims)
    np.testing.assert_allclose(inside.values, expected.values, rtol=1e-6)
    outside = data.where(~(data.x.isin(expected.x) & data.y.isin(expected.y)))
    assert outside.isnull().all()


def test_latents_of_a_compressed_cube_are_those_of_its_payloads(tmp_path, codecs):
    compressed = compress_cube(cubes()["float32 with NaN"], "fake-rgb", 5.0)
    payloads = payloads_of(compressed)
    write_store(compressed, tmp_path / "s.zarr")
    before = content(tmp_path / "s.zarr")
    raw = xr.open_zarr(latent_view(tmp_path / "s.zarr"), mask_and_scale=False)["embeddings"]
    scaled = xr.open_zarr(latent_view(str(tmp_path / "s.zarr")))["embeddings"]
    codec = registry.open_codec("fake-rgb")
    latents = codec.unpack(payloads.blocks[:1, 1:2, 1:2].compute().item())
    np.testing.assert_array_equal(raw[0, :, 4:8, 4:8], latents.y)
    np.testing.assert_array_equal(scaled[0, :, 4:8, 4:8], latents.y * 8.0)
    assert scaled[1].isnull().all()  # the date without data
    assert list(raw["embedding"].values[:2]) == ["e000", "e001"]
    stride = np.diff(raw["x"].values)
    np.testing.assert_allclose(stride, 40.0)
    assert raw["x"].values[0] == 600_000.0 + 20.0
    assert raw.dtype == np.int32
    assert content(tmp_path / "s.zarr") == before
    shown = xr.open_zarr(pixel_view(tmp_path / "s.zarr"))
    xr.testing.assert_identical(shown, xr.open_zarr(tmp_path / "s.zarr"))


def test_an_embedding_comes_back_and_decodes(tmp_path):
    cube = holes(fakes.cube(dtype="int16", nodata=-3, **OFF_GRID), -3)
    embedding = encode_cube(cube, "fake-rgb", 8.0)
    write_store(embedding, tmp_path / "e.zarr", shard_tiles=2)
    opened = open_cube(tmp_path / "e.zarr")
    xr.testing.assert_equal(opened.drop_vars("spatial_ref"), embedding.drop_vars("spatial_ref"))
    assert opened.dtype == np.float32
    attrs = {k: v for k, v in embedding.attrs.items() if k != "nc:payloads"}
    assert attrs.items() <= opened.attrs.items()
    # without payloads, no data is known of whole patches only
    whole, exact = decode_cube(opened), decode_cube(embedding).values
    assert whole.attrs["_FillValue"] == -3
    np.testing.assert_array_equal(whole.values[exact != -3], exact[exact != -3])
    pixels = open_cube(tmp_path / "e.zarr", view="pixels")
    np.testing.assert_array_equal(pixels.values, decode_cube(embedding).values)
    xr.testing.assert_equal(pixels.x, cube.x)
    assert pixels.attrs["_FillValue"] == -3
    assert view_of(tmp_path / "e.zarr", "latents").root == tmp_path / "e.zarr"


def test_what_is_not_its_payloads_any_more_is_written_as_it_is(tmp_path, codecs):
    compressed = compress_cube(fakes.cube(**OFF_GRID), "fake-rgb", 4.0)
    for name, cube in {
        "doubled": compressed * 2,
        "index": compressed.sel(bands="B04") / (compressed.sel(bands="B02") + 1.0),
        "mean": compressed.mean(("x", "y")),
        "mask": compressed > 500,
        "plain": fakes.cube(nodata=7),
    }.items():
        codecs.calls.clear()
        report = write_store(cube, tmp_path / f"{name}.zarr")
        assert codecs.calls["pack"] in (0, payloads_of(compressed).blocks.size)
        opened = open_cube(tmp_path / f"{name}.zarr")
        np.testing.assert_array_equal(opened.values, cube.values)
        assert (opened.dims, opened.dtype) == (cube.dims, cube.dtype)
        assert report.codec is None
        assert (
            "nc:codec"
            not in json.loads((tmp_path / f"{name}.zarr/item.json").read_text())["properties"]
        )
        found = xr.open_zarr(tmp_path / f"{name}.zarr", mask_and_scale=False)["data"]
        np.testing.assert_array_equal(found.values, cube.values)
        assert found.rio.crs == cube.rio.crs


def test_an_embedding_of_one_date_is_plain_and_decodes(tmp_path):
    embedding = encode_cube(fakes.cube(), "fake-rgb", 8.0).isel(t=[1])
    write_store(embedding, tmp_path / "e.zarr")
    opened = open_cube(tmp_path / "e.zarr")
    assert opened.dims == ("t", "embedding", "y", "x")
    np.testing.assert_array_equal(decode_cube(opened).values[0], fakes.cube().values[1])


def test_what_no_store_can_hold_is_refused(tmp_path):
    words = fakes.cube().astype(str)
    with pytest.raises(errors.FormatUnsuitableError, match="numbers"):
        plan_store(words, tmp_path / "w.zarr")
    for shard_tiles in (0, -1, 1.5):
        with pytest.raises(errors.InvalidParameterError, match="shard_tiles"):
            plan_store(fakes.cube(), tmp_path / "w.zarr", shard_tiles=shard_tiles)
    with pytest.raises(errors.InvalidParameterError, match="local"):
        plan_store(fakes.cube(), "s3://bucket/w.zarr")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_store_is_told_apart(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "zarr.json").write_text("{")
    write_store(fakes.cube(), tmp_path / "p.zarr")
    for name in ("missing", "plain", "broken"):
        with pytest.raises(errors.FormatUnsuitableError):
            open_cube(tmp_path / name)
    with pytest.raises(errors.FormatUnsuitableError, match="one view"):
        latent_view(tmp_path / "p.zarr")


# --- several codecs in one store ------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """A bounded store of the fake codec whose noisy tiles are others', and its cube."""
    values = fakes.cube(48, 48, x0=600_000.0 - 160 * 5, dates=1).values.astype(np.int16)
    # each patch as the one before: the fake codec's own, since it deflates
    values[:, :, :16] = np.tile(values[:, :, :4, :4], (1, 1, 4, 12))
    values[:, :, 32:, 16:32] = -7
    cube = fakes.cube(48, 48, x0=600_000.0 - 160 * 5, dates=1, nodata=-7, dtype="int16")
    compressed = compress_cube(cube.copy(data=values).chunk({"t": 1}), "fake-rgb", max_error=2)
    return compressed, write_store(compressed, tmp_path / "s.zarr", self_contained=True)


def test_payloads_of_several_codecs_are_counted_and_read_in_plain_xarray(mixed):
    compressed, report = mixed
    codecs = {form.codec for form in report.forms}
    assert "fake-rgb" in codecs
    assert codecs & {"sperr", "jpegxl", "pcodec"}
    assert sum(form.payloads for form in report.forms) == report.tiles == 9
    payloads = payloads_of(compressed).blocks.compute().ravel()
    assert sum(form.bytes for form in report.forms) == sum(map(len, payloads))
    assert (report.rate, report.quality, report.bound_held) == ({"max_error": 2.0}, None, True)
    assert max(report.metrics["band_errors"]) <= 2
    data = xr.open_zarr(report.path, mask_and_scale=False)["data"].sel(x=compressed.x)
    np.testing.assert_array_equal(data.values, compressed.values)
    assert data.attrs["nc:rate"] == {"max_error": 2.0}
    assert "nc:quality" not in data.attrs


def test_a_bounded_store_comes_back_with_what_was_asked_and_is_copied_as_it_is(mixed, tmp_path):
    compressed, report = mixed
    opened = open_cube(report.path)
    assert payloads_of(opened).coding == payloads_of(compressed).coding
    np.testing.assert_array_equal(opened.values, compressed.values)
    again = write_store(opened, tmp_path / "copy.zarr")
    assert again.forms == report.forms
    assert again.rate == report.rate
    np.testing.assert_array_equal(open_cube(again.path).values, compressed.values)


@pytest.mark.parametrize("given", [{"max_error": 2}, {"target_psnr": 50}, {"target_ratio": 3}])
def test_a_store_of_many_qualities_has_no_view_of_latents(tmp_path, given):
    report = write_store(compress_cube(fakes.cube(), "fake-rgb", **given), tmp_path / "s.zarr")
    with pytest.raises(errors.FormatUnsuitableError, match=r"no view as latents.*one quality"):
        latent_view(report.path)
    with pytest.raises(errors.FormatUnsuitableError, match="latents"):
        open_cube(report.path, view="latents")
    assert pixel_view(report.path).root == report.path
    group = json.loads((report.path / "zarr.json").read_text())["attributes"]
    assert group["nc:bitstream"] == 2
    assert group["nc:rate"] == given


def test_a_codec_without_latents_has_a_store_without_that_view(tmp_path):
    report = write_store(compress_cube(fakes.cube(), "pcodec"), tmp_path / "s.zarr")
    np.testing.assert_array_equal(open_cube(report.path).values, fakes.cube().values)
    assert [form.codec for form in report.forms] == ["pcodec"]
    with pytest.raises(errors.FormatUnsuitableError, match="no view as latents"):
        latent_view(report.path)


def test_whole_tiles_written_through_zarr_keep_the_bound(mixed):
    compressed, report = mixed
    array = zarr.open_array(report.path / "data", mode="r+")
    noise = np.random.default_rng(8).integers(0, 9_000, (1, 3, 16, 16)).astype(np.int16)
    array[:, :, 16:32, :16] = noise
    found = zarr.open_array(report.path / "data", mode="r")[:]
    assert np.abs(found[:, :, 16:32, :16].astype(int) - noise).max() <= 2
    np.testing.assert_array_equal(found[:, :, :16], compressed.values[:, :, :16])


def test_a_self_contained_store_brings_the_cards_of_all_its_codecs(mixed, monkeypatch):
    """Where this installation knows none of the other codecs, those of the store serve."""
    compressed, report = mixed
    expected = compressed.values
    known = registry.get_card
    others = {spec.codec_id for spec in payloads_of(compressed).coding.others}
    brought = {path.stem for path in (report.path / ".nc" / "cards").iterdir()}
    assert brought == others
    assert {form.codec for form in report.forms} <= others | {"fake-rgb"}

    def unknown(codec_id):
        if codec_id in others:
            raise errors.CodecNotFoundError(f"unknown codec '{codec_id}'")
        return known(codec_id)

    loading._codecs.clear()
    monkeypatch.setattr(registry, "get_card", unknown)
    data = xr.open_zarr(report.path, mask_and_scale=False)["data"]
    np.testing.assert_array_equal(data.values, expected)
    loading._codecs.clear()
    shutil.rmtree(report.path / ".nc" / "cards")
    with pytest.raises(errors.CodecNotFoundError, match="unknown codec"):
        data.compute()


def test_a_store_from_before_rates_opens_as_ever(tmp_path):
    """It names a quality and no other codecs, and says nothing of what was asked."""
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    path = write_store(compressed, tmp_path / "s.zarr").path
    for document in path.rglob("zarr.json"):
        found = json.loads(document.read_text())
        for attributes in (found.get("attributes", {}), *consolidated(found)):
            attributes.pop("nc:rate", None)
        document.write_text(json.dumps(found))
    assert "others" not in (path / "data" / "zarr.json").read_text()
    np.testing.assert_array_equal(open_cube(path).values, compressed.values)
    assert payloads_of(open_cube(path)).coding == payloads_of(compressed).coding
    report = store_module.inspect_store(path)
    assert (report.quality, report.rate, report.bound_held) == (5.0, {"quality": 5.0}, None)
    assert xr.open_zarr(latent_view(path))["embeddings"].notnull().any()


def consolidated(document):
    metadata = document.get("consolidated_metadata") or {}
    return [array.get("attributes", {}) for array in metadata.get("metadata", {}).values()]


# --- how it is written ---------------------------------------------------------------------------


def test_planning_computes_nothing_and_touches_nothing(tmp_path, building, codecs):
    compressed, embedding = (
        compress_cube(fakes.cube(), "fake-rgb"),
        encode_cube(fakes.cube(), "fake-rgb"),
    )
    codecs.calls.clear()
    with building():
        for cube in (compressed, embedding, compressed * 2):
            plan_store(cube, tmp_path / "deep" / "s.zarr", self_contained=True)
    assert not codecs.calls
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("measure", [True, False])
def test_each_tile_is_encoded_once_and_decoded_only_to_measure(
    tmp_path, codecs, scheduler, measure
):
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    tiles = payloads_of(compressed).blocks.size
    with dask.config.set(scheduler=scheduler):
        report = write_store(compressed, tmp_path / "s.zarr", measure=measure)
    assert codecs.calls["analyse"] == codecs.calls["pack"] == report.tiles == tiles == 18
    assert codecs.calls["synthesise"] == (tiles if measure else 0)
    assert codecs.loads["fake-rgb"] == 1
    assert (report.metrics is not None) == measure


def test_an_embedding_is_encoded_once_and_decoded_never(tmp_path, codecs):
    write_store(encode_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    assert codecs.calls == {"analyse": 18, "pack": 18}


@pytest.mark.parametrize("shard_tiles", [1, 2, 4])
def test_each_object_is_written_by_one_task_of_its_own(tmp_path, shard_tiles, monkeypatch):
    compressed = compress_cube(fakes.cube(60, 36), "fake-rgb", 5.0)
    written = []
    real = staging_module.FolderStaging.write

    def write(self, key, data):
        written.append(key)
        real(self, key, data)

    monkeypatch.setattr(staging_module.FolderStaging, "write", write)
    plan = plan_store(compressed, tmp_path / "s.zarr", shard_tiles=shard_tiles)
    (report,) = dask.compute(plan.report)
    coded = {name for name in files(tmp_path / "s.zarr") if name.startswith("data/c/")}
    shards = [key for key in written if key.startswith("data/c/")]
    assert sorted(shards) == sorted(coded)  # each once
    assert len(plan.objects) == len(coded)
    rows, columns = -(-4 // min(shard_tiles, 4)), -(-3 // min(shard_tiles, 3))
    assert len(coded) == 2 * rows * columns
    assert report.tiles == 2 * 4 * 3
    array = zarr.open_array(tmp_path / "s.zarr" / "data", mode="r")
    assert array.chunks == (1, 3, 16, 16)
    assert array.shards == (1, 3, 16 * min(shard_tiles, 4), 16 * min(shard_tiles, 3))
    opened = open_cube(tmp_path / "s.zarr")
    np.testing.assert_array_equal(opened.values, compressed.values)


def test_a_shard_is_what_zarr_writes(tmp_path, codecs):
    """The oracle is zarr's own sharding codec, given the same pixels."""
    cube = fakes.cube(32, 32, x0=600_000.0 - 160 * 5, y0=5_000_000.0)
    compressed = compress_cube(cube, "fake-rgb", 5.0)
    write_store(compressed, tmp_path / "s.zarr")
    document = json.loads((tmp_path / "s.zarr" / "data" / "zarr.json").read_text())
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "zarr.json").write_text(json.dumps(document))
    array = zarr.open_array(tmp_path / "z", mode="r+")
    source = payloads_of(compressed).source.compute()
    array[:] = source
    for name in files(tmp_path / "z") - {"zarr.json"}:
        ours, theirs = tmp_path / "s.zarr" / "data" / name, tmp_path / "z" / name
        shape = (array.shards[2] // 16, array.shards[3] // 16)
        np.testing.assert_array_equal(tile_bytes(ours, shape), tile_bytes(theirs, shape))
    np.testing.assert_array_equal(
        array[:], zarr.open_array(tmp_path / "s.zarr" / "data", mode="r")[:]
    )


def test_tiles_that_are_not_there_are_marked_so(tmp_path):
    (tmp_path / "shard").write_bytes(shard_bytes([[b"abc", None], [None, b"d"]], (2, 3)))
    np.testing.assert_array_equal(tile_bytes(tmp_path / "shard", (2, 3)), [[3, 0, 0], [0, 1, 0]])


def test_a_task_that_runs_again_changes_nothing(tmp_path):
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    plan = plan_store(compressed, tmp_path / "s.zarr")
    dask.compute(plan.objects[0])
    (again,) = dask.compute(plan.report)
    before = content(tmp_path / "s.zarr")
    (once_more,) = dask.compute(plan.report)  # the worker died after publishing
    assert once_more.tiles == again.tiles
    assert {k for k, v in content(tmp_path / "s.zarr").items() if before[k] != v} == set()


def test_a_worker_that_dies_while_writing_leaves_no_part_in_the_store(tmp_path, monkeypatch):
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    plan = plan_store(compressed, tmp_path / "s.zarr")
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == 1:
            raise OSError("the disk was full for a moment")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="full"):
        dask.compute(plan.report)
    dask.compute(plan.report)
    write_store(compressed, tmp_path / "other.zarr")
    assert files(tmp_path / "s.zarr") == files(tmp_path / "other.zarr")


def test_a_task_that_comes_too_late_brings_nothing_back(tmp_path):
    plan = plan_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    with pytest.raises(FileNotFoundError):
        plan.staging.write("data/c/0/0/0/0", b"late")
    assert not list(tmp_path.iterdir())


def test_partial_writes_into_a_store_are_refused(tmp_path):
    write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    before = content(tmp_path)
    array = zarr.open_group(tmp_path / "s.zarr", mode="r+")["data"]
    with pytest.raises(errors.PartialWriteError):
        array[0, :, 0:20, 0:16] = 1
    assert content(tmp_path) == before


# --- what is at the path -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link", "store"])
def test_a_path_that_is_taken_is_left_alone(tmp_path, kind):
    path = tmp_path / "s.zarr"
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "store":
        write_store(compressed, path)
    else:
        path.mkdir()
        if kind == "folder":
            (path / "a").write_text("mine")
    before, listed = content(tmp_path), sorted(tmp_path.iterdir())
    for overwrite in (False, True) if kind != "store" else (False,):
        with pytest.raises(errors.OutputExistsError, match=r"s\.zarr"):
            write_store(compressed, path, overwrite=overwrite)
    assert content(tmp_path) == before
    assert sorted(tmp_path.iterdir()) == listed


def test_a_path_taken_while_writing_is_left_alone(tmp_path):
    path = tmp_path / "s.zarr"
    plan = plan_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), path)
    path.mkdir()
    (path / "a").write_text("mine")
    with pytest.raises(errors.OutputExistsError):
        dask.compute(plan.report)
    assert content(path) == {"a": b"mine"}


def test_overwriting_replaces_a_store_even_by_what_is_read_from_it(tmp_path):
    path = tmp_path / "s.zarr"
    write_store(compress_cube(fakes.cube(), "fake-rgb", 8.0), path)
    opened = open_cube(path)
    expected = opened.values * 2
    write_store(opened * 2, path, overwrite=True)
    np.testing.assert_array_equal(open_cube(path).values, expected)
    assert not leftovers(path)


def test_a_failing_task_leaves_nothing(tmp_path, codecs, monkeypatch):
    real, calls = codecs.FakeCodec.pack, []

    def fail(self, latents):
        calls.append(1)
        if len(calls) == 20:
            raise errors.InvalidValuesError("no")
        return real(self, latents)

    monkeypatch.setattr(codecs.FakeCodec, "pack", fail)
    with pytest.raises(errors.InvalidValuesError):
        write_store(compress_cube(fakes.cube(80, 80), "fake-rgb"), tmp_path / "s.zarr")
    assert not list(tmp_path.iterdir())


class Crash(BaseException):
    """The process ends here."""


def crash_at(line, traced, counter):
    """A trace function that ends the process at the line-th line run in these files."""

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in traced:
            return None
        if event == "line":
            counter[0] += 1
            if counter[0] == line:
                raise Crash
        return trace

    return trace


def outcomes(lines, traced, run, state):
    """What each crash leaves, in the order of lines, until the run gets through."""
    for line in range(1, lines):
        sys.settrace(crash_at(line, traced, [0]))
        try:
            run(line)
        except Crash:
            pass
        else:
            yield "done"
            return
        finally:
            sys.settrace(None)
        yield state(line)


def changes(found):
    return [one for n, one in enumerate(found) if n == 0 or one != found[n - 1]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files left open
def test_a_crash_at_any_line_leaves_nothing_or_the_store(tmp_path, monkeypatch):
    """Cleaning up is switched off, as in a process that is killed."""
    compressed = compress_cube(fakes.cube(16, 32, dates=1, x0=600_000.0 - 160 * 5), "fake-rgb", 5.0)
    expected = compressed.values
    real_dataset, real_write, kept = store_module.Layout.dataset, staging_module.write_metadata, {}

    def dataset(self, view, *lattice):
        if view not in kept:
            kept[view] = tmp_path / view
            real_write(kept[view], *real_dataset(self, view, *lattice))
        return view, None

    # the same files, made once: this test is about when they are there and not about what they are
    monkeypatch.setattr(store_module.Layout, "dataset", dataset)
    monkeypatch.setattr(
        store_module, "write_metadata", lambda folder, view, _: shutil.copytree(kept[view], folder)
    )
    monkeypatch.setattr(staging_module.FolderStaging, "discard", lambda self: None)
    write_store(compressed, tmp_path / "complete", measure=False)
    complete = files(tmp_path / "complete")

    def run(line):
        write_store(compressed, tmp_path / f"{line}" / "s.zarr", measure=False)

    def state(line):
        path = tmp_path / f"{line}" / "s.zarr"
        if not path.exists():
            return "nothing"
        assert files(path) == complete
        np.testing.assert_array_equal(open_cube(path).values, expected)
        return "store"

    modules = (staging_module, store_module, publishing_module)
    traced = {module.__file__ for module in modules}
    found = list(outcomes(10_000, traced, run, state))
    assert changes(found) == ["nothing", "store", "done"]
    assert len(found) > 100


def test_a_crash_while_replacing_leaves_the_old_store_or_the_new_one_or_nothing(
    tmp_path, monkeypatch
):
    for name, quality in (("old", 2.0), ("new", 5.0)):
        write_store(compress_cube(fakes.cube(), "fake-rgb", quality), tmp_path / name)
    contents = {name: content(tmp_path / name) for name in ("old", "new")}
    monkeypatch.setattr(staging_module.FolderStaging, "discard", lambda self: None)

    def run(line):
        path = tmp_path / f"{line}" / "s.zarr"
        shutil.copytree(tmp_path / "old", path)
        staging = staging_module.Staging.at(path, overwrite=True)
        staging.begin(lambda folder: shutil.copytree(tmp_path / "new", folder))
        staging.publish()

    def state(line):
        path = tmp_path / f"{line}" / "s.zarr"
        if path.exists():
            return next(name for name, expected in contents.items() if content(path) == expected)
        (aside,) = path.parent.glob(".s.zarr.*.part/replaced")
        assert content(aside) == contents["old"]
        return "nothing"

    found = list(outcomes(1_000, {staging_module.__file__}, run, state))
    assert changes(found) == ["old", "nothing", "new", "done"]
    assert found.count("nothing") <= 5  # the lines between two renames


# --- damage and missing weights ------------------------------------------------------------------


def test_damage_is_a_payload_error_through_xarray(tmp_path):
    write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    shard = tmp_path / "s.zarr" / "data" / "c" / "0" / "0" / "0" / "0"
    whole = shard.read_bytes()
    for damaged in (
        b"",
        whole[:-1],
        whole[: len(whole) // 2],
        b"?" + whole[1:],
        whole[:-9] + b"?" + whole[-8:],
    ):
        shard.write_bytes(damaged)
        dataset = xr.open_zarr(tmp_path / "s.zarr")
        with pytest.raises(errors.PayloadError):
            dataset["data"][0].compute()
        assert dataset["data"][1].notnull().any()  # the other date is another shard


PACKAGE = """
from openeo_nc.codecs import weights
from fake_codecs.blocks import FakeCodec

def load(card, *, device=None):
    scale = weights.load(card)["scale"]
    assert scale == 3
    return FakeCodec(card)
"""


@pytest.fixture
def weighted(tmp_path, monkeypatch):
    """A codec package whose codec has weights; `forget()` takes card and weights away."""
    from openeo_nc.codecs import packages, weights

    folder = tmp_path / "site" / "weighted"
    for name in ("cards", "weights"):
        (folder / name).mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "scaled.py").write_text(PACKAGE)
    digest = weights.save({"scale": np.array(3)}, folder / "weights" / "scaled-1.safetensors")
    card = registry.card_document(registry.get_card("fake-rgb")) | {
        "codec_id": "scaled", "architecture": "scaled", "weights": "scaled-1.safetensors",
        "weights_sha256": digest,
    }  # fmt: skip
    (folder / "cards" / "scaled.json").write_text(json.dumps(card))
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = {**packages.packages(), "weighted": folder}
    for module in (packages, registry, weights):
        monkeypatch.setattr(module, "packages", lambda group="": found)

    def fresh():
        loading._codecs.clear()
        for opened in (registry._opened, store_module.get_codec.__globals__["_codecs"]):
            for key in [k for k in opened if "scaled" in str(k)]:
                del opened[key]
        registry._cards.cache_clear()

    class Site:
        sha256 = digest
        path = folder

        @staticmethod
        def forget(*, card):
            if card:
                (folder / "cards" / "scaled.json").unlink()
            (folder / "weights" / "scaled-1.safetensors").unlink(missing_ok=True)
            fresh()

        @staticmethod
        def other_release():
            other = weights.save(
                {"scale": np.array(4)}, folder / "weights" / "scaled-1.safetensors"
            )
            document = card_path.read_text().replace(digest, other)
            card_path.write_text(document)
            fresh()

    card_path = folder / "cards" / "scaled.json"
    fresh()
    yield Site
    fresh()


@pytest.mark.parametrize("lost", ["weights", "card and weights", "other release"])
@pytest.mark.parametrize("read", ["xarray", "latents", "cube"])
def test_a_self_contained_store_opens_without_the_packages_weights(tmp_path, weighted, lost, read):
    compressed = compress_cube(fakes.cube(), "scaled", 5.0)
    expected = compressed.values
    report = write_store(compressed, tmp_path / "s.zarr", self_contained=True)
    assert report.self_contained
    assert report.weights_sha256 == weighted.sha256
    if lost == "other release":
        weighted.other_release()
    else:
        weighted.forget(card=lost != "weights")
    if read == "xarray":
        data = xr.open_zarr(tmp_path / "s.zarr")["data"].sel(x=compressed.x, y=compressed.y)
        np.testing.assert_array_equal(data.values, expected)
    elif read == "latents":
        assert xr.open_zarr(latent_view(tmp_path / "s.zarr"))["embeddings"].notnull().any()
    else:
        np.testing.assert_array_equal(open_cube(tmp_path / "s.zarr").values, expected)


@pytest.mark.parametrize("lost", ["weights", "card and weights", "other release"])
def test_a_store_whose_weights_are_not_at_hand_says_which_and_where(
    tmp_path, weighted, lost, monkeypatch
):
    write_store(compress_cube(fakes.cube(), "scaled", 5.0), tmp_path / "s.zarr")
    if lost == "other release":
        weighted.other_release()
    else:
        weighted.forget(card=lost != "weights")
    monkeypatch.setenv("OPENEO_NC_WEIGHTS", str(tmp_path / "elsewhere"))
    dataset = xr.open_zarr(tmp_path / "s.zarr")
    with pytest.raises(errors.WeightsNotFoundError) as caught:
        dataset["data"].compute()
    assert weighted.sha256 in str(caught.value)
    assert "OPENEO_NC_WEIGHTS" in str(caught.value)
    if lost == "weights":
        assert str(tmp_path / "elsewhere") in str(caught.value)
        assert str(weighted.path / "weights") in str(caught.value)


def test_weights_of_another_hash_in_a_self_contained_store_are_refused(tmp_path, weighted):
    write_store(
        compress_cube(fakes.cube(), "scaled", 5.0), tmp_path / "s.zarr", self_contained=True
    )
    weighted.forget(card=True)
    file = tmp_path / "s.zarr" / ".nc" / "scaled-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(errors.WeightsInvalidError, match=weighted.sha256):
        xr.open_zarr(tmp_path / "s.zarr")["data"].compute()


# --- other processes -----------------------------------------------------------------------------


ALONE = """
import sys
import xarray as xr
data = xr.open_zarr(sys.argv[1])["data"]
assert "torch" not in sys.modules, "opening imported torch"
assert "openeo_nc.cubes" not in sys.modules, "opening imported cubes"
assert "dask" in str(type(data.data)), type(data.data)
print(float(data.sum()))
assert "torch" not in sys.modules, "this codec needs no torch"
"""


def test_xarray_alone_opens_a_store_in_a_fresh_process_without_torch(tmp_path):
    compressed = compress_cube(fakes.cube(32, 32, x0=600_000.0 - 160 * 5), "fake-rgb", 5.0)
    write_store(compressed, tmp_path / "s.zarr")
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "s.zarr")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(fakes.SITE)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == float(xr.open_zarr(tmp_path / "s.zarr")["data"].sum())


def read_sum(path):
    return float(xr.open_zarr(path)["data"].sum().compute(scheduler="sync"))


def test_a_cluster_of_threads_writes_and_reads(tmp_path, codecs):
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=3, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        write_store(compressed, tmp_path / "s.zarr", shard_tiles=2)
        assert codecs.calls["pack"] == 18
        expected = float(compressed.where(compressed != 65535).astype("float64").sum())
        assert client.submit(read_sum, tmp_path / "s.zarr").result() == expected
        lazy = xr.open_zarr(tmp_path / "s.zarr")["data"]
        assert float(lazy.sum().compute()) == expected


@pytest.mark.slow
def test_a_cluster_of_processes_writes_and_reads(tmp_path, codecs, monkeypatch):
    log = tmp_path / "calls"
    monkeypatch.setenv("FAKE_CODEC_LOG", str(log))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(fakes.SITE), os.environ.get("PYTHONPATH", "")])
    )
    embedding = encode_cube(fakes.cube(), "fake-rgb", 8.0)
    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    expected = compressed.compute(scheduler="sync")
    log.unlink()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
    ):
        report = write_store(compressed, tmp_path / "s.zarr", shard_tiles=2)
        calls = [line.split() for line in log.read_text().splitlines()]
        assert sum(what == "pack" for what, _ in calls) == report.tiles == 18
        assert {pid for _, pid in calls} - {str(os.getpid())}
        opened = open_cube(tmp_path / "s.zarr")
        np.testing.assert_array_equal(opened.compute().values, expected.values)
        latents = xr.open_zarr(latent_view(tmp_path / "s.zarr"))["embeddings"]
        assert int(latents.notnull().sum().compute()) > 0
        write_store(embedding, tmp_path / "e.zarr")
        again = decode_cube(open_cube(tmp_path / "e.zarr")).compute()
        np.testing.assert_array_equal(again.values, fakes.cube().values)


def test_a_plan_is_small(tmp_path):
    import cloudpickle

    compressed = compress_cube(fakes.cube(), "fake-rgb", 5.0)
    plan = plan_store(compressed, tmp_path / "s.zarr")
    sizes = [len(cloudpickle.dumps(part.dask[part.key])) for part in plan.objects]
    assert max(sizes) < 5_000


def test_views_are_read_only(tmp_path):
    write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    view = latent_view(tmp_path / "s.zarr")
    assert view.read_only
    with pytest.raises(ValueError, match="read-only"):
        zarr.open_group(view, mode="r+")
    array = zarr.open_group(view, mode="r")["embeddings"]
    with pytest.raises(ValueError):
        array[:] = 1
    assert asyncio.run(view.exists("embeddings/zarr.json"))
    assert not asyncio.run(view.exists("data/zarr.json"))

    async def names():
        return sorted([name async for name in view.list_dir("")])

    assert asyncio.run(names()) == [
        "embedding",
        "embeddings",
        "spatial_ref",
        "t",
        "x",
        "y",
        "zarr.json",
    ]
    assert view == latent_view(tmp_path / "s.zarr")
    assert view != pixel_view(tmp_path / "s.zarr")


def test_reports_are_plain_data(tmp_path):
    report = write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    assert json.loads(json.dumps(report.to_dict()))["codec"] == "fake-rgb"
    assert dataclasses.replace(report).path == tmp_path / "s.zarr"
