"""compress_cube(dates=...): graphs, stores whose dates share bytes, and their readers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import dask
import dask.array as da
import fakes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from affine import Affine
from zarr.storage import MemoryStore

from openeo_nc.codecs import bitstream, registry
from openeo_nc.codecs import payloads as coded
from openeo_nc.codecs.group_memo import memo
from openeo_nc.codecs.klt_dct import KltDctCodec
from openeo_nc.codecs.views import latent_view
from openeo_nc.cubes import layout, on_error
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.inspect import inspect_store
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.reread import with_stored_payloads
from openeo_nc.cubes.shards import read_tile, shard_bytes, tile_bytes, tile_heads
from openeo_nc.cubes.store import write_store
from openeo_nc.errors import (
    FormatUnsuitableError,
    InvalidParameterError,
    InvalidValuesError,
    PayloadError,
)
from openeo_nc.processes.compress_cube import compress_cube as process

TIMES = ("2020-01-13", "2020-01-18", "2020-01-16", "2020-06-21", "2020-01-13")
GROUPS = [[0, 1, 2, 4], [3]]
SIDE = 96


def series(times=TIMES, *, missing=True):
    """`(t, bands, y, x)` int16 of one scene of two tiles, dates unsorted and one label twice."""
    rng = np.random.default_rng(0)
    ground = rng.normal(size=(2, SIDE, 2 * SIDE)).cumsum(1).cumsum(2)
    ground = 3000 + 500 * ground / ground.std() + rng.normal(0, 150, ground.shape)
    dates = [ground * (0.8 + 0.1 * t) + rng.normal(0, 10, ground.shape) for t in range(len(times))]
    values = np.stack(dates).clip(1, 9999).astype(np.int16)
    if missing:
        values[2, :, :20, :30] = -1
    cube = xr.DataArray(
        da.from_array(values, chunks=(1, 2, SIDE, SIDE)),
        dims=("t", "bands", "y", "x"),
        coords={
            "t": pd.DatetimeIndex(times),
            "bands": ["B04", "B08"],
            "y": 5_000_640 - 10 * (np.arange(SIDE) + 0.5),
            "x": 600_000 + 10 * (np.arange(2 * SIDE) + 0.5),
        },
        attrs={"_FillValue": -1},
    )
    return cube.rio.write_crs("EPSG:32631").rio.write_transform(
        Affine(10, 0, 600_000, 0, -10, 5_000_640)
    )


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 96 pixels, so that tests are quick."""
    cards = {card.codec_id: replace(card, tile=SIDE) for card in registry.list_codecs()}
    monkeypatch.setattr(registry, "_cards", lambda: cards)
    memo.clear()
    with dask.config.set(scheduler="synchronous"):
        yield


def groups(cells):
    """Dates of each payload of `(t,)` cells."""
    found = {}
    for t, payload in enumerate(cells):
        found.setdefault(coded.split(payload)[1], []).append(t)
    return sorted(found.values())


def inside(opened, cube):
    """What a store's array shows of a cube."""
    top, _, left, _ = opened.attrs["nc:window"]
    return opened[:, :, top : top + cube.sizes["y"], left : left + cube.sizes["x"]]


# --- payloads --------------------------------------------------------------------------------


def test_dates_of_a_window_share_payloads_tile_by_tile():
    compressed = compress_cube(series(), "klt-dct", 6.5, dates=64)
    cells = payloads_of(compressed).blocks.compute()
    assert cells.shape == (5, 1, 2)
    assert [groups(cells[:, 0, i]) for i in range(2)] == [GROUPS, GROUPS]
    # by time, equal labels by place: 2020-01-13 twice, -16, -18
    assert [coded.split(cells[t, 0, 0])[0] for t in range(5)] == [0, 3, 2, 0, 1]
    alone = payloads_of(compress_cube(series(), "klt-dct", 6.5)).blocks.compute()
    assert cells[3, 0, 0] == alone[3, 0, 0]


