"""Cuts a cube into full-width strips of a date, written one after the other into one file.

Each write waits for the one before, so a file has one writer at a time on any cluster whose
workers share the folder, without a lock, and only a strip is in memory. A worker that dies makes
the scheduler run the chain again from where the file began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, crs_of, in_order, lazy, require
from openeo_nc.cubes.task_layer import TaskLayer, block, optimised
from openeo_nc.errors import DimensionMissingError, FormatUnsuitableError, NoDataAvailableError

if TYPE_CHECKING:
    import xarray as xr
    from dask._task_spec import TaskRef

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """Some rows of one date, all bands and columns."""

    row: int
    """First row."""
    blocks: tuple[TaskRef, ...]
    """Its blocks from west to east, each `(1, bands, rows, columns)`."""


def prepared(cube: xr.DataArray, form: str) -> tuple[xr.DataArray, str]:
    """The cube as `(t, labels, y, x)`, t and labels added where missing, and the labels' name.

    Raises
    ------
    DimensionMissingError, CRSMissingError
        The cube has no x, y or CRS.
    NoDataAvailableError
        The cube is empty.
    FormatUnsuitableError
        It has further dimensions or a dtype that is no number.
    """
    require(cube, Y, X)
    crs_of(cube)
    if cube.dtype.kind not in "biuf":
        raise FormatUnsuitableError(f"{form} holds numbers; the cube is of dtype {cube.dtype}.")
    name = EMBEDDING if EMBEDDING in cube.dims else BANDS
    if empty := [str(dim) for dim, size in cube.sizes.items() if size == 0]:
        raise NoDataAvailableError(f"The cube is empty: {', '.join(empty)} has no labels.")
    for dim in (T, name):
        if dim not in cube.dims:
            cube = cube.expand_dims(dim)
    try:
        return lazy(in_order(cube, (T, name, Y, X))).chunk({T: 1, name: -1}), name
    except DimensionMissingError as error:
        raise FormatUnsuitableError(f"{form} cannot hold the cube. {error}") from error


def strips(cube: xr.DataArray) -> tuple[TaskLayer, list[list[Strip]]]:
    """The strips of each date of a prepared cube, from north to south, and a layer for their tasks."""
    data = optimised(cube.data)  # here, as nobody else does
    rows = np.cumsum([0, *data.chunks[2][:-1]])
    dates, _, _, columns = data.numblocks
    cut = [
        [
            Strip(row=int(row), blocks=tuple(block(data, date, 0, j, i) for i in range(columns)))
            for j, row in enumerate(rows)
        ]
        for date in range(dates)
    ]
    return TaskLayer([data]), cut


def joined(blocks: Sequence[Array]) -> Array:
    """`(bands, rows, columns)` of a strip's blocks."""
    return np.concatenate([block[0] for block in blocks], axis=-1)
