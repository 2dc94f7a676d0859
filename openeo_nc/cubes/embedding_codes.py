"""Turns embedding cubes into arrays of codes and back, chunk by chunk (lazy)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING, LATENT, T, in_order, labels, lazy
from openeo_nc.cubes.grid import Bounds
from openeo_nc.errors import FormatUnsuitableError, InvalidParameterError
from openeo_nc.models.quantisation import DEFAULT, Codes, Quantiser, quantiser, quantiser_of

QUANTIZATION = "nc:quantization"
"""Attribute of a cube and of stores: JSON text of the quantiser's document."""
SIDE = 256
"""Patches along a side of a stored chunk, at most."""
Array = npt.NDArray[Any]


def stated(cube: xr.DataArray) -> Quantiser | None:
    """The quantiser whose lattice a cube's values are said to be on; None if none is named."""
    text = cube.attrs.get(QUANTIZATION)
    return None if text is None else of_text(str(text))


def of_text(text: str) -> Quantiser:
    """The quantiser of a document's JSON text."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidParameterError(f"{QUANTIZATION} is no JSON: {error}.") from error
    if not isinstance(document, Mapping):
        raise InvalidParameterError(f"{QUANTIZATION} is no JSON object: {text[:80]}.")
    return quantiser_of(document)


def text_of(chosen: Quantiser) -> str:
    """The JSON text of a quantiser's document."""
    return json.dumps(chosen.document(), separators=(",", ":"), sort_keys=True)


def choose(cube: xr.DataArray, name: str | None) -> Quantiser | None:
    """The quantiser that a cube is to be saved with: the named one, else the one it states.

    Raises
    ------
    FormatUnsuitableError
        The cube is no embedding cube.
    InvalidParameterError
        There is no such quantiser, or it is one that is fitted to vectors and the cube has none.
    """
    if name is not None and EMBEDDING not in cube.dims:
        raise FormatUnsuitableError(
            f"quantization is of embedding cubes; this one has {', '.join(map(str, cube.dims))}."
        )
    if EMBEDDING not in cube.dims:
        return None
    own, dim = stated(cube), cube.sizes[EMBEDDING]
    if own is not None and own.dim != dim:  # dimensions were taken away: its basis is not theirs
        return quantiser(name or DEFAULT, dim=dim)
    if name is None or (own is not None and own.name == name):
        return own
    return quantiser(name, dim=dim, model=model_of(cube).get("id"))


def model_of(cube: xr.DataArray) -> Mapping[str, Any]:
    """What a cube's attribute `nc:model` says of its model; empty if nothing."""
    try:
        told = json.loads(str(cube.attrs.get("nc:model", "{}")))
    except ValueError:
        return {}
    return told if isinstance(told, Mapping) else {}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Which field of `nc:model` tells two models apart; None where none is known to."""
    for key in ("id", "weights_sha256"):
        if one.get(key) and other.get(key) and one[key] != other[key]:
            return key
    return None


def prepared(cube: xr.DataArray) -> xr.DataArray:
    """The cube as `(t, embedding, y, x)` float32, t added where missing, in stored chunks (lazy).

    Raises
    ------
    DimensionMissingError, FormatUnsuitableError
    """
    if cube.dtype.kind != "f" or not cube.size:
        raise FormatUnsuitableError(
            f"Embeddings are stored of float cubes; this one has {cube.size} of {cube.dtype}."
        )
    if T not in cube.dims:
        cube = cube.expand_dims(T)
    cube = lazy(in_order(cube, LATENT)).astype(np.float32)
    sides = {dim: _side(cube.chunksizes[dim]) for dim in LATENT[2:]}
    return cube.chunk({T: 1, EMBEDDING: -1, **sides})


def _side(chunks: tuple[int, ...]) -> int:
    """As many whole chunks as fit."""
    first = chunks[0]
    return min(sum(chunks), SIDE // first * first if first <= SIDE else SIDE)


def quantised(block: Array, chosen: Quantiser) -> tuple[Array, npt.NDArray[np.float32] | None]:
    """Codes `(1, columns, y, x)` of a block `(1, dim, y, x)`, and scales `(1, y, x)` if any."""
    _, dim, height, width = block.shape
    codes = chosen.quantise(block[0].reshape(dim, -1).T)
    values = np.ascontiguousarray(codes.values.T).reshape(1, -1, height, width)
    if codes.scale is None:
        return values, None
    return values, codes.scale.reshape(1, height, width)


def dequantised(values: Array, scale: Array | None, chosen: Quantiser) -> Array:
    """The block `(1, dim, y, x)` float32 of codes and scales."""
    _, columns, height, width = values.shape
    flat = None if scale is None else scale.reshape(-1)
    codes = Codes(values=values[0].reshape(columns, -1).T, scale=flat)
    vectors = chosen.dequantise(codes)
    shaped: Array = np.ascontiguousarray(vectors.T).reshape(1, chosen.dim, height, width)
    return shaped


def lazily_dequantised(values: da.Array, scale: da.Array | None, document: str) -> da.Array:
    """`(t, dim, y, x)` float32 of lazy codes `(t, columns, y, x)` and scales `(t, y, x)`."""
    chosen = of_text(document)
    values = values.rechunk({0: 1, 1: -1})
    chunks = (values.chunks[0], (chosen.dim,), *values.chunks[2:])
    arrays = [values]
    if scale is not None:
        arrays.append(scale[:, None].rechunk((values.chunks[0], 1, *values.chunks[2:])))
    vectors: da.Array = da.map_blocks(
        _of_blocks, *arrays, document=document, chunks=chunks, dtype=np.dtype(np.float32),
        meta=np.empty((0,) * 4, np.float32),
    )  # fmt: skip
    return vectors


def _of_blocks(values: Array, scale: Array | None = None, *, document: str) -> Array:
    vectors: Array = dequantised(values, None if scale is None else scale[:, 0], _known(document))
    return vectors


@lru_cache(maxsize=8)
def _known(document: str) -> Quantiser:
    return of_text(document)


def columns(chosen: Quantiser, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Name of the dimension of codes, and its labels."""
    if chosen.columns == chosen.dim and chosen.name != "rans":
        return EMBEDDING, tuple(names)
    kind = "byte" if chosen.name == "binary" else "component"
    return kind, tuple(f"{kind[0]}{i:03d}" for i in range(chosen.columns))


def names_of(cube: xr.DataArray) -> tuple[str, ...]:
    """Labels of a cube's embedding dimension."""
    return labels(cube, EMBEDDING)


def edges(x: Array, y: Array, size: tuple[float, float]) -> Bounds:
    """Outer edges of a grid of patches whose centres these are, y from north to south."""
    width, height = size
    return (
        float(x[0]) - width / 2, float(y[-1]) - height / 2,
        float(x[-1]) + width / 2, float(y[0]) + height / 2,
    )  # fmt: skip
