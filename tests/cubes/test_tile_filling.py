"""Filling a tile store: windows of any area, what is there passed over, faults told of at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import dask
import fake_models
import fakes
import numpy as np
import pytest
import stac_scenes as scenes
from distributed import Client, LocalCluster

from openeo_nc.cubes import filling_area, stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.embed import embed_cube, embedding_entries
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.filling_area import Area
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.query import Query, TemporalExtent
from openeo_nc.cubes.tile_filling import fill
from openeo_nc.errors import BandMismatchError, InvalidParameterError
from openeo_nc.models.registry import get_model_card

BANDS = ("B02", "B03", "B04")
SIDE = 60
EAST = scenes.LEFT + 10 * SIDE


def scene(folder, name, when, left=scenes.LEFT, crs=scenes.CRS, **properties):
    assets = {}
    for number, band in enumerate(BANDS):
        values = scenes.numbers(sum(map(ord, name)) + number, SIDE, SIDE)
        path = scenes.write_tif(
            Path(folder) / name / f"{band}.tif", values, left, scenes.TOP, 10, crs
        )
        assets[band] = scenes.asset(path, 10, left, shape=(SIDE, SIDE), scale=None)
    return scenes.item(name, when, assets, crs, updated="2022-07-01T00:00:00Z", **properties)


@pytest.fixture
def items(tmp_path):
    """Two granules of two dates in two months, and one of the next zone."""
    return [
        scene(tmp_path, "west", "2022-06-01T10:50:31Z"),
        scene(tmp_path, "east", "2022-06-01T10:50:41Z", EAST),
        scene(tmp_path, "late", "2022-08-01T10:50:31Z"),
        scene(tmp_path, "zone", "2022-06-01T10:51:00Z", 128_000.0, "EPSG:32632"),
    ]


@pytest.fixture
def url(tmp_path, items):
    return str(scenes.write_collection(tmp_path / "collection", items))


@pytest.fixture(scope="module")
def client():
    with (
        fakes.codecs_installed() as codecs,
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.codecs = codecs
        yield client


@pytest.fixture
def codecs(client):
    client.codecs.calls.clear()
    return client.codecs


def area(url, west=-1.0, **options):
    box = {"west": west, "south": 40.0, "east": 9.0, "north": 50.0}
    query = Query.of(box, ["2022-05-01", "2022-09-01"], None)
    return Area(url=url, query=query, bands=BANDS, **options)


coded = partial(compress_cube, codec="fake-rgb")


def request(url, **options):
    box = {"west": scenes.LEFT + 100, "south": scenes.TOP - 500, "east": EAST + 300,
           "north": scenes.TOP - 40, "crs": 32631}  # fmt: skip
    return stac.load(url, Query.of(box, ["2022-06-01", "2022-06-02"], None), BANDS, **options)


def test_what_is_filled_is_there_for_any_request_in_it(client, codecs, url, tmp_path):
    shown = []
    with tile_store.used(tmp_path / "tiles"):
        found = fill(client, area(url), coded, lambda f, n: shown.append((f.windows, n)))
        assert found.entries == found.made > 0
        assert (found.there, found.failed, found.lost, found.nobodys) == (0, 0, 0, 0)
        assert codecs.calls["pack"] == found.made
        assert found.bytes > 0
        assert shown[-1] == (found.windows, found.windows)
        codecs.calls.clear()
        # the box has items of another zone beside it, and its tiles reach beyond it
        payloads_of(coded(request(url))).blocks.compute()
        assert not codecs.calls["pack"]
        again = fill(client, area(url), coded)
        assert (again.there, again.made) == (found.entries, 0)
        assert not codecs.calls["pack"]


def test_windows_cut_anywhere_give_the_same_tiles(client, codecs, url, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with tile_store.used(whole):
        fill(client, area(url), coded)
    monkeypatch.setattr(stac, "TILE", 16)
    monkeypatch.setattr(filling_area, "SIDE", 2)
    options = {"options": {"tile": 16}}
    with tile_store.used(cut):
        found = fill(client, area(url, **options), coded)
    assert found.windows > 10

    def digests(folder):
        return {path.name: path.read_bytes() for path in folder.glob("entries/*/*/*/*")}

    assert digests(whole) == digests(cut)
    assert len(digests(cut)) > 20


@pytest.mark.parametrize("model", ["fake-patches", "fake-chips"])
def test_vectors_of_models_are_filled_too(client, url, tmp_path, model):
    with fake_models.models_installed() as models, tile_store.used(tmp_path / "tiles"):
        card = replace(get_model_card(model), source={"revision": "0123456789" * 4})
        vectors = partial(embedding_entries, card=card, quantization="int8")
        found = fill(client, area(url), vectors)
        assert found.entries == found.made > 0
        assert (found.there, found.failed, found.lost, found.nobodys) == (0, 0, 0, 0)
        again = fill(client, area(url), vectors)
        assert (again.there, again.made) == (found.entries, 0)
        calls = models.calls["embed"]
        assert calls
        asked = embed_cube(request(url), card, quantization="int8")
        assert np.isfinite(asked.values).any()
        assert models.calls["embed"] == calls


def test_vectors_of_weights_that_may_change_are_not_kept(client, url, tmp_path):
    with fake_models.models_installed(), tile_store.used(tmp_path / "tiles"):
        vectors = partial(embedding_entries, card=get_model_card("fake-patches"))
        with pytest.raises(InvalidParameterError, match="neither weights_sha256 nor a commit"):
            fill(client, area(url), vectors)


def test_embeddings_are_filled_too(client, codecs, url, tmp_path):
    with tile_store.used(tmp_path / "tiles"):
        found = fill(client, area(url), partial(encode_cube, model="fake-rgb"))
        assert found.made == found.entries > 0
        codecs.calls.clear()
        payloads_of(encode_cube(request(url), "fake-rgb")).blocks.compute()
        assert not codecs.calls["pack"]


def test_items_that_cannot_be_read_are_told_of_and_the_rest_is_filled(
    client, codecs, url, items, tmp_path
):
    path = Path(items[2]["assets"]["B03"]["href"])
    path.write_bytes(b"no raster")
    with tile_store.used(tmp_path / "tiles"):
        found = fill(client, area(url), coded)
        assert 0 < found.failed < found.entries
        assert found.made == found.entries - found.failed
        (message,) = found.errors
        assert "'B03' of item 'late' cannot be read" in message
        assert found.errors[message] == found.failed
        path.write_bytes(Path(items[0]["assets"]["B03"]["href"]).read_bytes())
        again = fill(client, area(url), coded)
        assert again.failed == 0
        assert again.made >= found.failed


class Storage:
    """A shelf that is slow, and that takes nothing the first so many times."""

    def __init__(self, shelf, failures):
        self.shelf, self.failures = shelf, failures

    def __getattr__(self, name):
        return getattr(self.shelf, name)

    def put(self, path, data):
        time.sleep(0.01)
        if self.failures > 0:
            self.failures -= 1
            raise OSError("503 Slow Down")
        return self.shelf.put(path, data)


@pytest.mark.parametrize("failures", [0, 3, 1000])
def test_what_slow_and_failing_storage_did_not_take_is_tried_once_more(
    client, codecs, url, tmp_path, monkeypatch, failures
):
    monkeypatch.setattr(tile_store, "PAUSE_SECONDS", 0.0)
    with tile_store.used(tmp_path / "tiles") as spec:
        store = tile_store.opened(spec)
        monkeypatch.setattr(store, "shelf", Storage(store.shelf, failures))
        found = fill(client, area(url), coded)
        assert found.entries == found.made + found.lost > 5
        assert found.lost == (found.entries if failures == 1000 else 0)
        assert codecs.calls["pack"] == found.made + min(failures, 2 * found.entries)
        store.shelf.failures = 0
        again = fill(client, area(url), coded)
        assert (again.made, again.there) == (found.lost, found.made)


def test_two_that_fill_the_same_tiles_at_once_leave_each_once(client, codecs, url, tmp_path):
    with tile_store.used(tmp_path / "tiles") as spec:
        settings = dask.config.get(tile_store.CONFIG)

        def filling(_):
            with dask.config.set({tile_store.CONFIG: settings}):
                return fill(client, area(url), coded)

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(filling, range(2))
        assert one.entries == other.entries
        assert one.lost == other.lost == one.failed == other.failed == 0
        listed = list(tile_store.opened(spec).shelf.list("entries"))
        assert len(listed) == len({entry.path for entry in listed}) == one.entries


def test_a_storage_that_keeps_nothing_is_told_of(client, codecs, url, tmp_path, monkeypatch):
    monkeypatch.setattr(tile_store, "PAUSE_SECONDS", 0.0)
    (tmp_path / "tiles").write_text("a file where the folder should be")
    with tile_store.used(tmp_path / "tiles"):
        found = fill(client, area(url), coded)
    assert found.made == 0
    assert found.lost == found.entries > 0


def test_a_coding_that_cannot_be_is_an_error_at_once(client, codecs, url, tmp_path):
    with tile_store.used(tmp_path / "tiles"), pytest.raises(BandMismatchError):
        fill(client, area(url), partial(compress_cube, codec="s2l2a-hyperprior"))


def test_slices_of_time_end_where_windows_of_dates_do():
    query = Query(temporal=TemporalExtent(
        start=datetime(2022, 5, 3, tzinfo=UTC), end=datetime(2022, 9, 1, tzinfo=UTC)
    ))  # fmt: skip
    for days in (1, 5, 30, 45):
        slices = list(filling_area.slices(Area(url="", query=query, days=days)))
        assert slices[0].start == query.temporal.start
        assert slices[-1].end == query.temporal.end
        assert all(a.end == b.start for a, b in pairwise(slices))
        for part in slices[:-1]:
            assert int(part.end.timestamp()) % (days * 86400) == 0
    assert list(filling_area.slices(Area(url="", query=Query()))) == [None]


def test_the_command_goes_on_after_it_was_killed(url, tmp_path):
    places = [fakes.SITE, Path(__file__).parents[1]]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)),
        "OPENEO_NC_TILES": str(tmp_path / "tiles"),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "openeo_nc.cli", "precompute", "--stac", url, "--collection",
        "scenes", "--bbox", "-1,40,9,50", "--datetime", "2022-05-01/2022-09-01", "--bands",
        ",".join(BANDS), "--codec", "fake-rgb", "--json",
    ]  # fmt: skip
    folder = tmp_path / "tiles" / "entries"
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob("*/*/*/[0-9a-f]*")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, 9)
    there = len(list(folder.glob("*/*/*/[0-9a-f]*")))
    assert there
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["there"] >= there
    assert report["there"] + report["made"] == report["entries"]
    assert len(list(folder.glob("*/*/*/[0-9a-f]*"))) == report["entries"]


def test_without_a_cluster_a_filled_store_serves_the_plain_scheduler(client, codecs, url, tmp_path):
    with tile_store.used(tmp_path / "tiles"):
        fill(client, area(url), coded)
        codecs.calls.clear()
        with dask.config.set(scheduler="synchronous"):
            payloads_of(coded(request(url))).blocks.compute()
    assert not codecs.calls["pack"]
