"""Embeddings of models of tiles read whole, and by way of the tile store computed once.

        entry is there    fetch ------------------------------------------->  entry --> vectors
        it is not         items --read with the halo--> tile --network-->

An entry holds a tile's codes, or what networks gave of its chips where neighbours are blended. Tiles
are read with their halo, so they depend on the ground alone and on no request.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize

from openeo_nc import metrics
from openeo_nc.cubes import on_error, tile_store
from openeo_nc.cubes.embed_tasks import Chips, blended, chips_of, on_lattice
from openeo_nc.cubes.embedding_codes import dequantised, quantised
from openeo_nc.cubes.scenes import scenes_of
from openeo_nc.cubes.tile_graph import TileTask, array, of_tile, per_pixel, per_tile
from openeo_nc.cubes.tile_store_entry import Entry
from openeo_nc.cubes.tile_store_graph import Entries, fetching
from openeo_nc.cubes.tile_store_key import READING, grid_document, keys_of
from openeo_nc.cubes.whole_tiles import WholeTiles
from openeo_nc.inference.placement import placed
from openeo_nc.models.registry import card_document

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.cubes.embed_tasks import Embedding, Moments, Offset
    from openeo_nc.cubes.grid import Window
    from openeo_nc.cubes.tile_store import Key, Spec
    from openeo_nc.cubes.whole_tiles import Place, Reading
    from openeo_nc.models.base import ModelCard

Array = npt.NDArray[Any]
FORM = 1
"""Version of what entries hold; another one where the same network's vectors are kept otherwise."""
_WORDS = ("title", "description", "licence", "attributions", "citation", "evaluation")
"""Fields of a card that decide nothing."""
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class _Making:
    """How an entry is made; hashable, a few bytes."""

    how: Embedding
    """How tiles become vectors."""
    topic: str | None
    """Whom to tell of a tile that has no embedding, and is no data; None is an error."""

    def made(self, key: Key | None, corner: Offset, times: Moments, xs: Sequence[Array]) -> Entry:
        """The entry of the dates of a tile, `(1, bands, y, x)` each with the halo."""
        how = self.how
        x = np.stack([_in_order(how, one[0]) for one in xs])
        chips = chips_of(how, corner, times, x, self.topic)
        if how.layout.blended:
            parts: tuple[Array | None, ...] = (chips.vectors, chips.there)
        else:
            parts = quantised(on_lattice(how, chips), how.quantiser)
        payloads = tuple(_to_bytes(part) for part in parts if part is not None)
        return Entry(key={} if key is None else key.document, payloads=payloads, notes=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """Tiles of an embedding, read whole."""

    entries: da.Array
    """`Entry` of each window of dates and tile, `(window, tile_y, tile_x)` object."""
    kept: Entries | None
    """The same with their keys, where a tile store is in use and the card names its weights."""
    wide: Window
    """The tiles: those that were asked for, and neighbours whose chips reach into them."""


def made_whole(
    cube: xr.DataArray, raster: xr.DataArray, how: Embedding, window: Window, ratio: float,
    times: Sequence[Moments],
) -> Made | None:  # fmt: skip
    """Tiles of an embedding; None if it is not known what they are read from.

    Parameters
    ----------
    cube, raster
        What was loaded, and its bands that the model takes.
    ratio
        Number of the model = number of the cube * ratio.
    times
        Moments of the dates of each vector.
    """
    scenes = scenes_of(cube)
    chosen = None if scenes is None else scenes.of(raster)
    if chosen is None or raster.dtype != np.float32:
        return None
    spec = tile_store.current() if stated(how.spec.card) else None
    wide = _widened(window, how) if how.layout.blended else window
    whole = WholeTiles.of(chosen, raster, how.grid, wide, ratio, how.layout.halo)
    if whole is None:
        return None
    windows = [tuple(range(n * how.dates, (n + 1) * how.dates)) for n in range(len(times))]
    of_windows = None
    if "time" in how.conditions:
        of_windows = [{"times": None if t is None else list(map(str, t))} for t in times]
    places = np.ndindex(len(windows), whole.window.nj, whole.window.ni)
    keys: Mapping[Place, Key | None] = dict.fromkeys(places)
    if spec is not None:
        keys = keys_of(whole, _document(whole, how), windows, of_windows)
    named = [key for key in keys.values() if key is not None]
    there = tile_store.opened(spec).present(named) if spec is not None else frozenset()
    hits = frozenset(at for at, key in keys.items() if key is not None and key.path in there)
    entries = _entries(whole, how, spec, keys, hits, windows, times)
    kept = None
    if spec is not None:
        kept = Entries(entries=entries, keys=keys, hits=hits, spec=spec)
    return Made(entries=entries, kept=kept, wide=wide)


def vectors_of(made: Made, how: Embedding, window: Window) -> da.Array:
    """The vectors of tiles that were asked for, as `embed_tiles` gives them."""
    if not how.layout.blended:
        side = how.layout.patches
        float32 = np.dtype(np.float32)
        return per_pixel("codes", _values, [made.entries], (how,), float32, how.dim, side)
    side, wide = how.layout.patches, made.wide
    top, left = (window.j0 - wide.j0) * side, (window.i0 - wide.i0) * side
    found = blended(per_tile("chips", _chips, [made.entries], ()), how)
    asked: da.Array = found[..., top : top + window.nj * side, left : left + window.ni * side]
    return asked


def _widened(window: Window, how: Embedding) -> Window:
    """The tiles whose chips reach into what was asked for."""
    tile, halo = how.layout.tile, how.layout.halo
    return how.grid.cover(
        window.i0 * tile + window.pad_left - halo,
        window.j0 * tile + window.pad_top - halo,
        window.ni * tile - window.pad_left - window.pad_right + 2 * halo,
        window.nj * tile - window.pad_top - window.pad_bottom + 2 * halo,
    )


def stated(card: ModelCard) -> bool:
    """Whether the card says which weights these are; those of a branch may be others tomorrow."""
    revision = str(card.source.get("revision", ""))
    return card.weights_sha256 is not None or _COMMIT.fullmatch(revision) is not None


def _document(whole: WholeTiles, how: Embedding) -> dict[str, Any]:
    """All that decides a tile's entry, but the tile and its items."""
    card = {name: v for name, v in card_document(how.spec.card).items() if name not in _WORDS}
    return {
        "reading": READING,
        "form": FORM,
        "kind": "chips" if how.layout.blended else "vectors",
        "card": card,
        "bands": list(how.bands),
        "ratio": repr(whole.reading.ratio),
        "quantiser": None if how.layout.blended else how.quantiser.document(),
        "grid": grid_document(whole.grid),
    }


def _entries(
    whole: WholeTiles, how: Embedding, spec: Spec | None, keys: Mapping[Place, Key | None],
    hits: frozenset[Place], windows: Sequence[tuple[int, ...]], times: Sequence[Moments],
) -> da.Array:  # fmt: skip
    """`Entry` of each window of dates and tile, `(window, tile_y, tile_x)` object."""
    read = whole.array()
    making = _Making(how=how, topic=on_error.topic())
    name = f"embedded-{tokenize(read.tiles.name, making, windows, times, spec, sorted(hits))}"
    encode, enter = placed(_embedded), placed(_entered, Entry)
    graph: dict[Any, Task] = {}
    for place, key in keys.items():
        w, row, column = place
        task, of_dates = (name, *place), [(t, row, column) for t in windows[w]]
        corner = (whole.window.j0 + row, whole.window.i0 + column)
        own = (spec if key is not None else None, key, making, corner, times[w])
        if place in hits:
            at, *_ = whole.arguments(read.items, of_dates[0])
            of_items = [whole.arguments(read.items, one)[1:] for one in of_dates]
            refs = [ref for items in of_items for ref in items]
            graph |= fetching(
                task, of_dates[0], enter, *own, whole.reading, at,
                tuple(map(len, of_items)), *refs,
            )  # fmt: skip
        else:
            refs = [TaskRef((read.tiles.name, t, 0, row, column)) for t in windows[w]]
            graph[task] = TileTask(task, of_tile, of_dates[0], encode, *own, *refs)
    counts = (len(windows), whole.window.nj, whole.window.ni)
    chunks = tuple((1,) * count for count in counts)
    return array(name, graph, [read.tiles], chunks, np.dtype(object))


# --- what the tasks do ---------------------------------------------------------------------------


def _embedded(
    spec: Spec | None, key: Key | None, making: _Making, corner: Offset, times: Moments,
    *blocks: Array,
) -> Entry:  # fmt: skip
    """An entry that was not there when the graph was built; by now another may have made it."""
    if spec is None or key is None:
        return making.made(None, corner, times, blocks)
    store = tile_store.opened(spec)
    if (there := store.get(key)) is not None:
        return _hit(there)
    metrics.CACHE_MISSES.add()
    entry = making.made(key, corner, times, blocks)
    return store.put(key, entry) if making.topic is None else entry


def _entered(
    found: Entry | None, spec: Spec, key: Key, making: _Making, corner: Offset, times: Moments,
    reading: Reading, at: tuple[float, float], counts: tuple[int, ...], *sources: Any,
) -> Entry:  # fmt: skip
    """An entry that was there; `sources` are of the items of each date, so many as `counts` says."""
    if found is not None:
        return _hit(found)
    ends = np.cumsum(counts)
    of_dates = [sources[end - count : end] for end, count in zip(ends, counts, strict=True)]
    blocks = [reading.read(at, of_date) for of_date in of_dates]
    return _embedded(spec, key, making, corner, times, *blocks)


def _hit(entry: Entry) -> Entry:
    metrics.CACHE_HITS.add()
    metrics.CACHE_BYTES_READ.add(sum(map(len, entry.payloads)))
    return entry


def _values(entry: Entry, how: Embedding) -> Array:
    values, *scale = map(_of_bytes, entry.payloads)
    return dequantised(values, scale[0] if scale else None, how.quantiser)


def _chips(entry: Entry) -> Chips:
    vectors, there = map(_of_bytes, entry.payloads)
    return Chips(vectors=vectors, there=there)


def _in_order(how: Embedding, x: Array) -> Array:
    """The card's bands of `(bands, y, x)`, NaN for those that it lacks."""
    gap = np.full(x.shape[1:], np.nan, np.float32)
    return np.stack([gap if band is None else x[band] for band in how.bands])


def _to_bytes(part: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, part, allow_pickle=False)
    return file.getvalue()


def _of_bytes(data: bytes) -> Array:
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
