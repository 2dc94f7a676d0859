"""The tasks of tiles that a tile store may have: read from it, or encoded and put into it.

        entry is there    fetch ------------------------->  entry --> payload, errors, shift
        it is not         items --read--> tile --encode-->

What is there is looked up once, when the graph is built, so that the tiles that are there bring no
task that reads pixels. An entry that left meanwhile is made by a task behind the one that was to fetch
it, which runs where the network belongs; given an entry, it runs anywhere and passes it on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize

from openeo_nc import metrics
from openeo_nc.codecs.base import with_latents
from openeo_nc.codecs.guard import Shift
from openeo_nc.cubes import on_error, tile_store
from openeo_nc.cubes.measures import TileError, measure
from openeo_nc.cubes.tasks import forgiving_dates
from openeo_nc.cubes.tile_graph import TileTask, array, cell, of_tile, per_tile
from openeo_nc.cubes.tile_store_entry import Entry
from openeo_nc.cubes.tile_store_key import Kind, document, keys_of
from openeo_nc.cubes.whole_tiles import Reading
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.placement import OnDevice, on_device

if TYPE_CHECKING:
    from openeo_nc.cubes.coding import Coding
    from openeo_nc.cubes.tile_store import Key, Spec
    from openeo_nc.cubes.tiles import Tiles
    from openeo_nc.cubes.whole_tiles import Place
    from openeo_nc.inference.spec import CodecSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """Entries of a tile store, as a graph fetches or makes them."""

    entries: da.Array
    """`Entry` of each window of dates and tile, `(window, tile_y, tile_x)` object."""
    keys: Mapping[Place, Key | None]
    """Their keys; None where nobody knows what a tile is of."""
    hits: frozenset[Place]
    """Those that were there when the graph was built."""
    spec: Spec
    """The store."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept(Entries):
    """Tiles as a tile store has them, or will."""

    tiles: Tiles
    """The tiles, their pixels those of whole tiles."""
    blocks: da.Array
    """Payloads `(t, tile_y, tile_x)` object."""
    shifts: da.Array | None
    """The guard's `Shift` of each, where it was asked for."""
    errors: da.Array | None
    """`TileError` of each, its tile left open; None for latents."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How an entry is made; hashable, a few bytes."""

    kind: Kind
    """Whether payloads are of pixels, or of latents that compare between tiles."""
    coding: Coding
    """How tiles become payloads."""
    topic: str | None = None
    """Whom to tell of a tile that cannot be read or encoded, and is no data; None is an error."""

    @property
    def kept(self) -> bool:
        """Whether entries are kept: what could not be read is nobody else's no data."""
        return self.topic is None

    def made(self, key: Key, xs: Sequence[Array]) -> Entry:
        """The entry of dates `(bands, y, x)` of a tile, in card numbers."""
        coded = forgiving_dates(self._coded, np.stack(xs), self.coding.nodata, self.topic)
        payloads, notes = zip(*coded, strict=True)
        return Entry(key=key.document, payloads=payloads, notes=notes)

    def _coded(self, xs: Array) -> list[tuple[bytes, dict[str, Any]]]:
        """Payloads of dates `(date, bands, y, x)`, and what is known of each."""
        if self.kind == "latents":
            return [(self._latents(xs[0]), {})]
        coding = self.coding
        if coding.asked.dates is None:
            payloads = [coding.encode(xs[0])]
        else:
            payloads = coding.encode_dates(list(xs))
        notes = []
        for number, x in enumerate(xs):
            shift = None
            if coding.asked.guard != "off":
                shift = coding.shift(x, payloads[number])
                if not shift.trusted and coding.asked.flagged is not None:
                    payloads[number] = coding.encode(x, flagged=True)
            notes.append(_note(coding, x, payloads[number], shift))
        return list(zip(payloads, notes, strict=True))

    def _latents(self, x: Array) -> bytes:
        codec = with_latents(get_codec(self.coding.spec))
        quality, nodata = self.coding.asked.quality, self.coding.nodata
        return codec.pack(codec.analyse(x, quality=quality, nodata=nodata, basis="card"))


