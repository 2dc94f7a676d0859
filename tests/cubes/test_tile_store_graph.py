"""Cubes through the tile store: what is there is neither read nor encoded, and never a wrong tile."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import dask
import fakes
import numpy as np
import pytest
import stac_scenes as scenes
from granules import BANDS, LEFT, SIDE, TOP, forbidden, load

from openeo_nc import metrics
from openeo_nc.cubes import on_error, stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.query import Query
from openeo_nc.cubes.scenes import scenes_of
from openeo_nc.cubes.store import write_store
from openeo_nc.cubes.stored import open_cube


@pytest.fixture
def kept(tmp_path, codecs):
    with tile_store.used(tmp_path / "tiles") as spec:
        yield spec


def coded(cube, codec="fake-rgb", **options):
    """Payloads by date, row and column of the grid."""
    payloads = payloads_of(compress_cube(cube, codec, **options))
    blocks = payloads.blocks.compute()
    window = payloads.window
    return {
        (t, window.j0 + j, window.i0 + i): blocks[t, j, i] for t, j, i in np.ndindex(*blocks.shape)
    }


# --- what is there --------------------------------------------------------------------------------


def test_what_is_there_is_neither_read_nor_encoded(kept, codecs, url, unread):
    first = coded(load(url))
    assert codecs.calls["pack"] == len(first)
    unread()
    hits = metrics.CACHE_HITS.value()
    assert coded(load(url)) == first
    assert codecs.calls["pack"] == len(first)
    assert metrics.CACHE_HITS.value() == hits + len(first)


def test_an_overlapping_request_encodes_what_is_missing(kept, codecs, url):
    first = coded(load(url, east=30))
    codecs.calls.clear()
    both = coded(load(url, west=20, east=50))
    shared = first.keys() & both.keys()
    assert shared
    assert codecs.calls["pack"] == len(both.keys() - shared)
    assert all(first[tile] == both[tile] for tile in shared)


def test_tiles_are_whole_whatever_part_of_them_is_asked_for(kept, codecs, url, tmp_path):
    small = coded(load(url, west=33, east=36, north=21, south=24))
    with tile_store.used(tmp_path / "other"):
        large = coded(load(url))
    assert len(small) == 2
    assert small == {tile: large[tile] for tile in small}


def test_a_tile_across_two_items_is_the_same_from_either_side(kept, codecs, url, tmp_path):
    requests = [(50, 58), (62, 70), (40, 80)]  # the last sees both granules, the others one
    found = []
    for number, (west, east) in enumerate(requests):
        with tile_store.used(tmp_path / str(number)):
            tiles = coded(load(url, west=west, east=east))
            found.append({place: data for place, data in tiles.items() if place[0] == 0})
    shared = found[0].keys() & found[1].keys()
    assert shared
    assert all(found[0][tile] == found[1][tile] == found[2][tile] for tile in shared)


def test_pixels_are_those_of_the_source_where_they_were_asked_for(kept, codecs, url):
    for _ in range(2):
        cube = load(url, west=3, east=100, south=41)
        restored = compress_cube(cube, "fake-rgb")
        np.testing.assert_array_equal(restored.values, cube.values)
        assert restored.dims == cube.dims
        for name in cube.coords:
            assert restored[name].identical(cube[name])
    assert np.isnan(cube.values[0, :, :, :3]).all()


def test_whole_tiles_are_what_the_plain_path_would_read(kept, codecs, url):
    cube = load(url, east=2 * SIDE)
    source = payloads_of(compress_cube(cube, "fake-rgb")).source
    window = payloads_of(compress_cube(cube, "fake-rgb")).window
    inner = source[
        :, :, window.pad_top : window.pad_top + SIDE, window.pad_left : window.pad_left + 2 * SIDE
    ]
    np.testing.assert_array_equal(inner.compute(), cube.values)


def test_embeddings_are_kept_too_and_decode(kept, codecs, url, unread):
    cube = load(url, west=3, south=41)
    pixels = cube.values
    first = encode_cube(cube, "fake-rgb")
    values = first.values
    packed = codecs.calls["pack"]
    again = encode_cube(load(url, west=3, south=41), "fake-rgb")
    unread()
    np.testing.assert_array_equal(again.values, values)
    assert codecs.calls["pack"] == packed
    np.testing.assert_array_equal(decode_cube(again).values, pixels)
    # latents and pixels of one tile are two entries
    assert not {k.path for k in _keys(first)} & {k.path for k in _keys(compress_cube(cube, "fake-rgb"))}  # fmt: skip


def _keys(cube):
    """Keys in the tasks of a cube's payloads."""
    graph = payloads_of(cube).blocks.__dask_graph__()
    return [
        value for task in graph.values() for value in getattr(task, "args", ())
        if isinstance(value, tile_store.Key)
    ]  # fmt: skip


