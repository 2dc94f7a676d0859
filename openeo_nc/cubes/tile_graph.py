"""Layers of one Dask task a tile, none of which is ever copied into another task.

Dask fuses a task into the only task that needs its result. Arrays are optimised one collection at
a time, so a store that writes payloads and a GeoTIFF that shows the pixels decoded from them
would each get a fused copy of `encode`, and every tile would be encoded twice. `TileTask` says
that it is not to be fused; both then name one key, and one `dask.compute` runs it once.

Names are tokens of what goes in, so that compressing one cube twice is one computation. Typed
errors name the tile they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from openeo_nc.errors import OpenEONCError
from openeo_nc.inference.placement import prepare

Array = npt.NDArray[Any]
Result = TypeVar("Result")


class TileTask(Task):
    """A task that Dask's optimiser leaves whole, so that its result is computed once."""

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        """Tells `fuse_linear_task_spec` to keep this task as it is."""
        return True


def per_tile(
    label: str, function: Callable[..., object], sources: Sequence[da.Array],
    arguments: tuple[Any, ...],
) -> da.Array:  # fmt: skip
    """An object array with one cell a tile, from pixels or from other such arrays."""
    first = sources[0]
    counts = tuple(n for axis, n in enumerate(first.numblocks) if first.ndim == 3 or axis != 1)
    chunks = tuple((1,) * n for n in counts)
    return _layer(label, function, sources, arguments, chunks, np.dtype(object))


def per_pixel(
    label: str, function: Callable[..., Array], sources: Sequence[da.Array],
    arguments: tuple[Any, ...], dtype: np.dtype[Any], channels: int, side: int,
) -> da.Array:  # fmt: skip
    """An array `(t, channels, y, x)` with one tile a chunk."""
    counts = sources[0].numblocks
    dates, rows, columns = counts[0], counts[-2], counts[-1]
    chunks = ((1,) * dates, (channels,), (side,) * rows, (side,) * columns)
    return _layer(label, function, sources, arguments, chunks, dtype)


def _layer(
    label: str, function: Callable[..., object], sources: Sequence[da.Array],
    arguments: tuple[Any, ...], chunks: tuple[tuple[int, ...], ...], dtype: np.dtype[Any],
) -> da.Array:  # fmt: skip
    name = f"{label}-{tokenize(label, [s.name for s in sources], arguments, chunks, str(dtype))}"
    graph: dict[Any, Task] = {}
    for t in range(len(chunks[0])):
        for j in range(len(chunks[-2])):
            for i in range(len(chunks[-1])):
                keys = [(s.name, t, *(0,) * (s.ndim - 3), j, i) for s in sources]
                key = (name, t, *(0,) * (len(chunks) - 3), j, i)
                tile = (t, j, i)
                graph[key] = TileTask(key, of_tile, tile, function, *map(TaskRef, keys), *arguments)
    return array(name, graph, sources, chunks, dtype)


def array(
    name: str, graph: dict[Any, Task], sources: Sequence[da.Array],
    chunks: tuple[tuple[int, ...], ...], dtype: np.dtype[Any],
) -> da.Array:  # fmt: skip
    """The array of a layer; `graph` has its keys and those of layers of its own before it."""
    prepare()
    layers = HighLevelGraph.from_collections(name, graph, dependencies=list[Any](sources))
    return da.Array(layers, name, chunks, dtype=dtype)


def of_tile(
    tile: tuple[int, int, int], function: Callable[..., Result], *arguments: object
) -> Result:
    """What a function gives for a tile; its typed errors name the tile."""
    try:
        return function(*arguments)
    except OpenEONCError as error:
        date, row, column = tile
        error.message = f"Tile (date {date}, row {row}, column {column}): {error.message}"
        error.args = (error.message,)
        raise


def cell(value: object) -> Array:
    """An object in an array of one element."""
    found = np.empty((1, 1, 1), object)
    found[0, 0, 0] = value
    return found
