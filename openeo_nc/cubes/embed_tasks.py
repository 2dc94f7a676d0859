"""The Dask tasks of embedding models: one a tile, which takes what it needs of the tiles around it.

source (t, bands, y, x) --read around, cut into chips, network--> vectors     one vector a patch
                                                             or --> chips --blend--> vectors
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize

from openeo_nc.cubes import on_error
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.tile_graph import TileTask, array, of_tile
from openeo_nc.errors import InvalidValuesError
from openeo_nc.inference.embedding import Chip, ModelSpec, get_embedder
from openeo_nc.inference.placement import placed
from openeo_nc.models.layout import Layout, there
from openeo_nc.models.quantisation import quantiser

if TYPE_CHECKING:
    from openeo_nc.cubes.grid import Window
    from openeo_nc.models.quantisation import Quantiser

Array = npt.NDArray[Any]
Moments = tuple[np.datetime64, ...] | None
Offset = tuple[int, int]
"""Rows and columns of tiles from a tile."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How tiles become vectors; hashable, a few bytes."""

    spec: ModelSpec
    """The model."""
    layout: Layout
    """Its chips."""
    bands: tuple[int | None, ...]
    """Where the source has each of the card's bands; None where it lacks it."""
    dates: int
    """Dates that a chip has."""
    quantization: str
    """Name of the quantiser that vectors are snapped to."""
    dim: int
    """Values of a vector."""
    unit_norm: bool
    """Whether vectors have length 1."""
    conditions: tuple[str, ...]
    """What the network takes besides pixels."""
    grid: TileGrid
    """Of the tiles."""

    @property
    def quantiser(self) -> Quantiser:
        """The quantiser."""
        return _quantiser(self.quantization, self.dim, self.spec.model_id)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chips:
    """What the networks gave of a tile's chips, before they are blended."""

    vectors: Array
    """`(chips, dim, given, given)` float32, NaN for chips without data."""
    there: Array
    """`(patches, patches)` bool: patches with a valid pixel."""


def embed_tiles(
    source: da.Array, how: Embedding, window: Window, times: Iterable[Moments]
) -> da.Array:
    """Vectors `(t, embedding, y, x)` float32 on the quantiser's lattice, one tile a chunk.

    Parameters
    ----------
    source
        `(t, bands, y, x)` float32 in card units, one tile a chunk; t is a multiple of `how.dates`.
    times
        Moments of the dates of each vector.
    """
    moments = tuple(times)
    places = list(np.ndindex(len(moments), *source.numblocks[2:]))
    reach = 1 if how.layout.halo else 0
    name = f"vectors-{tokenize(source.name, how, window, moments)}"
    function = placed(_blended_chips if how.layout.blended else _vectors)
    graph: dict[Any, Task] = {}
    for t, row, column in places:
        offsets = tuple(_around((row, column), source.numblocks[2:], reach))
        keys = [
            (source.name, t * how.dates + d, 0, row + down, column + right)
            for d in range(how.dates)
            for down, right in offsets
        ]
        corner = (window.j0 + row, window.i0 + column)
        key = (name, t, row, column) if how.layout.blended else (name, t, 0, row, column)
        graph[key] = TileTask(
            key, of_tile, (t, row, column), function, how, corner, moments[t], offsets,
            on_error.topic(), *map(TaskRef, keys),
        )  # fmt: skip
    if how.layout.blended:
        cells = tuple((1,) * n for n in (len(moments), *source.numblocks[2:]))
        return blended(array(name, graph, [source], cells, np.dtype(object)), how)
    return array(name, graph, [source], _chunks(source, how, len(moments)), np.dtype(np.float32))


def blended(chips: da.Array, how: Embedding) -> da.Array:
    """Vectors as `embed_tiles` gives them of `Chips` `(t, tile_y, tile_x)` object."""
    name = f"blend-{chips.name}"
    graph: dict[Any, Task] = {}
    for t, row, column in np.ndindex(*chips.numblocks):
        offsets = tuple(_around((row, column), chips.numblocks[1:], 1))
        refs = [TaskRef((chips.name, t, row + down, column + right)) for down, right in offsets]
        key = (name, t, 0, row, column)
        graph[key] = TileTask(key, of_tile, (t, row, column), _blend, how, offsets, *refs)
    chunks = _chunks(chips, how, chips.numblocks[0])
    return array(name, graph, [chips], chunks, np.dtype(np.float32))


def _chunks(source: da.Array, how: Embedding, dates: int) -> tuple[tuple[int, ...], ...]:
    rows, columns = source.numblocks[-2:]
    side = how.layout.patches
    return (1,) * dates, (how.dim,), (side,) * rows, (side,) * columns


def _around(place: tuple[int, int], counts: tuple[int, ...], reach: int) -> Iterable[Offset]:
    """Tiles that are there, as far as `reach` from one, by rows and columns from it."""
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if 0 <= place[0] + down < counts[0] and 0 <= place[1] + right < counts[1]:
                yield down, right


# --- what the tasks do ---------------------------------------------------------------------------


def _vectors(
    how: Embedding, corner: Offset, times: Moments, offsets: tuple[Offset, ...],
    topic: str | None, *blocks: Array,
) -> Array:  # fmt: skip
    x = _joined(how, offsets, blocks)
    return on_lattice(how, chips_of(how, corner, times, x, topic))


def _blended_chips(
    how: Embedding, corner: Offset, times: Moments, offsets: tuple[Offset, ...],
    topic: str | None, *blocks: Array,
) -> Chips:  # fmt: skip
    return chips_of(how, corner, times, _joined(how, offsets, blocks), topic)


