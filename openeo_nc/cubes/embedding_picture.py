"""A picture of an embedding cube: its three principal components as red, green and blue.

One rotation and one stretch serve all dates and tiles, so that the same colour is the same kind of
place in all of them. The covariance is summed chunk by chunk; the stretch is seen in a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import BANDS, EMBEDDING, LATENT, T, in_order, lazy, require

COLOURS = ("red", "green", "blue")
"""Labels of the picture's bands."""
PERCENTILES = (2.0, 98.0)
"""Of a component, shown darkest and lightest."""
SAMPLE = 65_536
"""Vectors, at most, that percentiles are taken of."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What chunks tell of their vectors; two of them add up."""

    count: int
    """Vectors that have data."""
    total: Array
    """`(dim,)` float64: their sum."""
    products: Array
    """`(dim, dim)` float64: the sum of their outer products."""
    sample: Array
    """`(n, dim)` float32: some of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Palette:
    """How vectors become colours."""

    centre: Array
    """`(dim,)` float64: the mean vector."""
    axes: Array
    """`(dim, 3)` float64: the components of most variance, the largest first."""
    low: Array
    """`(3,)` float64: shown darkest."""
    high: Array
    """`(3,)` float64: shown lightest."""


def rgb(cube: xr.DataArray) -> xr.DataArray:
    """The picture `(t, bands, y, x)` uint8 of an embedding cube (lazy): 1 to 255, 0 is no data.

    An axis points to where its largest element is positive, so that a picture drawn twice, or of
    nearly the same vectors, has the same colours. A cube without t gives one of one date.

    Raises
    ------
    DimensionMissingError
    """
    require(cube, EMBEDDING)
    if T not in cube.dims:
        cube = cube.expand_dims(T)
    cube = lazy(in_order(cube, LATENT)).chunk({EMBEDDING: -1})
    patches = cube.size // max(cube.sizes[EMBEDDING], 1)
    palette = da.reduction(
        cube.data, partial(_moments, step=-(-patches // SAMPLE)), _palette, combine=_combined,
        axis=tuple(range(4)), concatenate=False, dtype=object, meta=np.empty((), object),
    )  # fmt: skip
    data = da.map_blocks(
        _coloured, cube.data, palette, dtype=np.dtype(np.uint8), meta=np.empty((0,) * 4, np.uint8),
        chunks=(cube.data.chunks[0], (len(COLOURS),), *cube.data.chunks[2:]),
    )  # fmt: skip
    coords = {name: c for name, c in cube.coords.items() if EMBEDDING not in c.dims}
    return xr.DataArray(
        data, dims=(T, BANDS, *LATENT[2:]), coords={**coords, BANDS: list(COLOURS)},
        attrs={"_FillValue": 0}, name="picture",
    )  # fmt: skip


def _vectors(block: Array) -> tuple[Array, Array]:
    """`(n, dim)` float64 of `(t, dim, y, x)`, and which of them have data."""
    rows = np.moveaxis(block, 1, -1).reshape(-1, block.shape[1]).astype(np.float64)
    known: Array = np.asarray(np.isfinite(rows).all(axis=1))
    return rows, known


def _moments(block: Array, axis: Any, keepdims: bool, *, step: int) -> Moments:
    rows, known = _vectors(block)
    rows = rows[known]
    return Moments(
        count=len(rows),
        total=rows.sum(axis=0),
        products=rows.T @ rows,
        sample=rows[::step].astype(np.float32),
    )


def _flat(nested: Any) -> Iterator[Moments]:
    if isinstance(nested, list):
        for one in nested:
            yield from _flat(one)
    else:
        yield nested


def _combined(nested: Any, axis: Any, keepdims: bool) -> Moments:
    parts = list(_flat(nested))
    return Moments(
        count=sum(part.count for part in parts),
        total=np.sum([part.total for part in parts], axis=0),
        products=np.sum([part.products for part in parts], axis=0),
        sample=np.concatenate([part.sample for part in parts]),
    )


def _palette(nested: Any, axis: Any, keepdims: bool) -> Palette:
    found = _combined(nested, axis, keepdims)
    count, dim = max(found.count, 1), len(found.total)
    centre = found.total / count
    _, vectors = np.linalg.eigh(found.products / count - np.outer(centre, centre))
    axes = np.zeros((dim, len(COLOURS)))
    shown = min(dim, len(COLOURS))
    axes[:, :shown] = vectors[:, ::-1][:, :shown]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes *= np.where(largest < 0, -1.0, 1.0)
    low, high = np.zeros(len(COLOURS)), np.ones(len(COLOURS))
    if len(found.sample):
        low, high = np.percentile((found.sample - centre) @ axes, PERCENTILES, axis=0)
    return Palette(centre=centre, axes=axes, low=low, high=high)


def _coloured(block: Array, palette: Any) -> Array:
    how: Palette = palette if isinstance(palette, Palette) else palette.item()
    rows, known = _vectors(block)
    flat = np.zeros((len(rows), len(COLOURS)), np.uint8)
    components = (rows[known] - how.centre) @ how.axes
    share = (components - how.low) / np.maximum(how.high - how.low, 1e-9)
    flat[known] = 1 + np.rint(np.clip(share, 0, 1) * 254)
    t, _, y, x = block.shape
    return np.ascontiguousarray(np.moveaxis(flat.reshape(t, y, x, -1), -1, 1))