def test_payloads_do_not_depend_on_what_else_is_asked_for():
    cube = series()
    whole = payloads_of(compress_cube(cube, "klt-dct", 6.5, dates=64)).blocks.compute()
    part = cube.isel(t=[4, 0, 1, 2], x=slice(0, SIDE))  # the dates of one window, moved
    cells = payloads_of(compress_cube(part, "klt-dct", 6.5, dates=64)).blocks.compute()
    one = {coded.split(cell)[1] for cell in cells[:, 0, 0]}
    swapped = cube.isel(t=[4, 1, 2, 3, 0], x=slice(0, SIDE))  # equal labels go by their place
    again = payloads_of(compress_cube(swapped, "klt-dct", 6.5, dates=64)).blocks.compute()
    assert one == {coded.split(again[t, 0, 0])[1] for t in (0, 1, 2, 4)}
    third = payloads_of(compress_cube(cube.isel(t=[0, 1, 2, 4]), "klt-dct", 6.5, dates=64))
    assert (third.blocks.compute() == whole[[0, 1, 2, 4]]).all()


def test_building_computes_nothing_and_windows_run_whole():
    with dask.config.set(scheduler=fakes.raising_scheduler):
        compressed = compress_cube(series(), "klt-dct", 6.5, dates=64)
        again = compress_cube(series(), "klt-dct", 6.5, dates=64)
        other = compress_cube(series(), "klt-dct", 6.5, dates=32)
    assert compressed.data.name == again.data.name != other.data.name
    graph = dask.optimize(compressed.data)[0].__dask_graph__()
    windows = [key for key in dict(graph) if str(key[0]).startswith("together-")]
    assert len(windows) == 2 * 2  # two windows of two tiles


def test_pixels_are_those_of_the_payloads_and_a_group_is_decoded_once(monkeypatch):
    calls = []
    decode = KltDctCodec.decode
    cube = series()
    compressed = compress_cube(cube, "klt-dct", 6.5, dates=64)
    payloads = payloads_of(compressed)
    cells = payloads.blocks.persist()
    monkeypatch.setattr(
        KltDctCodec, "decode", lambda self, payload: calls.append(1) or decode(self, payload)
    )
    ours = [
        coded.decode(cell, registry.open_codec("klt-dct"), None)
        for cell in cells.compute()[:, 0, 0]
    ]
    assert len(calls) == 2  # one group, and the date that is alone
    values = compressed.compute()
    for t in range(5):
        np.testing.assert_array_equal(values[t, :, :, :SIDE], ours[t])
    np.testing.assert_array_equal(values == -1, cube.compute() == -1)


# --- what is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("dates", [0, -3, 1.5, "32", True, float("nan")])
def test_days_that_are_none(dates):
    with pytest.raises(InvalidParameterError, match="dates must be"):
        compress_cube(series(), "klt-dct", 6.5, dates=dates)


def test_codecs_and_labels_that_do_not_go_with_dates():
    with pytest.raises(InvalidParameterError, match="'jpeg2000' codes each date alone"):
        compress_cube(series(), "jpeg2000", 5.0, dates=32)
    with pytest.raises(InvalidParameterError, match="labels of t that are times"):
        compress_cube(series().drop_vars("t"), "klt-dct", 6.5, dates=32)


def test_cubes_without_t_and_of_one_date():
    one = series().isel(t=0)
    whole = compress_cube(series().isel(t=[0]), "klt-dct", 6.5)
    for cube in (one, one.drop_vars("t"), series().isel(t=[0])):
        compressed = compress_cube(cube, "klt-dct", 6.5, dates=32)
        assert compressed.dims == cube.dims
        np.testing.assert_array_equal(
            compressed.compute().values.reshape(whole.shape), whole.compute().values
        )


def test_the_process_takes_days():
    compressed = process(series(), "auto", 6.5, options={"dates": 64})
    assert groups(payloads_of(compressed).blocks[:, 0, 0].compute()) == GROUPS
    assert registry.open_codec(compressed.attrs["nc:codec"]).joins_dates