def test_a_saved_cube_is_measured_once(kept, codecs, url, tmp_path, unread):
    cube = load(url, west=3, south=41)
    pixels = cube.values
    first = write_store(compress_cube(cube, "fake-rgb", quality=4), tmp_path / "first")
    unread()
    codecs.calls.clear()
    again = write_store(
        compress_cube(load(url, west=3, south=41), "fake-rgb", quality=4), tmp_path / "again"
    )
    assert again.metrics == first.metrics
    assert first.metrics["max_error"] > 0
    assert not codecs.calls["pack"]
    assert not codecs.calls["synthesise"]
    shards = [sorted((tmp_path / name).glob("data/c/**/*")) for name in ("first", "again")]
    assert shards[0]
    for one, other in zip(*shards, strict=True):
        assert one.is_dir() or one.read_bytes() == other.read_bytes()
    np.testing.assert_allclose(open_cube(tmp_path / "again").values, pixels, atol=8)


def test_building_computes_nothing(kept, codecs, url, building, unread):
    unread()
    with building():
        compress_cube(load(url), "fake-rgb")
        encode_cube(load(url), "fake-rgb")
    assert not codecs.calls


def test_compressing_one_cube_twice_is_one_computation(kept, codecs, url):
    cube = load(url)
    blocks = [payloads_of(compress_cube(cube, "fake-rgb")).blocks for _ in range(2)]
    dask.compute(*blocks)
    assert codecs.calls["pack"] == blocks[0].size


def test_dates_of_a_window_are_one_entry(kept, url):
    first = coded(load(url), "klt-dct", dates=32, quality=2)
    there = {path for path in Path(kept.url).rglob("*") if path.is_file()}
    misses = metrics.CACHE_MISSES.value()
    assert coded(load(url), "klt-dct", dates=32, quality=2) == first
    assert {path for path in Path(kept.url).rglob("*") if path.is_file()} == there
    assert metrics.CACHE_MISSES.value() == misses
    assert len(there) == len(first) // 2
    alone = coded(load(url), "klt-dct", quality=2)
    assert alone.keys() == first.keys()
    assert metrics.CACHE_MISSES.value() == misses + len(alone)


def test_what_the_guard_found_is_kept_with_the_tile(kept, tmp_path, unread):
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    assets = {}
    for number, band in enumerate(bands):
        path = scenes.write_tif(
            tmp_path / "all" / f"{band}.tif", scenes.numbers(number, SIDE, SIDE), LEFT, TOP, 10
        )
        assets[band] = scenes.asset(path, 10, shape=(SIDE, SIDE))
    item = scenes.item("all", "2022-06-01T10:50:31Z", assets, updated="2022-07-01T00:00:00Z")
    url = str(scenes.write_collection(tmp_path / "twelve", [item]))

    def report(name):
        cube = load(url, bands=bands)
        compressed = compress_cube(
            cube, "s2l2a-restoration", max_error=0.02, target_psnr=30, guard="bounded"
        )
        return write_store(compressed, tmp_path / name, measure=True)

    first = report("first")
    unread()
    again = report("again")
    assert first.shifts is not None
    assert again.shifts == first.shifts
    assert again.metrics == first.metrics


# --- what is not the same ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"properties": {"updated": "2022-08-01T00:00:00Z"}}, False),
        ({"properties": {"s2:processing_baseline": "05.10"}}, False),
        ({"properties": {"eo:cloud_cover": 50}}, True),
        ({"asset": {"raster:bands": [{"nodata": 0, "offset": -1000}]}}, False),
        ({"asset": {"raster:bands": [{"nodata": 1}]}}, False),
        ({"asset": {"title": "Green"}}, True),
        ({"touch": True}, False),
    ],
)
def test_an_item_that_changed_has_other_tiles(kept, codecs, tmp_path, items, change, same):
    late = items[2]
    before = str(scenes.write_items(tmp_path / "before.json", [late]))
    first = coded(load(before), "fake-any")
    late = json.loads(json.dumps(late))
    late["properties"] |= change.get("properties", {})
    for band in BANDS:
        late["assets"][band] |= change.get("asset", {})
        if change.get("touch"):
            os.utime(late["assets"][band]["href"], (1e9, 1e9))
    after = str(scenes.write_items(tmp_path / "after.json", [late]))
    codecs.calls.clear()
    coded(load(after), "fake-any")
    assert codecs.calls["pack"] == (0 if same else len(first))


