"""Chunks as Zarr has them and tiles as codecs do: shapes, dtypes, and no writes of parts of tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError, PartialWriteError, PayloadError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import NDBuffer
    from zarr.core.indexing import SelectorTuple


def refuse_partial(selection: SelectorTuple, extent: Sequence[int], chunk: Sequence[int]) -> None:
    """PartialWriteError unless a selection within `extent` covers whole chunks."""
    parts = selection if isinstance(selection, tuple) else (selection,)
    for part, size, side in zip(parts, extent, chunk, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            whole = step == 1 and start % side == 0 and stop % side == 0
        else:
            whole = side == 1 and isinstance(part, int | np.integer)
        if not whole:
            raise PartialWriteError(
                f"The write covers {part} of an axis coded in tiles of {side}: it would recode "
                "the tile's other pixels and damage them. Write whole tiles, of arrays padded to "
                "whole tiles."
            )


def tile_of(chunk: NDBuffer, spec: ArraySpec) -> npt.NDArray[Any]:
    """A chunk `(1, ..., bands, y, x)` as `(bands, y, x)`."""
    if math.prod(spec.shape[:-3]) != 1:
        raise InvalidParameterError(
            f"A chunk holds one tile (1, bands, y, x); the array's chunks are {spec.shape}."
        )
    return np.ascontiguousarray(chunk.as_numpy_array().reshape(spec.shape[-3:]))


def whole(value: NDBuffer, spec: ArraySpec) -> NDBuffer:
    """A value for a whole chunk in the chunk's shape and dtype; scalars are spread over it."""
    array = value.as_numpy_array()
    shaped = np.broadcast_to(array, spec.shape) if array.ndim == 0 else array.reshape(spec.shape)
    dtype = spec.dtype.to_native_dtype()
    return spec.prototype.nd_buffer.from_numpy_array(shaped.astype(dtype, copy=False))


def fitted(tile: npt.NDArray[Any], spec: ArraySpec) -> npt.NDArray[Any]:
    """A decoded tile in the chunk's shape; PayloadError if it is one of another array."""
    dtype = spec.dtype.to_native_dtype()
    if math.prod(spec.shape[:-3]) != 1 or tile.shape != spec.shape[-3:] or tile.dtype != dtype:
        raise PayloadError(
            f"The payload holds {tile.dtype} {tile.shape}, "
            f"the array's chunks are {dtype} {spec.shape}."
        )
    return tile.reshape(spec.shape)