# --- stores ----------------------------------------------------------------------------------


def stored(tmp_path, cube=None, **options):
    cube = series() if cube is None else cube
    compressed = compress_cube(cube, "klt-dct", 6.5, dates=64)
    return compressed, write_store(compressed, tmp_path / "s.zarr", **options)


def test_a_store_opens_in_plain_xarray(tmp_path):
    compressed, report = stored(tmp_path)
    opened = xr.open_zarr(tmp_path / "s.zarr", mask_and_scale=False)["data"]
    assert opened.encoding["chunks"] == (1, 2, SIDE, SIDE)
    assert opened.encoding["shards"] == (5, 2, SIDE, 2 * SIDE)
    values = compressed.compute()
    np.testing.assert_array_equal(inside(opened, compressed).values, values.values)
    for t in (4, 1):  # one date: a part of a shard
        np.testing.assert_array_equal(inside(opened, compressed)[t].values, values[t].values)
    assert report.metrics["tiles"] == 10
    assert report.rate == {"quality": 6.5, "dates": 64}


def test_bytes_are_there_once_and_counted_once(tmp_path):
    compressed, report = stored(tmp_path)
    cells = payloads_of(compressed).blocks.compute()
    bodies = {coded.split(cell)[1] for cell in cells.ravel()}
    (path,) = (p for p in (tmp_path / "s.zarr" / "data" / "c").rglob("*") if p.is_file())
    index = 16 * 10 + 4
    assert path.stat().st_size == sum(map(len, bodies)) + 2 * 3 + index
    assert report.arrays[0].bytes == sum(report.date_bytes) == path.stat().st_size
    assert report.date_bytes[3] > 1.5 * report.date_bytes[0]
    forms = {form.form: form for form in inspect_store(tmp_path / "s.zarr").forms}
    assert forms["dates"].payloads == 2
    assert forms["plain"].payloads == 2
    assert sum(form.bytes for form in forms.values()) == path.stat().st_size - index
    write_store(compress_cube(series(), "klt-dct", 6.5), tmp_path / "alone.zarr")
    assert report.arrays[0].bytes < 0.8 * inspect_store(tmp_path / "alone.zarr").arrays[0].bytes


def test_a_remote_reader_gets_one_date_by_ranges(tmp_path):
    compressed, _ = stored(tmp_path)
    copy = MemoryStore()
    root = tmp_path / "s.zarr"

    async def upload():
        for path in root.rglob("*"):
            if path.is_file():
                data = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(
                    path.read_bytes()
                )
                await copy.set(str(path.relative_to(root)), data)

    asyncio.run(upload())
    ranges = []
    get = MemoryStore.get

    async def spied(self, key, prototype, byte_range=None):
        ranges.append((key, byte_range))
        return await get(self, key, prototype, byte_range)

    MemoryStore.get = spied
    try:
        array = zarr.open_array(copy, path="data", mode="r")
        part = array[1, :, :SIDE, :SIDE]
    finally:
        MemoryStore.get = get
    np.testing.assert_array_equal(part, compressed[1, :, :, :SIDE].compute().values)
    reads = [byte_range for key, byte_range in ranges if "/c/" in key]
    assert len(reads) == 2  # the index, and the group of one tile
    assert all(byte_range is not None for byte_range in reads)


def test_a_stored_cube_brings_its_payloads(tmp_path):
    compressed, _ = stored(tmp_path)
    opened = xr.open_zarr(tmp_path / "s.zarr", mask_and_scale=False)["data"]
    carrying = with_stored_payloads(opened, tmp_path / "s.zarr")
    again = payloads_of(carrying).blocks.compute()
    assert (again == payloads_of(compressed).blocks.compute()).all()
    assert payloads_of(carrying).coding.asked.dates == 64
    write_store(carrying, tmp_path / "copy.zarr")
    shard = "data/c/0/0/0/0"
    assert (tmp_path / "copy.zarr" / shard).read_bytes() == (
        tmp_path / "s.zarr" / shard
    ).read_bytes()


