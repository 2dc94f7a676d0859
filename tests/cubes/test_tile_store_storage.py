"""The tile store on a real S3 server and on a real cluster."""

from __future__ import annotations

import fakes
import object_storage
import pytest
import stac_scenes as scenes
from distributed import Client, LocalCluster, span

from openeo_nc import metrics
from openeo_nc.cubes import stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.tile_store import Key, Spec, TileStore
from openeo_nc.cubes.tile_store_entry import Entry
from openeo_nc.cubes.tile_store_eviction import damaged, evict, held

PLACE = f"s3://{object_storage.BUCKET}/tiles"


@pytest.fixture
def storage(monkeypatch):
    pytest.importorskip("moto", reason="no S3 server: the package moto is not installed")
    with object_storage.storage() as storage:
        for name, value in storage.environment.items():
            monkeypatch.setenv(name, value)
        yield storage


def entry(number):
    return Entry(key={"number": number}, payloads=(b"%d" % number * 500,), notes=({},))


def key(number):
    return Key.of({"number": number}, "g/0.0/2022-06")


def test_entries_in_object_storage(storage, monkeypatch):
    store = TileStore(Spec(url=PLACE))
    keys = [key(number) for number in range(4)]
    for number, one in enumerate(keys[:3]):
        assert store.put(one, entry(number)).payloads == entry(number).payloads
    assert store.put(keys[0], entry(9)).payloads == entry(0).payloads  # the first counts
    assert store.present(keys) == {one.path for one in keys[:3]}
    assert store.get(keys[1]).payloads == entry(1).payloads
    assert store.get(keys[3]) is None
    store.flush()
    assert [one.hits for one in held(store.shelf)][-2:] == [1, 1]
    assert list(damaged(store.shelf)) == []
    assert evict(store.shelf, 1).entries == 3
    assert store.present(keys) == set()
    storage.failing = lambda *_: True
    monkeypatch.setattr(tile_store, "PAUSE_SECONDS", 1000.0)
    asked = len(storage.asked)
    assert store.get(keys[1]) is None
    first = len(storage.asked)
    assert first > asked
    assert store.put(keys[1], entry(1)).payloads == entry(1).payloads
    assert len(storage.asked) == first  # it is left alone


def test_jobs_of_a_cluster_share_tiles_and_count_them(tmp_path):
    assets = {
        band: scenes.asset(
            scenes.write_tif(
                tmp_path / f"{band}.tif", scenes.numbers(7, 60, 60), scenes.LEFT, scenes.TOP, 10
            ),
            10, shape=(60, 60), scale=None,
        )
        for band in ("B02", "B03", "B04")
    }  # fmt: skip
    item = scenes.item("one", "2022-06-01T10:00:00Z", assets, updated="2022-06-02T00:00:00Z")
    url = str(scenes.write_items(tmp_path / "items.json", [item]))
    with (
        fakes.codecs_installed(),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        tile_store.used(tmp_path / "tiles"),
    ):
        found = []
        for tag in ("first", "again"):
            with span(tag):
                blocks = payloads_of(compress_cube(stac.load(url), "fake-rgb")).blocks
                tiles = blocks.compute().ravel().tolist()
            found.append((tiles, metrics.of_span(client, tag)))
    (first, used), (again, saved) = found
    assert first == again
    assert used["cache_misses"] == saved["cache_hits"] == len(first)
    assert "cache_hits" not in used
    assert "cache_misses" not in saved
    assert saved["cache_bytes_read"] == sum(map(len, first))