def test_a_checksum_counts_before_the_time_of_an_update(kept, codecs, tmp_path, items):
    def url(name, updated, checksum):
        item = json.loads(json.dumps(items[2]))
        item["properties"]["updated"] = updated
        for band in BANDS:
            item["assets"][band]["file:checksum"] = checksum
        return str(scenes.write_items(tmp_path / name, [item]))

    first = coded(load(url("a.json", "2022-07-01T00:00:00Z", "1220aa")))
    codecs.calls.clear()
    coded(load(url("b.json", "2023-07-01T00:00:00Z", "1220aa")))
    assert not codecs.calls["pack"]
    coded(load(url("c.json", "2023-07-01T00:00:00Z", "1220bb")))
    assert codecs.calls["pack"] == len(first)


def test_rate_codec_bands_and_numbers_have_tiles_of_their_own(kept, codecs, url):
    def keys(cube, codec="fake-rgb", **options):
        return {key.path for key in _keys(compress_cube(cube, codec, **options))}

    cube = load(url)
    found = [
        keys(cube),
        keys(cube, quality=4),
        keys(cube, "fake-any"),
        keys(cube, target_ratio=2),
        keys(cube, target_psnr=40),
        keys(cube, max_error=3),
        keys(cube, max_error=[3, 3, 4]),
        keys(cube, "klt-dct", quality=4),
        keys(cube, "klt-dct", quality=4, dates=32),
        keys(cube, "klt-dct", quality=4, dates=64),
        keys(cube, scale=0.0002),
        keys(load(url, bands=("B03", "B02", "B04")), "fake-any"),
        keys(load(url, bands=("B03", "B02")), "fake-any"),
        keys(load(url, resolution=20)),
        keys(load(url, resolution=20, resampling="nearest")),
    ]
    assert all(found)
    assert sum(map(len, found)) == len(set.union(*found))
    assert keys(load(url)) == found[0]
    alone = keys(load(url, mosaic="none"))  # the same where a tile has one item a day
    assert len(found[0]) / 2 < len(alone & found[0]) < len(found[0])
    assert keys(load(url), quality=8) == found[0]  # the default, said


# --- whose tiles nobody knows --------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda cube: cube * 2,
        lambda cube: cube.where(cube > 1500),
        lambda cube: cube.assign_coords(bands=["B03", "B02", "B04"]),
        lambda cube: cube.assign_coords(x=cube.x + 160),
        lambda cube: cube.isel(t=[1, 0]),
        lambda cube: cube.compute().chunk(),
    ],
)
def test_changed_pixels_or_labels_are_nobodys(kept, codecs, url, change):
    cube = load(url)
    assert scenes_of(cube) is not None
    assert scenes_of(change(cube)) is None
    compress_cube(change(cube), "fake-any").compute()
    assert not Path(kept.url).exists()


def test_polygons_that_are_cut_out_make_tiles_of_one_request(kept, codecs, url):
    ring = [[LEFT, TOP - 300], [LEFT + 300, TOP - 300], [LEFT + 300, TOP], [LEFT, TOP - 300]]
    polygon = {
        "type": "Polygon", "coordinates": [ring],
        "crs": {"type": "name", "properties": {"name": "EPSG:32631"}},
    }  # fmt: skip
    cube = stac.load(url, Query.of(polygon, None, None), BANDS)
    restored = compress_cube(cube, "fake-rgb")
    np.testing.assert_array_equal(restored.values, cube.values)
    assert not Path(kept.url).exists()


def test_without_a_store_nothing_is_looked_for(codecs, url, monkeypatch):
    monkeypatch.delenv(tile_store.VARIABLE, raising=False)
    monkeypatch.setattr("openeo_nc.cubes.surroundings.find_items", forbidden)
    coded(load(url))


def test_items_that_do_not_say_when_they_were_updated_are_not_kept(kept, codecs, url, monkeypatch):
    monkeypatch.setattr("openeo_nc.cubes.scenes.digest", lambda *_: None)
    monkeypatch.setattr("openeo_nc.cubes.surroundings.digest", lambda *_: None)
    first = coded(load(url))
    assert coded(load(url)) == first
    assert codecs.calls["pack"] == 2 * len(first)
    assert not Path(kept.url).exists()