def test_shards_have_a_most_of_dates_and_groups_across_them_still_decode(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SHARD_DATES", 2)
    compressed, report = stored(tmp_path)
    opened = xr.open_zarr(tmp_path / "s.zarr", mask_and_scale=False)["data"]
    assert opened.encoding["shards"][0] == 2
    np.testing.assert_array_equal(inside(opened, compressed).values, compressed.compute().values)
    assert sum(report.date_bytes) == report.arrays[0].bytes
    assert sum(form.payloads for form in report.forms if form.form == "dates") == 6  # 3 shards


def test_there_is_no_view_of_latents(tmp_path):
    stored(tmp_path)
    with pytest.raises(FormatUnsuitableError, match="no view as latents"):
        latent_view(tmp_path / "s.zarr")


def test_damage_is_a_typed_error(tmp_path):
    stored(tmp_path)
    path = tmp_path / "s.zarr" / "data" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(PayloadError):
        xr.open_zarr(tmp_path / "s.zarr")["data"].load()


# --- shards ----------------------------------------------------------------------------------


def test_shards_hold_what_they_were_given(tmp_path):
    body, other = bitstream.MAGIC + b"together", bitstream.MAGIC + b"x"
    cells = [[[bytes(2) + body, other]], [[body, other]], [[None, bytes(1) + other]]]
    shape = (4, 1, 2)
    path = tmp_path / "shard"
    path.write_bytes(shard_bytes(cells, shape))
    for t, row in enumerate(cells):
        for i, payload in enumerate(row[0]):
            assert read_tile(path, shape, (t, 0, i)) == payload
    assert read_tile(path, shape, (3, 0, 0)) is None
    sizes = tile_bytes(path, shape)
    assert sizes[:, 0, 0].tolist() == [7, 7, 0, 0]
    assert sizes[:, 0, 1].tolist() == [2, 2, 2, 0]
    assert sizes.sum() + 16 * 8 + 4 == path.stat().st_size
    heads = [(body[:5], len(body) + 2), (other[:5], len(other) + 1)]
    assert sorted(tile_heads(path, shape, 5)) == sorted(heads)


def test_a_date_of_a_group_may_be_there_alone(tmp_path):
    body = bitstream.MAGIC + b"together"
    (tmp_path / "shard").write_bytes(shard_bytes([[[bytes(3) + body]]], (1, 1, 1)))
    assert tile_heads(tmp_path / "shard", (1, 1, 1), 4) == [(b"ONC1", len(body) + 3)]
    assert read_tile(tmp_path / "shard", (1, 1, 1), (0, 0, 0)) == bytes(3) + body


def test_metadata_names_what_was_asked(tmp_path):
    stored(tmp_path)
    group = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text())
    assert group["attributes"]["nc:rate"] == {"quality": 6.5, "dates": 64}


def test_a_date_that_cannot_be_encoded_leaves_the_others_of_its_window(monkeypatch):
    cube = series(missing=False).astype("float32").compute()
    del cube.attrs["_FillValue"]
    cube[2, 0, 5, 7] = np.inf
    cube = cube.chunk({"t": 1, "y": SIDE, "x": SIDE})
    told = []
    monkeypatch.setattr(on_error, "tell", lambda topic, message: told.append(message))
    with on_error.nodata_on_error("job"):
        compressed = compress_cube(cube, "klt-dct", 5, dates=32)
    pixels = compressed.values
    gone = np.zeros(pixels.shape, bool)
    gone[2, :, :, :SIDE] = True  # one tile of one date
    np.testing.assert_array_equal(np.isnan(pixels), gone)
    assert [message for message in told if "date 2020-01-16)" in message] == told != []
    with pytest.raises(InvalidValuesError):
        compress_cube(cube, "klt-dct", 5, dates=32).compute()
