"""Opens tables of embeddings: our GeoParquet, Clay's, Major TOM's, and others with the same columns.

    vectors    embedding, embeddings or vector      a list of numbers, with our `scale` if int8
    place      geometry (GeoParquet, WKB); else centre_lon and centre_lat
    date       datetime, date, timestamp or time

Patches that lie on a regular grid become a raster cube `(t, embedding, y, x)`: in the table's CRS,
or in the UTM zone of patches in degrees. Others become a vector cube `(geometry, embedding)`, t a
coordinate of its rows. Places and dates are read while the cube is built, vectors when it is
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import xvec  # noqa: F401  registers DataArray.xvec
from dask.delayed import delayed
from pyproj import Transformer
from rasterio.transform import Affine

from openeo_nc.cubes.dims import EMBEDDING, T, X, Y
from openeo_nc.cubes.embedding_codes import QUANTIZATION, SIDE
from openeo_nc.cubes.embedding_rows import GEOMETRY, Table, vectors_of
from openeo_nc.cubes.query import LONLAT, Query
from openeo_nc.cubes.remote_file import Source

Array = npt.NDArray[Any]
Axis = tuple[Array, npt.NDArray[np.int64], float, float]
_TOLERANCE = 0.05
"""Of a patch's side, by which its centre may be off a grid."""
_FULL = 0.2
"""Part of a grid's cells that must have a patch, at least."""
_ROWS = 4096


def open_table(source: Source, query: Query) -> xr.DataArray:
    """The raster or vector cube of a table, float32 (lazy); extents select rows.

    Raises
    ------
    AssetMissingError, FormatUnsuitableError, NoDataAvailableError
    """
    table = Table.of(source).chosen(query)
    grids = [Lattice.of(table, crs) for crs in dict.fromkeys((table.crs, _metres(table)))]
    found = [grid for grid in grids if grid is not None]
    return _raster(table, min(found, key=lambda grid: grid.off)) if found else _vector(table)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """The regular grid that patches lie on."""

    crs: str
    """Of the grid."""
    x: npt.NDArray[np.float64]
    """Centres of columns."""
    y: npt.NDArray[np.float64]
    """Centres of rows, from north to south."""
    times: npt.NDArray[np.datetime64]
    """Dates."""
    place: npt.NDArray[np.int64]
    """`(rows of the table, 3)`: index of date, row and column."""
    size: tuple[float, float]
    """Width and height of a patch."""
    off: float
    """How far the worst centre is off, in patches."""

    @classmethod
    def of(cls, table: Table, crs: str) -> Lattice | None:
        """The grid in a CRS; None if the patches are on none."""
        x, y = table.centres.T
        if crs != table.crs:
            x, y = Transformer.from_crs(table.crs, crs, always_xy=True).transform(x, y)
        width, height = table.own.get("size") or (None, None)
        columns, rows = _axis(x, width), _axis(-y, height)
        if columns is None or rows is None:
            return None
        (xs, i, size_x, off_x), (ys, j, size_y, off_y) = columns, rows
        times, t = np.unique(table.times, return_inverse=True)
        place = np.stack([t, j, i], axis=1)
        if len(np.unique(place, axis=0)) < len(place):
            return None
        if "size" not in table.own and len(place) < _FULL * len(times) * len(xs) * len(ys):
            return None
        return cls(
            crs=crs, x=xs, y=-ys, times=times, place=place, size=(size_x, size_y),
            off=max(off_x, off_y),
        )  # fmt: skip


def _axis(values: Array, size: float | None) -> Axis | None:
    """Centres along an axis, ascending, which of them values are, their distance, the largest error.

    None if the values are irregular.
    """
    known = np.unique(values)
    steps = np.diff(known)
    if size is None:
        coarse = steps[steps > 0.1 * steps.max(initial=0)]
        if not coarse.size:
            return None
        least = float(np.median(coarse[coarse < 1.5 * coarse.min()]))
        count = round((known[-1] - known[0]) / least)
        size = (known[-1] - known[0]) / max(count, 1)
    index = np.rint((values - known[0]) / size).astype(np.int64)
    off = np.abs((values - known[0]) / size - index)
    if off.max() > _TOLERANCE:
        return None
    # where projections make centres scatter by a hair, the grid goes through the middle of them
    shift = float(np.median(values - known[0] - index * size))
    centres = known[0] + shift + size * np.arange(index.max() + 1)
    return centres, index, float(size), float(off.max())


