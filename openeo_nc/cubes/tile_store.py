"""Keeps coded tiles by what they are of, so that each is encoded once, whoever asks for it.

        with tile_store.used("/data/tiles"):        or OPENEO_NC_TILES=/data/tiles, s3://bucket/tiles
            compress_cube(load_stac(...))           tiles that are there are neither read nor encoded

    entries/<coding>/<rows.columns>/<month>/<digest>     an entry, see tile_store_entry
    uses/<name>.json                                     what was read since, and when

Losing the store, or a part of it, costs time and nothing else: what cannot be had from it is
encoded, and a storage that fails is left alone for a while. Reading writes nothing; what was read
is noted in memory, and every few minutes in the store. What leaves the store, and notes of uses that
are put together, are the business of a thread of their own: no task waits for them.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import dask.config

from openeo_nc import metrics
from openeo_nc.cubes.object_store import open_object_store
from openeo_nc.cubes.places import is_url
from openeo_nc.cubes.tile_store_entry import Entry, digest_of
from openeo_nc.cubes.tile_store_eviction import ENTRIES, MANY, USES, evict, put_together
from openeo_nc.cubes.tile_store_keeper import Keeper
from openeo_nc.cubes.tile_store_shelf import Bucket, Folder, Shelf
from openeo_nc.errors import InvalidParameterError, PayloadError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

VARIABLE = "OPENEO_NC_TILES"
"""Environment variable: folder or URL of the tile store; without it there is none."""
BYTES_VARIABLE = "OPENEO_NC_TILES_BYTES"
"""Environment variable: bytes that it may hold."""
CONFIG = "openeo-nc.tiles"
"""Key of Dask's configuration that counts before the variables: a `Spec` as a mapping, or False."""
BYTES = 50 * (1 << 30)
"""Bytes that a store may hold if nobody says how many."""
FLUSH_SECONDS = 300.0
"""Time for which uses are gathered before they are noted."""
PAUSE_SECONDS = 30.0
"""Time for which a storage that failed is left alone."""
PATIENCE_SECONDS = 10.0
"""Time that object storage is asked for a tile: less than for results, since it can be encoded."""
EXIT_SECONDS = 10.0
"""Time that a process waits at its end for what it has its store do beside its tasks."""
_MOST_USES = 4096
_SLACK = 0.02
"""Share of the bytes that may be written, on average, between two looks at what is there."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Where a tile store is; what task graphs carry of it."""

    url: str
    """Folder, or URL of object storage."""
    max_bytes: int = BYTES
    """Bytes that it may hold; a few hundredths more may be there for a while."""

    @classmethod
    def at(cls, place: str | os.PathLike[str], max_bytes: int = BYTES) -> Spec:
        """The spec of a folder, which is the same for processes that work elsewhere, or of a URL."""
        url = os.fspath(place)
        if not is_url(url):
            url = str(Path(url).expanduser().absolute())
        return cls(url=url, max_bytes=max_bytes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Key:
    """What an entry is of."""

    document: Mapping[str, Any]
    """All that its bytes depend on, as JSON."""
    group: str
    """Folder of entries that are asked for together."""
    digest: str
    """Digest of the document."""

    @classmethod
    def of(cls, document: Mapping[str, Any], group: str) -> Key:
        """The key of a document."""
        return cls(document=document, group=group, digest=digest_of(document))

    @property
    def path(self) -> str:
        """Where the entry lies."""
        return f"{ENTRIES}/{self.group}/{self.digest}"


class TileStore:
    """A tile store as one process sees it. Nothing here raises because of the storage."""

    def __init__(self, spec: Spec, shelf: Shelf | None = None) -> None:
        self.spec = spec
        self.shelf = _shelf(spec.url) if shelf is None else shelf
        self._paused = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget what was read and what other threads do, as a process that was forked must."""
        self._uses: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._keeper = Keeper(f"The keeper of the tile store {self.spec.url}")

    def present(self, keys: Iterable[Key]) -> set[str]:
        """Paths of the entries that are there now, by a listing of each group."""
        groups = sorted({key.group for key in keys})

        def listed(group: str) -> list[str]:
            return [one.path for one in self.shelf.list(f"{ENTRIES}/{group}")]

        def all_listed() -> set[str]:
            with ThreadPoolExecutor(min(16, max(1, len(groups)))) as pool:
                return {path for paths in pool.map(listed, groups) for path in paths}

        return self._tried(all_listed, set())

    def get(self, key: Key) -> Entry | None:
        """The entry of a key; None if there is none, or none that can be read."""
        data = self._tried(lambda: self.shelf.get(key.path), None)
        if data is None:
            return None
        try:
            entry = Entry.from_bytes(data)
            if digest_of(entry.key) != key.digest:
                raise PayloadError("The entry is of another key.")
        except PayloadError as error:
            logger.warning("%s in %s is removed: %s", key.path, self.spec.url, error.message)
            metrics.CACHE_DAMAGED.add()
            self._tried(lambda: self.shelf.delete(key.path), None)
            return None
        self._used(key.path)
        return entry

    def put(self, key: Key, entry: Entry) -> Entry:
        """Keep an entry, and give the one that was put first: this one or another's."""
        data = entry.to_bytes()
        put = self._tried(lambda: self.shelf.put(key.path, data), None)
        if put:
            metrics.CACHE_BYTES_WRITTEN.add(len(data))
            self._bound(len(data))
        return (self.get(key) or entry) if put is False else entry

    def settled(self, seconds: float = 60.0) -> bool:
        """Wait until nothing is evicted or put together; tells whether that came within a time."""
        return self._keeper.settled(seconds)

    def close(self) -> None:
        """Note what was read, and wait a while for what is under way."""
        self.flush()
        if not self.settled(EXIT_SECONDS):
            logger.info("The tile store %s is left before it was looked through", self.spec.url)

    def flush(self) -> None:
        """Note what was read since the last time."""
        with self._lock:
            uses, self._uses = self._uses, {}
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if uses:
            data = json.dumps({"uses": uses}).encode()
            self._tried(lambda: self.shelf.put(f"{USES}/{uuid4().hex}.json", data), None)
            if random.random() < 2 / MANY:  # by chance, as in `_bound`
                self._keeper.later(self._put_together)

    def _used(self, path: str) -> None:
        with self._lock:
            _, before = self._uses.get(path, (0.0, 0))
            self._uses[path] = round(time.time(), 3), before + 1
            full = len(self._uses) >= _MOST_USES
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self.flush()

    def _bound(self, written: int) -> None:
        """Have the store looked through once in a while: by chance, so that nobody has to count."""
        if random.random() < written / max(self.spec.max_bytes * _SLACK, 1):
            self._keeper.later(self._evict)

    def _evict(self) -> None:
        found = self._tried(lambda: evict(self.shelf, self.spec.max_bytes), None)
        if found is not None:
            metrics.CACHE_EVICTIONS.add(found.entries)

    def _put_together(self) -> None:
        self._tried(lambda: put_together(self.shelf), None)

    def _tried(self, operation: Callable[[], Result], otherwise: Result) -> Result:
        """What an operation gives; if the storage fails, or did so just now, something else."""
        if time.monotonic() < self._paused:
            return otherwise
        try:
            return operation()
        except OSError as error:
            self._paused = time.monotonic() + PAUSE_SECONDS
            logger.warning(
                "The tile store %s fails and is left alone for %g s: %s",
                self.spec.url, PAUSE_SECONDS, error,
            )  # fmt: skip
            return otherwise


# --- which one --------------------------------------------------------------------------------------

_opened: dict[Spec, TileStore] = {}
_opening = threading.Lock()


def opened(spec: Spec) -> TileStore:
    """The store of a spec, opened once a process."""
    with _opening:
        if spec not in _opened:
            _opened[spec] = TileStore(spec)
            atexit.register(_opened[spec].close)
        return _opened[spec]


def _after_fork() -> None:
    """Threads do not survive a fork, locks may be taken, and uses are noted by the parent."""
    global _opening
    _opening = threading.Lock()
    for store in _opened.values():
        store.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def current() -> Spec | None:
    """The store in use: that of Dask's configuration, else of the environment; None without one.

    Raises
    ------
    InvalidParameterError
        What they say is no store.
    """
    given = dask.config.get(CONFIG, None)
    if given is None and (url := os.environ.get(VARIABLE)):
        given = {"url": url, "max_bytes": os.environ.get(BYTES_VARIABLE) or BYTES}
    if not given:
        return None
    stated: dict[str, Any] = {"url": given} if isinstance(given, str) else dict(given)
    try:
        return Spec.at(str(stated["url"]), int(stated.get("max_bytes", BYTES)))
    except (KeyError, ValueError) as error:
        raise InvalidParameterError(
            f"A tile store is a folder or URL, and a number of bytes; given {stated}."
        ) from error


@contextmanager
def used(
    store: Spec | str | os.PathLike[str] | None, max_bytes: int = BYTES
) -> Iterator[Spec | None]:
    """Within it, cubes that are built use this tile store; None is none.

    Parameters
    ----------
    store
        Folder that all workers reach under the same path, or URL of object storage.
    max_bytes
        Bytes that a folder or URL may hold; what was not read for longest leaves it.
    """
    if store is not None and not isinstance(store, Spec):
        store = Spec.at(store, max_bytes)
    with dask.config.set({CONFIG: False if store is None else asdict(store)}):
        yield store


def _shelf(url: str) -> Shelf:
    if not is_url(url) or url.startswith("file://"):
        return Folder(Path(url.removeprefix("file://")))
    return Bucket(open_object_store(url, PATIENCE_SECONDS))