def kept_tiles(tiles: Tiles, kind: Kind, windows: Sequence[tuple[int, ...]]) -> Kept | None:
    """Tiles by way of the store in use; None without one, or if nobody knows what tiles are of.

    Parameters
    ----------
    windows
        Dates that are coded together; each date alone where none are.
    """
    spec, whole, coding = tile_store.current(), tiles.whole, tiles.coding
    if spec is None or whole is None:
        return None
    read = whole.array()
    keys = keys_of(whole, document(whole, coding, kind), windows)
    there = tile_store.opened(spec).present(key for key in keys.values() if key is not None)
    making = Making(kind=kind, coding=coding, topic=on_error.topic())
    hits = {place for place, key in keys.items() if key is not None and key.path in there}
    name = f"entry-{tokenize(read.tiles.name, making, windows, spec, sorted(hits))}"
    encode = on_device(_encoded, coding.spec)
    enter = on_device(_entered, coding.spec, Entry)
    graph: dict[Any, Task] = {}
    for place, key in keys.items():
        w, row, column = place
        dates = windows[w]
        of_dates = [(t, row, column) for t in dates]
        task = (name, *place)
        if place in hits:
            corner, *_ = whole.arguments(read.items, of_dates[0])
            of_items = [whole.arguments(read.items, one)[1:] for one in of_dates]
            refs = [ref for items in of_items for ref in items]
            graph |= fetching(
                task, of_dates[0], enter, spec, key, making, whole.reading, corner,
                tuple(map(len, of_items)), *refs,
            )  # fmt: skip
        else:
            refs = [TaskRef((read.tiles.name, t, 0, row, column)) for t in dates]
            given = spec if key is not None else None
            graph[task] = TileTask(task, of_tile, of_dates[0], encode, given, key, making, *refs)
    counts = (len(windows), whole.window.nj, whole.window.ni)
    chunks = tuple((1,) * count for count in counts)
    entries = array(name, graph, [read.tiles], chunks, np.dtype(object))
    part = partial(_part, entries, windows)
    return Kept(
        tiles=replace(tiles, padded=tiles.padded.copy(data=read.tiles)),
        blocks=part("payload", _payload),
        shifts=part("shift", _shift) if coding.asked.guard != "off" else None,
        errors=part("error", _error) if kind == "pixels" else None,
        entries=entries,
        keys=keys,
        hits=frozenset(hits),
        spec=spec,
    )


def fetching(
    task: tuple[Any, ...], tile: Place, enter: Callable[..., Entry], spec: Spec | None, key: Key | None,
    *arguments: Any,
) -> dict[Any, Task]:  # fmt: skip
    """The tasks of an entry that is there. `enter` takes what was fetched, None if that has left."""
    if not isinstance(enter, OnDevice):
        return {task: TileTask(task, of_tile, tile, _fetched, enter, spec, key, *arguments)}
    fetch = (f"fetch-{task[0]}", *task[1:])
    return {
        fetch: TileTask(fetch, of_tile, tile, _found, spec, key),
        task: TileTask(task, of_tile, tile, enter, TaskRef(fetch), spec, key, *arguments),
    }


def unpack_tiles(blocks: da.Array, spec: CodecSpec) -> da.Array:
    """`Latents` objects `(t, tile_y, tile_x)` of payloads."""
    return per_tile("unpack", _unpacked, [blocks], (spec,))


def located(place: Place, error: Array) -> TileError:
    """The error of the tile at a place of a store."""
    found: TileError = error.item()
    return TileError(
        tile=place, psnr=found.psnr, max_error=found.max_error, band_errors=found.band_errors
    )


