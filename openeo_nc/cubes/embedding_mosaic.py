"""Joins embedding cubes of one grid into one: neighbours side by side, dates in order (lazy)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING, LATENT, T, X, Y, crs_of, labels
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.errors import GridMismatchError

_TOLERANCE = 0.01
"""Of a patch, by which grids may be off each other."""


def joined(cubes: Sequence[xr.DataArray]) -> xr.DataArray:
    """One cube `(t, embedding, y, x)` that covers all; of one date the first valid vector counts.

    Raises
    ------
    GridMismatchError
        The cubes are not on one grid, have no dates, or are of other vectors.
    """
    if len(cubes) == 1:
        return cubes[0]
    first = cubes[0]
    if not all(_alike(first, cube) for cube in cubes):
        raise GridMismatchError(
            "The items hold patches of different grids, or different vectors, or no dates; load "
            "them one by one."
        )
    width, height = resolution_of(first)
    left = min(float(cube[X].values[0]) for cube in cubes)
    top = max(float(cube[Y].values[0]) for cube in cubes)
    right = max(float(cube[X].values[-1]) for cube in cubes)
    bottom = min(float(cube[Y].values[-1]) for cube in cubes)
    x = left + width * np.arange(round((right - left) / width) + 1)
    y = top - height * np.arange(round((top - bottom) / height) + 1)
    dates: dict[np.datetime64, list[xr.DataArray]] = {}
    for cube in cubes:
        wide = _spread(cube.transpose(*LATENT), x, y, (width, height))
        for i, moment in enumerate(wide[T].values):
            dates.setdefault(moment, []).append(wide.isel({T: [i]}))
    layers = [reduce(_over, dates[moment]) for moment in sorted(dates)]
    whole: xr.DataArray = xr.concat(layers, T, combine_attrs="drop_conflicts")
    placed: xr.DataArray = whole.rio.write_crs(crs_of(first)).rio.write_transform()
    return placed


def _alike(first: xr.DataArray, cube: xr.DataArray) -> bool:
    """Whether a cube is of the same vectors, on the same grid."""
    if set(cube.dims) != set(LATENT) or set(first.dims) != set(LATENT):
        return False
    if labels(cube, EMBEDDING) != labels(first, EMBEDDING) or crs_of(cube) != crs_of(first):
        return False
    size, own = resolution_of(first), resolution_of(cube)
    steps = (
        float(cube[dim].values[0] - first[dim].values[0]) / side
        for dim, side in zip((X, Y), size, strict=True)
    )
    return np.allclose(size, own) and all(abs(s - round(s)) < _TOLERANCE for s in steps)


def _spread(
    cube: xr.DataArray, x: np.ndarray, y: np.ndarray, size: tuple[float, float]
) -> xr.DataArray:
    """The cube on all columns and rows, without data where it has none."""
    column = round((float(cube[X].values[0]) - x[0]) / size[0])
    row = round((y[0] - float(cube[Y].values[0])) / size[1])
    if (len(x), len(y)) == (cube.sizes[X], cube.sizes[Y]):
        return cube.assign_coords({X: x, Y: y})
    pads = {
        X: (column, len(x) - column - cube.sizes[X]),
        Y: (row, len(y) - row - cube.sizes[Y]),
    }
    wide: xr.DataArray = cube.pad(pads, constant_values=np.nan)
    return wide.assign_coords({X: x, Y: y})


def _over(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    merged: xr.DataArray = first.where(first.notnull(), second)
    return merged
