"""Rows of embedding cubes: each patch of each date with where and when it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import Transformer

from openeo_nc.cubes.conventions import SOURCE
from openeo_nc.cubes.dims import EMBEDDING, LATENT, T, X, Y, crs_name, crs_of, in_order, lazy
from openeo_nc.cubes.embedding_codes import model_of
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.query import LONLAT
from openeo_nc.search.filters import Filters
from openeo_nc.search.rows import NO_TIME, Doubles, Flags, Integers, Origin, Places, Rows

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """Where the vectors of a cube, or of a chunk of one, are."""

    x: Doubles
    """Middles of columns in the CRS."""
    y: Doubles
    """Middles of rows."""
    time: Integers
    """Of dates, as `rows.Places` has it."""
    width: float
    """Extent of a patch along x."""
    height: float
    """Extent along y."""
    origin: Origin
    """Of all."""

    @classmethod
    def of(cls, cube: xr.DataArray, source: str | None = None) -> Self:
        """Those of a cube `(t, embedding, y, x)`; CRSMissingError if it has no CRS."""
        width, height = resolution_of(cube)
        link = cube.attrs.get(SOURCE, "") if source is None else source
        return cls(
            x=cube[X].values.astype(np.float64), y=cube[Y].values.astype(np.float64),
            time=moments(cube), width=abs(width), height=abs(height),
            origin=Origin(source=str(link), model=str(model_of(cube).get("id", "")), crs=crs_name(crs_of(cube))),
        )  # fmt: skip

    def part(self, dates: slice, rows: slice, columns: slice) -> Patches:
        """Those of a chunk."""
        return replace(self, time=self.time[dates], y=self.y[rows], x=self.x[columns])

    def lonlat(self) -> tuple[Doubles, Doubles]:
        """Longitudes and latitudes of the middles, each `(y, x)`."""
        x, y = np.meshgrid(self.x, self.y)
        lon, lat = Transformer.from_crs(self.origin.crs, LONLAT, always_xy=True).transform(x, y)
        return np.asarray(lon, np.float64), np.asarray(lat, np.float64)

    def kept(self, filters: Filters) -> Flags:
        """Which patches `(t, y, x)` the filters keep."""
        lon, lat = self.lonlat()
        inside = filters.inside(lon.ravel(), lat.ravel()).reshape(lon.shape)
        return filters.during(self.time)[:, None, None] & inside

    def rows(self, block: Array, keep: Flags | None = None) -> Rows:
        """The rows of the vectors `(t, embedding, y, x)` that are data, and are kept."""
        vectors = np.moveaxis(block, 1, -1)
        valid = np.isfinite(vectors).all(axis=-1)
        date, row, column = np.nonzero(valid if keep is None else valid & keep)
        lon, lat = self.lonlat()
        n = len(date)
        places = Places(
            lon=lon[row, column], lat=lat[row, column], x=self.x[column], y=self.y[row],
            width=np.full(n, self.width), height=np.full(n, self.height),
            time=self.time[date], origin=np.zeros(n, np.int64),
        )  # fmt: skip
        chosen = np.asarray(vectors[date, row, column], np.float32)
        return Rows(vectors=chosen, places=places, origins=(self.origin,))


def searchable(cube: xr.DataArray) -> xr.DataArray:
    """The cube as `(t, embedding, y, x)` in chunks that hold whole vectors (lazy).

    Raises
    ------
    DimensionMissingError
    """
    if T not in cube.dims:
        cube = cube.expand_dims(T)
    return lazy(in_order(cube, LATENT)).chunk({EMBEDDING: -1})


def chunks(cube: xr.DataArray) -> Iterator[tuple[tuple[int, ...], tuple[slice, slice, slice]]]:
    """Index of each chunk of a searchable cube, and its dates, rows and columns."""
    bounds = [np.cumsum((0, *cube.chunksizes[dim])) for dim in (T, Y, X)]
    for date, row, column in np.ndindex(*(len(b) - 1 for b in bounds)):
        places = zip(bounds, (date, row, column), strict=True)
        dates, rows, columns = (slice(int(b[i]), int(b[i + 1])) for b, i in places)
        yield (date, 0, row, column), (dates, rows, columns)


def rows_of(cube: xr.DataArray, source: str | None = None) -> Iterator[Rows]:
    """The rows of a cube, computed chunk by chunk.

    Parameters
    ----------
    source
        Address of the item that it is from; default is what its attributes say.

    Raises
    ------
    DimensionMissingError, CRSMissingError
    """
    laid = searchable(cube)
    patches = Patches.of(laid, source)
    for index, places in chunks(laid):
        yield patches.part(*places).rows(laid.data.blocks[index].compute())


def moments(cube: xr.DataArray) -> Integers:
    """Of each date, microseconds since 1970-01-01; `NO_TIME` without such labels."""
    if T not in cube.coords or not np.issubdtype(cube[T].dtype, np.datetime64):
        return np.full(cube.sizes[T], NO_TIME, np.int64)
    return cube[T].values.astype("datetime64[us]").astype(np.int64)