def test_filters_that_only_select_keep_what_is_known(kept, codecs, url, unread):
    from openeo_nc.graphs import execute

    wanted = coded(load(url, bands=("B03", "B02")).isel(t=[1]), "fake-any")
    assert not Path(kept.url).exists()  # a cube that xarray selected from is nobody's
    coded(load(url, bands=("B03", "B02")), "fake-any")
    unread()
    west, south, east, north = LEFT + 100, TOP - 400, LEFT + 300, TOP - 100
    graph = {
        "load": {
            "process_id": "load_stac",
            "arguments": {"url": url, "spatial_extent": {
                "west": LEFT, "south": TOP - 600, "east": LEFT + 600, "north": TOP, "crs": 32631
            }},
        },
        "bands": {
            "process_id": "filter_bands",
            "arguments": {"data": {"from_node": "load"}, "bands": ["B03", "B02"]},
        },
        "time": {
            "process_id": "filter_temporal",
            "arguments": {"data": {"from_node": "bands"}, "extent": ["2022-06-03", "2022-06-30"]},
        },
        "box": {
            "process_id": "filter_bbox",
            "arguments": {"data": {"from_node": "time"}, "extent": {
                "west": west, "south": south, "east": east, "north": north, "crs": "EPSG:32631"
            }},
            "result": True,
        },
    }  # fmt: skip
    cube = execute(graph)
    assert dict(cube.sizes) == {"t": 1, "bands": 2, "y": 30, "x": 20}
    found = coded(cube, "fake-any")
    assert found
    for (_, row, column), payload in found.items():
        tile = (0, row, column)
        assert payload == wanted[tile]


# --- faults --------------------------------------------------------------------------------------


def test_an_entry_that_left_after_the_graph_was_built_is_made_again(kept, codecs, url):
    first = coded(load(url))
    codecs.calls.clear()
    payloads = payloads_of(compress_cube(load(url), "fake-rgb"))
    shutil.rmtree(kept.url)
    assert sorted(payloads.blocks.compute().ravel().tolist()) == sorted(first.values())
    assert codecs.calls["pack"] == len(first)
    codecs.calls.clear()
    assert coded(load(url)) == first
    assert not codecs.calls["pack"]


def test_damaged_entries_are_made_again(kept, codecs, url):
    first = coded(load(url))
    codecs.calls.clear()
    files = [path for path in Path(kept.url).rglob("*") if path.is_file()]
    for path in files[:3]:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = metrics.CACHE_DAMAGED.value()
    assert coded(load(url)) == first
    assert metrics.CACHE_DAMAGED.value() == found + 3
    assert codecs.calls["pack"] == 3
    assert coded(load(url)) == first
    assert codecs.calls["pack"] == 3


class Slow:
    """A shelf that takes its time and fails now and then."""

    def __init__(self, shelf, every):
        self.shelf, self.every, self.asked = shelf, every, 0

    def __getattr__(self, name):
        def asked(*arguments):
            self.asked += 1
            time.sleep(0.002)
            if self.asked % self.every == 0:
                raise OSError("slow down")
            return getattr(self.shelf, name)(*arguments)

        return asked


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_failing_storage_fails_no_cube(kept, codecs, url, monkeypatch, every):
    store = tile_store.opened(kept)
    monkeypatch.setattr(store, "shelf", Slow(store.shelf, every))
    monkeypatch.setattr(tile_store, "PAUSE_SECONDS", 0.0)
    with tile_store.used(None):
        cube = load(url)
        pixels = cube.values
    for _ in range(3):
        np.testing.assert_array_equal(compress_cube(load(url), "fake-rgb").values, pixels)


def test_what_could_not_be_read_is_not_kept(kept, codecs, url, items):
    with on_error.nodata_on_error("job"):
        Path(items[2]["assets"]["B03"]["href"]).rename(Path(kept.url).with_name("away.tif"))
        broken = compress_cube(load(url), "fake-rgb").values
        assert np.isnan(broken[1, 1]).all()
    assert not Path(kept.url).exists()
    Path(kept.url).with_name("away.tif").rename(items[2]["assets"]["B03"]["href"])
    whole = load(url)
    np.testing.assert_array_equal(compress_cube(whole, "fake-rgb").values, whole.values)
    with on_error.nodata_on_error("job"):
        codecs.calls.clear()
        coded(load(url))
        assert not codecs.calls["pack"]  # what is there was read without faults


def _fill(folder, url, everyone, results):
    with fakes.codecs_installed() as blocks, dask.config.set(scheduler="synchronous"):
        with tile_store.used(folder):
            payloads = payloads_of(compress_cube(load(url), "fake-rgb"))
            everyone.wait()
            tiles = payloads.blocks.compute().ravel().tolist()
        results.put((tiles, blocks.calls["pack"]))


def test_processes_that_fill_the_same_tiles_agree(tmp_path, url):
    context = multiprocessing.get_context("spawn")
    everyone, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_fill, args=(tmp_path / "tiles", url, everyone, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    (one, packed), (other, packed_too) = found
    assert one == other
    assert len(one) <= packed + packed_too <= 2 * len(one)
    with tile_store.used(tmp_path / "tiles"), fakes.codecs_installed() as blocks:
        with dask.config.set(scheduler="synchronous"):
            assert list(coded(load(url)).values()) == one
        assert not blocks.calls["pack"]