def _raster(table: Table, grid: Lattice) -> xr.DataArray:
    """The raster cube `(t, embedding, y, x)`."""
    dates = []
    for t in range(len(grid.times)):
        rows = [
            [_cell(table, grid, t, j, i) for i in range(0, len(grid.x), SIDE)]
            for j in range(0, len(grid.y), SIDE)
        ]
        dates.append(da.block(rows))
    cube = xr.DataArray(
        da.concatenate(dates),
        dims=(T, EMBEDDING, Y, X),
        coords={T: grid.times, EMBEDDING: list(table.labels), Y: grid.y, X: grid.x},
        name=EMBEDDING,
        attrs=table.attrs,
    )
    width, height = grid.size
    corner = Affine(width, 0, grid.x[0] - width / 2, 0, -height, grid.y[0] + height / 2)
    placed: xr.DataArray = cube.rio.write_crs(grid.crs).rio.write_transform(corner)
    undated = len(grid.times) == 1 and np.isnat(grid.times[0])
    return placed.isel({T: 0}, drop=True) if undated else placed


def _cell(table: Table, grid: Lattice, t: int, j: int, i: int) -> da.Array:
    """The chunk whose corner is row j and column i of a date."""
    height, width = min(SIDE, len(grid.y) - j), min(SIDE, len(grid.x) - i)
    date, row, column = grid.place.T
    inside = (date == t) & (row >= j) & (row < j + height) & (column >= i) & (column < i + width)
    shape = (1, len(table.labels), height, width)
    if not inside.any():
        empty: da.Array = da.full(shape, np.float32(np.nan), chunks=shape)
        return empty
    at = (row[inside] - j, column[inside] - i)
    fill = partial(_filled, _reader(table), table.rows[inside], at, shape)
    block: da.Array = da.from_delayed(delayed(fill, pure=False)(), shape, np.float32)
    return block


def _vector(table: Table) -> xr.DataArray:
    """The vector cube `(geometry, embedding)`."""
    read, dim = _reader(table), len(table.labels)
    parts = [table.rows[start : start + _ROWS] for start in range(0, len(table.rows), _ROWS)]
    data = da.concatenate(
        [
            da.from_delayed(
                delayed(partial(read, rows), pure=False)(), (len(rows), dim), np.float32
            )
            for rows in parts
        ]
    )
    cube = xr.DataArray(
        data,
        dims=(GEOMETRY, EMBEDDING),
        coords={
            GEOMETRY: table.shapes,
            EMBEDDING: list(table.labels),
            T: (GEOMETRY, table.times),
        },
        name=EMBEDDING,
        attrs=table.attrs,
    )
    indexed: xr.DataArray = cube.xvec.set_geom_indexes(GEOMETRY, crs=table.crs)
    return indexed


def _filled(
    read: Callable[[Array], Array], rows: Array, at: tuple[Array, Array],
    shape: tuple[int, int, int, int],
) -> npt.NDArray[np.float32]:  # fmt: skip
    values = np.full(shape, np.nan, np.float32)
    values[0, :, at[0], at[1]] = read(rows)
    return values


def _reader(table: Table) -> Callable[[Array], Array]:
    """What gives the vectors `(n, dim)` of rows, on a worker."""
    document = table.own.get(QUANTIZATION)
    return partial(vectors_of, table.source, table.vector, len(table.labels), document)


def _metres(table: Table) -> str:
    """The UTM zone of patches in degrees; of others their CRS."""
    if table.crs != LONLAT:
        return table.crs
    lon, lat = np.median(table.centres, axis=0)
    zone = min(int((lon + 180) // 6) + 1, 60)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
