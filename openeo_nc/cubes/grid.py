"""The tile grid: anchored at the CRS origin, so that a tile is the same whatever was asked for.

A grid belongs to a CRS, a resolution, the origin modulo that resolution (the phase) and a tile
size. Column c of its pixels begins at `phase_x + c * res_x` and row r at `phase_y - r * res_y`
(rows are counted downwards, so they are negative north of the CRS origin). Tile (i, j) holds the
columns `i * tile ...` and the rows `j * tile ...`.

Coordinates in degrees carry rounding noise, so pixel offsets are rounded to whole pixels with a
tolerance of a hundredth of one, and the phase to 1/10000 of one: two crops of one source name the
same grid.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import T, X, Y, crs_name, crs_of, fill_value, lazy, require
from openeo_nc.errors import GridMismatchError, NoDataAvailableError

TOLERANCE = 0.01
"""Largest accepted deviation of a coordinate from the grid, in pixels."""

Bounds = tuple[float, float, float, float]
"""`(left, bottom, right, top)` in the units of the CRS."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where a cube lies on the grid: its tiles, and the pixels missing to whole ones."""

    i0: int
    """Column of the first tile."""
    j0: int
    """Row of the first tile, counted downwards."""
    ni: int
    """Number of tile columns."""
    nj: int
    """Number of tile rows."""
    pad_left: int
    """Pixels of the first tile column that are left of the cube."""
    pad_top: int
    """Pixels of the first tile row that are above the cube."""
    pad_right: int
    """Pixels of the last tile column that are right of the cube."""
    pad_bottom: int
    """Pixels of the last tile row that are below the cube."""

    @property
    def whole(self) -> bool:
        """True if the cube is whole tiles already."""
        return not (self.pad_left or self.pad_top or self.pad_right or self.pad_bottom)


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """A fixed grid of square tiles in one CRS."""

    crs: str
    """`EPSG:n`, or WKT of a CRS without a code."""
    res_x: float
    """Pixel width in CRS units, positive."""
    res_y: float
    """Pixel height in CRS units, positive."""
    phase_x: float
    """x of pixel edges modulo res_x, in [0, res_x)."""
    phase_y: float
    """y of pixel edges modulo res_y, in [0, res_y)."""
    tile: int
    """Side of a tile in pixels."""

    @classmethod
    def at(cls, crs: Any, resolution: tuple[float, float], corner: tuple[float, float],
           tile: int) -> TileGrid:  # fmt: skip
        """The grid with a pixel corner at `corner` (x, y) and pixels of `resolution` (x, y)."""
        res_x, res_y = (_rounded(abs(float(value))) for value in resolution)
        if not (res_x > 0 and res_y > 0 and math.isfinite(res_x) and math.isfinite(res_y)):
            raise GridMismatchError(f"Pixels need a size above zero; given {resolution}.")
        if tile < 1:
            raise GridMismatchError(f"A tile needs at least one pixel; given {tile}.")
        return cls(
            crs=crs_name(crs),
            res_x=res_x,
            res_y=res_y,
            phase_x=_phase(corner[0], res_x),
            phase_y=_phase(corner[1], res_y),
            tile=int(tile),
        )

    @classmethod
    def of(cls, cube: xr.DataArray, tile: int) -> TileGrid:
        """The grid that the pixels of a cube lie on.

        Raises
        ------
        DimensionMissingError, CRSMissingError, GridMismatchError
        """
        require(cube, Y, X)
        res_x, res_y = resolution_of(cube)
        left = float(cube[X].values[0]) - res_x / 2
        top = float(cube[Y].values[0]) + res_y / 2
        return cls.at(crs_of(cube), (res_x, res_y), (left, top), tile)

    @property
    def id(self) -> str:
        """Short name of the grid, the same for every crop of a source."""
        text = (
            f"{self.crs}|{self.res_x:.10g}|{self.res_y:.10g}|{self.phase_x / self.res_x:.4f}|"
            f"{self.phase_y / self.res_y:.4f}|{self.tile}"
        )
        kind = self.crs.lower().replace(":", "") if self.crs.startswith("EPSG:") else "wkt"
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def column(self, x: float) -> float:
        """Pixel column of an x, fractional."""
        return (x - self.phase_x) / self.res_x

    def row(self, y: float) -> float:
        """Pixel row of a y, fractional, counted downwards."""
        return (self.phase_y - y) / self.res_y

    def bounds(self, column: int, row: int, width: int, height: int) -> Bounds:
        """Bounds of a block of pixels."""
        return (
            self.phase_x + column * self.res_x,
            self.phase_y - (row + height) * self.res_y,
            self.phase_x + (column + width) * self.res_x,
            self.phase_y - row * self.res_y,
        )

    def tile_bounds(self, i: int, j: int) -> Bounds:
        """Bounds of tile (i, j)."""
        return self.bounds(i * self.tile, j * self.tile, self.tile, self.tile)

    def pixels(self, bounds: Bounds) -> tuple[int, int, int, int]:
        """`(column, row, width, height)` of the pixels whose centres lie in the bounds.

        This is openEO's rule for bounding boxes.

        Raises
        ------
        NoDataAvailableError
            No pixel centre lies in the bounds.
        """
        left, bottom, right, top = bounds
        column = math.ceil(self.column(left) - 0.5 - TOLERANCE)
        row = math.ceil(self.row(top) - 0.5 - TOLERANCE)
        width = math.floor(self.column(right) - 0.5 + TOLERANCE) - column + 1
        height = math.floor(self.row(bottom) - 0.5 + TOLERANCE) - row + 1
        if width < 1 or height < 1:
            raise NoDataAvailableError(
                f"The extent {bounds} holds no pixel centre of the grid "
                f"({self.res_x:g} x {self.res_y:g} in {self.crs[:60]})."
            )
        return column, row, width, height

    def snap_bounds(self, bounds: Bounds) -> Bounds:
        """Bounds of the whole pixels whose centres lie in `bounds`; see `pixels`."""
        return self.bounds(*self.pixels(bounds))

    def window(self, cube: xr.DataArray) -> Window:
        """Where a cube lies on this grid.

        Raises
        ------
        GridMismatchError
            The cube has another CRS, resolution or phase, or its coordinates are irregular.
        """
        require(cube, Y, X)
        res_x, res_y = resolution_of(cube)
        width, height = cube.sizes[X], cube.sizes[Y]
        if (name := crs_name(crs_of(cube))) != self.crs:
            raise GridMismatchError(f"The cube is in {name[:60]}, the grid in {self.crs[:60]}.")
        for given, expected, count in ((res_x, self.res_x, width), (res_y, self.res_y, height)):
            if abs(given - expected) * count > TOLERANCE * expected:
                raise GridMismatchError(
                    f"The cube's pixels are {res_x:g} x {res_y:g}, "
                    f"those of the grid {self.res_x:g} x {self.res_y:g}."
                )
        column = self._whole(self.column(float(cube[X].values[0])) - 0.5, X)
        row = self._whole(self.row(float(cube[Y].values[0])) - 0.5, Y)
        return self.cover(column, row, width, height)

    def cover(self, column: int, row: int, width: int, height: int) -> Window:
        """The tiles that cover a block of pixels."""
        i0, j0 = column // self.tile, row // self.tile
        ni = -((i0 * self.tile - column - width) // self.tile)
        nj = -((j0 * self.tile - row - height) // self.tile)
        return Window(
            i0=i0,
            j0=j0,
            ni=ni,
            nj=nj,
            pad_left=column - i0 * self.tile,
            pad_top=row - j0 * self.tile,
            pad_right=(i0 + ni) * self.tile - column - width,
            pad_bottom=(j0 + nj) * self.tile - row - height,
        )

    def _whole(self, offset: float, axis: str) -> int:
        nearest = round(offset)
        if abs(offset - nearest) > TOLERANCE:
            raise GridMismatchError(
                f"The {axis} of the cube is {abs(offset - nearest):.3f} pixels off the grid {self.id}."
            )
        return nearest


def resolution_of(cube: xr.DataArray) -> tuple[float, float]:
    """Pixel width and height of a cube in CRS units, both positive.

    Where the `GeoTransform` of spatial_ref agrees with the coordinates it is taken, since it is
    exact and serves cubes that are one pixel wide.

    Raises
    ------
    GridMismatchError
        Coordinates are missing, irregular, in the wrong direction, or a single one with no
        GeoTransform that tells the pixel size.
    """
    stated = _geotransform(cube)
    res_x = _step(cube, X, None if stated is None else stated[1])
    res_y = _step(cube, Y, None if stated is None else stated[5])
    if res_x < 0:
        raise GridMismatchError("x decreases; it must increase from west to east.")
    if res_y > 0:
        raise GridMismatchError(
            "y increases; it must decrease from north to south. Flip it with "
            "cube.isel(y=slice(None, None, -1))."
        )
    return res_x, -res_y


def centres(start: float, step: float, count: int) -> npt.NDArray[np.float64]:
    """Pixel centres from the edge `start` with a signed step."""
    return start + step * (np.arange(count, dtype=np.float64) + 0.5)


def pad_to_tiles(cube: xr.DataArray, tile: int) -> xr.DataArray:
    """The cube widened with no data to whole tiles, one chunk `(1, all bands, tile, tile)` each.

    Lazy. A cube that is whole tiles already is only rechunked. Padded pixels are NaN in float
    cubes and `dims.fill_value` in integer ones, which the result's `_FillValue` then states.

    Raises
    ------
    DimensionMissingError, CRSMissingError, GridMismatchError
    """
    window = TileGrid.of(cube, tile).window(cube)
    chunks = {dim: {T: 1, Y: tile, X: tile}.get(str(dim), -1) for dim in cube.dims}
    if window.whole:
        return lazy(cube).chunk(chunks)
    res_x, res_y = resolution_of(cube)
    fill = fill_value(cube)
    pads = {X: (window.pad_left, window.pad_right), Y: (window.pad_top, window.pad_bottom)}
    data = da.pad(
        lazy(cube).data,
        [pads.get(str(dim), (0, 0)) for dim in cube.dims],
        mode="constant",
        constant_values=cube.dtype.type(fill),
    )
    coords = {name: c for name, c in cube.coords.items() if not {X, Y} & set(c.dims)}
    coords[X] = _extended(cube, X, res_x, pads[X])
    coords[Y] = _extended(cube, Y, -res_y, pads[Y])
    attrs = dict(cube.attrs)
    if not np.issubdtype(cube.dtype, np.floating):
        attrs["_FillValue"] = int(fill)
    padded = xr.DataArray(data, dims=cube.dims, coords=coords, attrs=attrs, name=cube.name)
    return padded.chunk(chunks).rio.write_transform()  # type: ignore[no-any-return]


def _extended(cube: xr.DataArray, dim: str, step: float, pads: tuple[int, int]) -> xr.Variable:
    inner = np.asarray(cube[dim].values, np.float64)
    before = inner[0] - step * np.arange(pads[0], 0, -1)
    after = inner[-1] + step * np.arange(1, pads[1] + 1)
    return xr.Variable((dim,), np.concatenate([before, inner, after]), cube[dim].attrs)


def _step(cube: xr.DataArray, dim: str, stated: float | None) -> float:
    if dim not in cube.coords:
        raise GridMismatchError(f"The cube has no {dim} coordinates.")
    values = np.asarray(cube[dim].values, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise GridMismatchError(f"The {dim} coordinates are empty or not finite.")
    if values.size == 1:
        if stated is None:
            raise GridMismatchError(
                f"The cube is one pixel {'wide' if dim == X else 'high'}, and nothing tells how "
                f"large that is: expected two labels of {dim} or more, or a GeoTransform in "
                "spatial_ref (cube.rio.write_transform)."
            )
        return stated
    step = float(values[-1] - values[0]) / (values.size - 1)
    line = values[0] + step * np.arange(values.size)
    if step == 0 or float(np.abs(values - line).max()) > TOLERANCE * abs(step):
        raise GridMismatchError(f"The {dim} coordinates are not evenly spaced.")
    agrees = stated is not None and abs(stated - step) * values.size < TOLERANCE * abs(step)
    return stated if agrees and stated is not None else step


def _geotransform(cube: xr.DataArray) -> list[float] | None:
    text = cube.coords[cube.rio.grid_mapping].attrs.get("GeoTransform") if (
        cube.rio.grid_mapping in cube.coords
    ) else None  # fmt: skip
    if not isinstance(text, str):
        return None
    numbers = [float(part) for part in text.split()]
    return numbers if len(numbers) == 6 and numbers[2] == 0 == numbers[4] else None


def _rounded(resolution: float) -> float:
    return float(f"{resolution:.10g}")


def _phase(edge: float, resolution: float) -> float:
    fraction = round(math.fmod(edge, resolution) / resolution, 4) % 1.0
    return fraction * resolution