def _part(
    entries: da.Array, windows: Sequence[tuple[int, ...]], label: str,
    taken: Callable[[Entry, int], Array],
) -> da.Array:  # fmt: skip
    """What is taken out of entries, date by date."""
    _, rows, columns = entries.numblocks
    places = {t: (w, n) for w, window in enumerate(windows) for n, t in enumerate(window)}
    name = f"{label}-{entries.name}"
    graph: dict[Any, Task] = {}
    for t, row, column in np.ndindex(len(places), rows, columns):
        w, number = places[t]
        key = (name, t, row, column)
        graph[key] = TileTask(key, taken, TaskRef((entries.name, w, row, column)), number)
    chunks = tuple((1,) * count for count in (len(places), rows, columns))
    return array(name, graph, [entries], chunks, np.dtype(object))


# --- what the tasks do ---------------------------------------------------------------------------


def _encoded(spec: Spec | None, key: Key | None, making: Making, *blocks: Array) -> Entry:
    """An entry that was not there when the graph was built; by now another may have made it."""
    if spec is None or key is None:
        return making.made(_NOBODYS, [block[0] for block in blocks])
    store = tile_store.opened(spec)
    if (there := store.get(key)) is not None:
        return _hit(there)
    metrics.CACHE_MISSES.add(len(blocks))
    entry = making.made(key, [block[0] for block in blocks])
    return store.put(key, entry) if making.kept else entry


def _found(spec: Spec, key: Key) -> Entry | None:
    """An entry that was there, unless it left or was damaged since."""
    return tile_store.opened(spec).get(key)


def _fetched(enter: Callable[..., Entry], spec: Spec, key: Key, *arguments: Any) -> Entry:
    """Both in one task, where no network runs or it may run anywhere."""
    return enter(_found(spec, key), spec, key, *arguments)


def _entered(
    found: Entry | None, spec: Spec, key: Key, making: Making, reading: Reading,
    corner: tuple[float, float], counts: tuple[int, ...], *sources: Any,
) -> Entry:  # fmt: skip
    """An entry that was there; `sources` are of the items of each date, so many as `counts` says."""
    if found is not None:
        return _hit(found)
    ends = np.cumsum(counts)
    of_dates = [sources[end - count : end] for end, count in zip(ends, counts, strict=True)]
    blocks = [reading.read(corner, of_date) for of_date in of_dates]
    return _encoded(spec, key, making, *blocks)


def _hit(entry: Entry) -> Entry:
    metrics.CACHE_HITS.add(len(entry.payloads))
    metrics.CACHE_BYTES_READ.add(sum(map(len, set(entry.payloads))))
    return entry


def _payload(entry: Entry, number: int) -> Array:
    return cell(entry.payloads[number])


def _shift(entry: Entry, number: int) -> Array:
    noted = entry.notes[number]["shift"]
    score = float("nan") if noted["score"] is None else noted["score"]
    features = {n: float("nan") if v is None else v for n, v in noted["features"].items()}
    return cell(Shift(**{**noted, "score": score, "features": features}))


def _error(entry: Entry, number: int) -> Array:
    noted = entry.notes[number]["error"]
    bands = noted["band_errors"]
    bands = None if bands is None else tuple(bands)
    return cell(TileError(tile=(0, 0, 0), **{**noted, "band_errors": bands}))


def _unpacked(block: Array, spec: CodecSpec) -> Array:
    return cell(with_latents(get_codec(spec)).unpack(block.item()))


def _note(coding: Coding, x: Array, payload: bytes, shift: Shift | None) -> dict[str, Any]:
    of_guard = None if shift is None else cell(shift)
    error = asdict(measure((0, 0, 0), coding, cell(payload), x[None], of_guard))
    del error["tile"]
    if shift is None:
        return {"error": error}
    features = {name: _finite(value) for name, value in shift.features.items()}
    noted = {**asdict(shift), "score": _finite(shift.score), "features": features}
    return {"error": error, "shift": noted}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


_NOBODYS = tile_store.Key.of({}, "")
"""Stands for the key of a tile that is not kept."""