def _joined(how: Embedding, offsets: tuple[Offset, ...], blocks: tuple[Array, ...]) -> Array:
    """`(dates, bands, y, x)` of a tile with its halo, from those around it."""
    parts = _parts(blocks, how.dates)
    return np.stack([_widened(how, dict(zip(offsets, part, strict=True))) for part in parts])


def _blend(how: Embedding, offsets: tuple[Offset, ...], *chips: Chips) -> Array:
    around = {at: one.vectors for at, one in zip(offsets, chips, strict=True)}
    blended = how.layout.blend(around)
    if how.unit_norm:
        with np.errstate(invalid="ignore"):
            blended = blended / np.linalg.norm(blended, axis=0)
    return _finished(how, blended, chips[offsets.index((0, 0))].there)


def chips_of(how: Embedding, corner: Offset, times: Moments, x: Array, topic: str | None) -> Chips:
    """What a network gives of a tile.

    Parameters
    ----------
    corner
        Row and column of the tile on its grid.
    x
        `(dates, bands, y, x)` of the tile with its halo, the card's bands in its units, NaN is no
        data.
    topic
        Whom to tell of what fails, which is no data then; None is an error.
    """
    layout = how.layout
    if np.isinf(x).any():
        raise InvalidValuesError("The cube has infinite values, of which a model makes nothing.")
    inner = slice(layout.halo, layout.halo + layout.tile)
    cut = layout.chips(x if how.dates > 1 else x[0])
    full = [n for n, chip in enumerate(cut) if not np.isnan(chip).all()]
    places = _places(how, corner) if "place" in how.conditions else [None] * len(cut)
    moments = times if "time" in how.conditions else None
    chips = [
        Chip(x=np.ascontiguousarray(cut[n]), times=moments, place=places[n]) for n in full
    ]  # fmt: skip
    vectors = np.full((len(cut), how.dim, layout.given, layout.given), np.nan, np.float32)
    for n, found in zip(full, _forgiving(how, chips, topic), strict=True):
        vectors[n] = found
    return Chips(vectors=vectors, there=there(x[:, :, inner, inner], layout.stride))


def _forgiving(how: Embedding, chips: list[Chip], topic: str | None) -> list[Array]:
    """Vectors of chips; what fails is no data if there is whom to tell."""
    if topic is None:
        return get_embedder(how.spec).vectors(chips)
    try:
        on_error.check()
        return get_embedder(how.spec).vectors(chips)
    except Exception as error:  # noqa: BLE001  whatever a model raises, it is told
        on_error.tell(topic, f"{on_error.this_tile()} has no embedding: {error} It is no data.")
    given = how.layout.given
    return [np.full((how.dim, given, given), np.nan, np.float32)] * len(chips)


def _widened(how: Embedding, around: dict[Offset, Array]) -> Array:
    """The card's bands `(bands, y, x)` of a tile with its halo, NaN where nothing is known."""
    tile, halo = how.layout.tile, how.layout.halo
    x = np.full((len(how.bands), tile + 2 * halo, tile + 2 * halo), np.nan, np.float32)
    for (down, right), block in around.items():
        to_y, from_y = _shared(down, tile, halo)
        to_x, from_x = _shared(right, tile, halo)
        for n, band in enumerate(how.bands):
            if band is not None:
                x[n, to_y, to_x] = block[0, band, from_y, from_x]
    return x


def _shared(offset: int, tile: int, halo: int) -> tuple[slice, slice]:
    """Where a tile's pixels lie in one with its halo, and which these are; along one axis."""
    start = halo + offset * tile
    first, last = max(start, 0), min(start + tile, tile + 2 * halo)
    return slice(first, last), slice(first - start, last - start)


def _parts(blocks: tuple[Array, ...], count: int) -> Iterable[tuple[Array, ...]]:
    size = len(blocks) // count
    return (blocks[n * size : (n + 1) * size] for n in range(count))


def on_lattice(how: Embedding, chips: Chips) -> Array:
    """`(1, dim, y, x)` of a tile whose chips do not overlap, as `embed_tiles` gives it."""
    return _finished(how, how.layout.joined(chips.vectors), chips.there)


def _finished(how: Embedding, vectors: Array, filled: Array) -> Array:
    """`(1, dim, y, x)` on the quantiser's lattice, NaN in patches without a valid pixel."""
    rows = np.where(filled, vectors, np.nan).reshape(how.dim, -1).T
    snapped = how.quantiser.snap(np.ascontiguousarray(rows, np.float32))
    return np.ascontiguousarray(snapped.T.reshape(1, *vectors.shape), np.float32)


@cache
def _quantiser(name: str, dim: int, model: str) -> Quantiser:
    return quantiser(name, dim=dim, model=model)


def _places(how: Embedding, corner: Offset) -> list[tuple[float, float] | None]:
    """Longitude and latitude of the middle of each chip of a tile."""
    from pyproj import Transformer

    layout, grid = how.layout, how.grid
    row, column = (n * layout.tile for n in corner)
    middles = [n * layout.step + layout.step / 2 for n in range(layout.count)]
    at = [
        (grid.phase_x + (column + x) * grid.res_x, grid.phase_y - (row + y) * grid.res_y)
        for y in middles
        for x in middles
    ]
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform([x for x, _ in at], [y for _, y in at])
    return list(zip(map(float, lon), map(float, lat), strict=True))
