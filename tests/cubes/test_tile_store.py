"""The tile store by itself: entries, shelves, what is evicted, and storage that fails."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask
import pytest
from obstore.store import MemoryStore

from openeo_nc import metrics
from openeo_nc.cubes import tile_store, tile_store_eviction
from openeo_nc.cubes.tile_store import Key, Spec, TileStore
from openeo_nc.cubes.tile_store_entry import Entry
from openeo_nc.cubes.tile_store_shelf import Bucket, Folder
from openeo_nc.errors import InvalidParameterError, PayloadError

BODY = b"\x89NC" + bytes(range(200))


def key(number, group="g/0.0/2022-06"):
    return Key.of({"number": number}, group)


def entry(number, *payloads):
    payloads = payloads or (BODY + str(number).encode(),)
    return Entry(key=key(number).document, payloads=payloads, notes=tuple({} for _ in payloads))


@pytest.fixture(params=["folder", "bucket"])
def shelf(request, tmp_path):
    return Folder(tmp_path / "tiles") if request.param == "folder" else Bucket(MemoryStore())


@pytest.fixture
def store(shelf):
    return TileStore(Spec(url="nowhere"), shelf)


# --- entries -------------------------------------------------------------------------------------


def test_an_entry_comes_back():
    from openeo_nc.codecs import bitstream

    body = bitstream.MAGIC + BODY
    given = Entry(
        key={"a": [1, None, "é"]},
        payloads=(body, b"\0\0" + body, BODY),
        notes=({"error": {"psnr": 41.5}}, {}, {"shift": None}),
    )
    data = given.to_bytes()
    back = Entry.from_bytes(data)
    assert (back.key, back.payloads, back.notes) == (given.key, given.payloads, given.notes)
    assert len(data) < 2 * len(body) + len(BODY) + 200  # dates of one group share their bytes


def test_any_changed_bit_and_any_cut_is_seen():
    data = entry(1).to_bytes()
    for place in range(len(data)):
        with pytest.raises(PayloadError):
            Entry.from_bytes(data[:place])
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(PayloadError):
            Entry.from_bytes(bytes(changed))


# --- shelves -------------------------------------------------------------------------------------


def test_the_first_that_is_put_counts(shelf):
    assert shelf.get("a/b") is None
    assert shelf.put("a/b", b"first") is True
    assert shelf.put("a/b", b"second") is False
    assert shelf.get("a/b") == b"first"
    shelf.put("ab/c", b"x")
    assert [(one.path, one.bytes) for one in shelf.list("a")] == [("a/b", 5)]
    assert sorted(one.path for one in shelf.list()) == ["a/b", "ab/c"]
    assert abs(next(iter(shelf.list("a"))).modified - time.time()) < 60
    shelf.delete("a/b")
    shelf.delete("a/b")
    assert shelf.get("a/b") is None
    assert list(shelf.list("a")) == []
    assert list(shelf.list("nothing/here")) == []


def test_of_many_that_put_at_once_one_is_first(shelf):
    everyone = threading.Barrier(8)

    def put(number):
        everyone.wait()
        return shelf.put("a/b", b"%d" % number * 5000)

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(put, range(8)))
    assert sum(first) == 1
    assert shelf.get("a/b") == b"%d" % first.index(True) * 5000


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads
def test_a_writer_that_ends_between_any_two_lines_leaves_all_or_nothing(tmp_path):
    lines, data = 0, bytes(5000)
    while True:
        folder = Folder(tmp_path / str(lines))
        ended = _put_until_line(folder, data, lines)
        assert folder.get("a/b") in (None, data)
        assert all(one.bytes == len(data) for one in folder.list())
        folder.put("a/b", data)
        assert folder.get("a/b") == data
        if not ended:
            break
        lines += 1
    assert lines >= 8


def _put_until_line(folder, data, last):
    """Put in another process, which is killed at a line; tells whether it came to that."""
    child = os.fork()
    if child == 0:
        count = 0

        def trace(frame, event, _argument):
            nonlocal count
            if not frame.f_code.co_filename.endswith("tile_store_shelf.py"):
                return None
            if event == "line":
                if count == last:
                    os._exit(9)  # neither handlers nor buffers see it
                count += 1
            return trace

        sys.settrace(trace)
        folder.put("a/b", data)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_parts_of_writers_that_were_killed_are_forgotten(tmp_path):
    folder = Folder(tmp_path)
    folder.put("a/b", b"x")
    for name, age in ((".old.part", 7200), (".new.part", 5)):
        (tmp_path / "a" / name).write_bytes(b"half")
        os.utime(tmp_path / "a" / name, (time.time() - age,) * 2)
    assert [one.path for one in folder.list()] == ["a/b"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".new.part", "b"]


def test_a_file_system_without_links_keeps_whole_entries(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    folder = Folder(tmp_path)
    assert folder.put("a/b", b"first") is True
    assert folder.put("a/b", b"second") is False
    assert folder.get("a/b") == b"first"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


# --- the store -----------------------------------------------------------------------------------


def test_what_is_put_is_there_by_its_group(store):
    keys = [key(n, f"g/{n % 2}.0/2022-06") for n in range(6)]
    for number in range(4):
        store.put(keys[number], entry(number))
    assert store.present(keys) == {one.path for one in keys[:4]}
    assert store.get(keys[2]).payloads == entry(2).payloads
    assert store.get(keys[5]) is None


def test_a_second_writer_is_given_the_first_ones_bytes(store):
    assert store.put(key(1), entry(1, b"first")).payloads == (b"first",)
    assert store.put(key(1), entry(1, b"other")).payloads == (b"first",)


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "another"])
def test_a_damaged_entry_is_found_removed_and_put_again(store, shelf, damage, caplog):
    store.put(key(1), entry(1))
    data = shelf.get(key(1).path)
    changed = {
        "bit": data[:60] + bytes([data[60] ^ 4]) + data[61:],
        "cut": data[:-9],
        "empty": b"",
        "another": entry(2).to_bytes(),
    }[damage]
    shelf.delete(key(1).path)
    shelf.put(key(1).path, changed)
    assert [one.path for one in tile_store_eviction.damaged(shelf)] == [key(1).path]
    found = metrics.CACHE_DAMAGED.value()
    with caplog.at_level(logging.WARNING):
        assert store.get(key(1)) is None
    assert metrics.CACHE_DAMAGED.value() == found + 1
    assert "is removed" in caplog.text
    assert shelf.get(key(1).path) is None
    store.put(key(1), entry(1))
    assert store.get(key(1)).payloads == entry(1).payloads
    assert list(tile_store_eviction.damaged(shelf)) == []


# --- eviction ------------------------------------------------------------------------------------


def _filled(store, shelf, count=10):
    """Entries put one after the other."""
    for number in range(count):
        store.put(key(number), entry(number))
        if isinstance(shelf, Folder):
            os.utime(shelf.root / key(number).path, (1e9 + number,) * 2)
        else:
            time.sleep(0.002)
    return len(entry(0).to_bytes())


def test_those_not_read_for_longest_leave(store, shelf):
    size = _filled(store, shelf)
    for number in (0, 3):
        store.get(key(number))
        store.get(key(number))
    store.flush()
    assert [one.hits for one in tile_store_eviction.held(shelf)] == [0] * 8 + [2, 2]
    assert tile_store_eviction.evict(shelf, 100 * size).entries == 0
    freed = tile_store_eviction.evict(shelf, 5 * size)
    assert (freed.entries, freed.bytes) == (6, 6 * size)
    left = {one.path for one in tile_store_eviction.held(shelf)}
    assert left == {key(n).path for n in (0, 3, 8, 9)}


def test_reading_writes_nothing_until_uses_are_noted(store, shelf):
    _filled(store, shelf, 3)
    before = {one.path for one in shelf.list()}
    for _ in range(50):
        store.get(key(1))
    assert {one.path for one in shelf.list()} == before
    store.flush()
    store.flush()
    (note,) = {one.path for one in shelf.list()} - before
    assert json.loads(shelf.get(note))["uses"][key(1).path][1] == 50


def test_notes_of_many_processes_become_one(store, shelf, monkeypatch):
    # no thread puts notes together meanwhile: what it does would count twice for a moment
    monkeypatch.setattr(tile_store, "random", SimpleNamespace(random=lambda: 1.0))
    _filled(store, shelf, 2)
    for _ in range(70):
        store.get(key(0))
        store.flush()
    shelf.put("uses/damaged.json", b"{half")
    assert {one.path: one.hits for one in tile_store_eviction.held(shelf)}[key(0).path] == 70
    assert len(list(shelf.list("uses"))) == 1
    assert {one.path: one.hits for one in tile_store_eviction.held(shelf)}[key(0).path] == 70


def test_notes_of_a_store_that_is_only_read_stay_few(store, shelf):
    """Nothing is put, so nobody looks through it."""
    _filled(store, shelf, 2)
    random.seed(1)
    for _ in range(600):
        store.get(key(0))
        store.flush()
        assert store.settled()
        assert len(list(shelf.list("uses"))) < 400
    assert len(list(shelf.list("uses"))) < 200
    assert {one.path: one.hits for one in tile_store_eviction.held(shelf)}[key(0).path] == 600


def test_two_that_put_notes_together_at_once_count_no_use_twice(store, shelf):
    _filled(store, shelf, 1)
    for _ in range(70):
        store.get(key(0))
        store.flush()
    store.settled()
    both = threading.Barrier(2)

    def together(_):
        both.wait(20)
        tile_store_eviction.put_together(shelf)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(together, range(2)))
    assert [one.hits for one in tile_store_eviction.held(shelf)] == [70]


def test_a_store_stays_near_its_bytes_however_many_processes_write(shelf):
    size = len(entry(100).to_bytes())
    for number in range(100, 400):  # each a process of its own, as results of requests are
        one = TileStore(Spec(url="nowhere", max_bytes=40 * size), shelf)
        one.put(key(number), entry(number))
        one.close()
    assert len(tile_store_eviction.held(shelf)) <= 46


class Held:
    """A shelf that lists nothing until it may; notes who deletes how many at once."""

    def __init__(self, shelf):
        self.shelf, self.may, self.lists, self.deleted = shelf, threading.Event(), 0, []
        self.get, self.put = shelf.get, shelf.put

    def list(self, prefix=""):
        self.lists += prefix == "uses"
        assert self.may.wait(20)
        return self.shelf.list(prefix)

    def delete(self, *paths):
        self.deleted.append((threading.current_thread(), len(paths)))
        self.shelf.delete(*paths)


def test_no_task_waits_for_an_eviction_and_one_is_under_way_at_a_time(shelf):
    size, held = len(entry(0).to_bytes()), Held(shelf)
    store = TileStore(Spec(url="nowhere", max_bytes=5 * size), held)
    for number in range(40):  # each of them wants the store looked through
        store.put(key(number), entry(number))
        assert store.get(key(number)) is not None
    assert not store.settled(0.05)
    assert held.lists == 1
    held.may.set()
    assert store.settled()
    assert held.lists <= 2  # perhaps once more, for what was put meanwhile
    assert len(list(shelf.list("entries"))) <= 5
    assert threading.current_thread() not in [thread for thread, _ in held.deleted]
    assert [count for _, count in held.deleted] == [36]  # in one request


def test_of_entries_that_are_deleted_some_may_be_gone(shelf):
    for name in "abc":
        shelf.put(f"a/{name}", b"x")
    shelf.delete("a/a", "a/nothing", "a/b")
    assert [one.path for one in shelf.list()] == ["a/c"]
    shelf.delete()


def test_a_keeper_goes_on_after_what_fails(store, shelf, monkeypatch, caplog):
    def failing(*_):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(store, "spec", Spec(url="nowhere", max_bytes=1))
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(tile_store, "evict", failing)
        store.put(key(1), entry(1))
        assert store.settled()
    assert "a fault of ours" in caplog.text
    store.put(key(2), entry(2))
    assert store.settled()
    assert not list(shelf.list("entries"))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads
def test_a_forked_process_notes_its_own_uses_only(tmp_path):
    store = tile_store.opened(Spec(url=str(tmp_path)))
    store.put(key(1), entry(1))
    store.get(key(1))
    child = os.fork()
    if child == 0:
        store.get(key(1))
        store.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [one.hits for one in tile_store_eviction.held(store.shelf)] == [1]
    store.flush()
    assert [one.hits for one in tile_store_eviction.held(store.shelf)] == [2]


def test_eviction_during_reads_gives_whole_entries_or_none(store, shelf):
    stop = threading.Event()

    def evicting():
        while not stop.is_set():
            tile_store_eviction.evict(shelf, 0)

    thread = threading.Thread(target=evicting)
    thread.start()
    found = 0
    try:
        for number in range(300):
            store.put(key(number % 7), entry(number % 7))
            got = store.get(key(number % 7))
            found += got is not None
            assert got is None or got.payloads == entry(number % 7).payloads
    finally:
        stop.set()
        thread.join()


# --- storage that fails --------------------------------------------------------------------------


class Broken:
    """A shelf that fails, perhaps after a while."""

    def __init__(self, seconds=0.0):
        self.seconds, self.asked = seconds, 0

    def _fail(self, *_):
        self.asked += 1
        time.sleep(self.seconds)
        raise OSError("the storage is on fire")

    get = put = list = delete = _fail


def test_a_storage_that_fails_is_left_alone_for_a_while(monkeypatch, caplog):
    shelf = Broken()
    store = TileStore(Spec(url="s3://there"), shelf)
    with caplog.at_level(logging.WARNING):
        assert store.present([key(1)]) == set()
        for number in range(20):
            assert store.get(key(number)) is None
            assert store.put(key(number), entry(number)).payloads == entry(number).payloads
        store.flush()
    assert shelf.asked == 1
    assert caplog.text.count("left alone") == 1
    monkeypatch.setattr(tile_store, "PAUSE_SECONDS", 0.0)
    store._paused = 0.0
    store.get(key(1))
    store.get(key(1))
    assert shelf.asked == 3


def test_an_endpoint_that_nobody_answers_at_costs_no_more_than_time(monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    store = TileStore(Spec(url="s3://tiles/of-tests"))
    began = time.monotonic()
    assert store.present([key(1)]) == set()
    assert store.get(key(1)) is None
    assert store.put(key(1), entry(1)).payloads == entry(1).payloads
    assert time.monotonic() - began < 20


# --- which store ---------------------------------------------------------------------------------


def test_a_store_is_named_by_a_context_or_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(tile_store.VARIABLE, raising=False)
    assert tile_store.current() is None
    monkeypatch.setenv(tile_store.VARIABLE, "s3://bucket/tiles")
    monkeypatch.setenv(tile_store.BYTES_VARIABLE, "1000")
    assert tile_store.current() == Spec(url="s3://bucket/tiles", max_bytes=1000)
    with tile_store.used(tmp_path, 7):
        assert tile_store.current() == Spec(url=str(tmp_path), max_bytes=7)
        with tile_store.used(None):
            assert tile_store.current() is None
    with dask.config.set({tile_store.CONFIG: "/data/tiles"}):
        assert tile_store.current() == Spec(url="/data/tiles")
    wrong = {"max_bytes": "many", "url": "x"}
    with (
        dask.config.set({tile_store.CONFIG: wrong}),
        pytest.raises(InvalidParameterError, match="number of bytes"),
    ):
        tile_store.current()
    with pytest.raises(InvalidParameterError, match="no object storage"):
        TileStore(Spec(url="gopher://old"))


def test_a_process_opens_a_store_once(tmp_path):
    spec = Spec(url=str(tmp_path))
    assert tile_store.opened(spec) is tile_store.opened(Spec(url=str(tmp_path)))
