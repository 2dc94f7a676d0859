"""Readers stay a few tiles ahead of a slow device, whatever the area; nothing waits for ever."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import dask.array as da
import fakes
import numpy as np
import pytest
import stac_scenes as scenes

from openeo_nc.codecs import registry
from openeo_nc.cubes import reader, stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.tile_graph import cell, per_tile
from openeo_nc.inference import admission
from openeo_nc.inference.placement import on_device
from openeo_nc.inference.spec import CodecSpec

SPEC = CodecSpec.of(registry.get_card("s2l2a-hyperprior"))
pytestmark = pytest.mark.slow


class Pile:
    """Tiles that were read and not yet encoded."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = self.read = self.encoded = 0

    def add(self, count):
        with self.lock:
            self.now += count
            self.most = max(self.most, self.now)
            self.read += count > 0
            self.encoded += count < 0


pile = Pile()


@pytest.fixture(autouse=True)
def anew():
    pile.__init__()


@contextmanager
def cluster(readers=2):
    """Workers in this process: some that read, and a device of one thread."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    workers = {n: {"cls": Worker, "options": {"nthreads": 2}} for n in range(readers)}
    workers["device"] = {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler) as running, Client(running) as client:
        client.wait_for_workers(len(workers))
        yield client


def reading(block, block_info=None):
    pile.add(1)
    return block


def encoding(block):
    time.sleep(0.02)
    pile.add(-1)
    if block.max() < 0:
        raise ValueError("a poor tile")
    return cell(int(block.sum()))


def encoded(tiles, fill=1, side=16):
    """Payloads of so many tiles, each read by a task of its own."""
    source = da.full((1, 3, side, tiles * side), fill, chunks=(1, 3, side, side), dtype="int32")
    source = source.map_blocks(reading, dtype="int32", meta=np.empty((0,) * 4, "int32"))
    return per_tile("encode", on_device(encoding, SPEC), [source], ())


@pytest.mark.parametrize("tiles", [20, 80])
def test_the_pile_does_not_grow_with_the_area(tiles):
    with cluster():
        found = encoded(tiles).compute()
    assert found.sum() == tiles * 3 * 16 * 16
    assert (pile.read, pile.encoded) == (tiles, tiles)
    assert pile.most <= admission.AHEAD + 1  # one is admitted as another ends


def test_without_admission_it_would(monkeypatch):
    monkeypatch.setattr(admission, "AHEAD", 1000)
    with cluster():
        encoded(40).compute()
    assert pile.most > 20


def test_tiles_that_fail_and_graphs_that_go_hold_up_nobody():
    with cluster() as client:
        failing, cancelled = client.compute(encoded(20, -1)), client.compute(encoded(30, 5))
        later = client.compute(encoded(20, 2))
        cancelled.cancel()
        with pytest.raises(ValueError, match="poor tile"):
            failing.result(timeout=60)
        assert later.result(timeout=60).sum() == 20 * 2 * 3 * 16 * 16


def test_what_is_asked_for_beside_comes_too():
    """Pixels that nobody encodes wait for no device; those that somebody does come in their turn."""
    with cluster() as client:
        payloads = encoded(20)
        source = da.ones((64, 64), chunks=16).map_blocks(lambda block: block + 1)
        both = client.compute([payloads.sum(), source.sum()])
        assert client.gather(both) == [20 * 3 * 16 * 16, 2 * 64 * 64]


def test_where_all_have_the_device_nothing_is_held():
    with cluster(readers=0):
        assert encoded(10).compute().size == 10
    assert pile.encoded == 10


# --- cubes as they are loaded --------------------------------------------------------------------


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """Loads one date of so many tiles beside each other, of any side; nothing is read from files.

    The pile has as many parts of a tile as bands are read of it.
    """

    def reading_band(self, window, **_):
        pile.add(1)
        return np.ones((int(window.height), int(window.width)), np.float32)

    def loaded(tiles, side):
        corner, shape = (side * 10 * 100.0, side * 10 * 1000.0), (side, tiles * side)
        assets = {
            band: scenes.asset(f"{tmp_path}/{band}.tif", 10, *corner, shape=shape, scale=None)
            for band in fakes.RGB
        }
        updated = "2022-06-02T00:00:00Z"
        item = scenes.item("wide", "2022-06-01T10:00:00Z", assets, updated=updated)
        return stac.load(str(scenes.write_items(tmp_path / "items.json", [item])))

    monkeypatch.setattr(reader.BandReader, "read", reading_band)
    return loaded


def encoding_bands(block):
    time.sleep(0.02)
    pile.add(-3)
    return cell(int(block.sum()))


def test_the_pile_of_a_loaded_cube_does_not_grow(wide):
    """Tasks that read it have the table of its assets in common."""
    with cluster():
        cube = wide(40, 384)
        found = per_tile("encode", on_device(encoding_bands, SPEC), [cube.data], ()).compute()
    assert (found == 3 * 384**2).all()
    assert (pile.read, pile.encoded) == (3 * 40, 40)
    assert pile.most <= 3 * (admission.AHEAD + 1)


def test_the_pile_before_a_tile_store_does_not_grow(wide, tmp_path, monkeypatch):
    """Tasks that read whole tiles have their items in common."""
    with fakes.codecs_installed() as blocks, tile_store.used(tmp_path / "tiles"), cluster():
        count = blocks._count

        def packing(what):
            count(what)
            if what == "pack":
                time.sleep(0.02)
                pile.add(-3)

        monkeypatch.setattr(blocks, "_count", packing)
        payloads = payloads_of(compress_cube(wide(40, 16), "fake-rgb"))
        found = payloads.blocks.compute()
    assert found.size == 40
    assert (pile.read, pile.encoded) == (3 * 40, 40)
    assert pile.most <= 3 * (admission.AHEAD + 1)
