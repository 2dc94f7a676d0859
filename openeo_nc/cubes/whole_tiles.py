"""Reads whole tiles of a loaded cube from its items, whatever part of them was asked for.

A tile is read from exactly those of its items that its key names: what else an item may hold that
does not lie where it says is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import DataNode, Task, TaskRef
from dask.base import tokenize
from rasterio.windows import Window as Pixels

from openeo_nc.cubes.grid import Bounds
from openeo_nc.cubes.reader import BandReader
from openeo_nc.cubes.scaling import multiply
from openeo_nc.cubes.tile_graph import array

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.cubes.grid import TileGrid, Window
    from openeo_nc.cubes.reader import Source
    from openeo_nc.cubes.scenes import Scene, Scenes

Array = npt.NDArray[Any]
Place = tuple[int, int, int]
"""Date, row and column of a tile among those of a cube."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How pixels of a tile become card numbers."""

    tile: int
    """Side of a tile in pixels."""
    bands: int
    """Bands of the cube."""
    resolutions_xy: tuple[float, float]
    """Pixel width and height."""
    ratio: float
    """Card number = cube number * ratio."""
    halo: int = 0
    """Pixels around a tile that are read with it, on each side."""

    @property
    def side(self) -> int:
        """Side in pixels of what is read of a tile."""
        return self.tile + 2 * self.halo

    def read(self, corner: tuple[float, float], sources: tuple[tuple[Source, ...], ...]) -> Array:
        """A tile `(1, bands, side, side)` float32 in card numbers, NaN where there is no data.

        Parameters
        ----------
        corner
            x and y of the top left corner of what is read.
        sources
            Bands of its items; at each pixel and band the first with a value counts.
        """
        values = np.full((1, self.bands, self.side, self.side), np.nan, np.float32)
        spec = _Spec(resolutions_xy=self.resolutions_xy, bounds=(*corner, *corner))
        window = Pixels(0, 0, self.side, self.side)
        for band, column in enumerate(zip(*sources, strict=True)):
            for source in column:
                gaps = np.isnan(values[0, band])
                if not gaps.any():
                    break
                pixels = BandReader(url=source, spec=spec).read(window)
                values[0, band] = np.where(gaps, pixels, values[0, band])
        return multiply(values, self.ratio, np.float32)


@dataclass(frozen=True, kw_only=True)
class _Spec:
    """What `BandReader` asks for: pixel size, and the corner that windows count from."""

    resolutions_xy: tuple[float, float]
    bounds: Bounds
    """`(left, any, any, top)`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeTiles:
    """The tiles of a window, as they are read from items."""

    scenes: Scenes
    """The items."""
    grid: TileGrid
    """The tiles' grid."""
    window: Window
    """The tiles."""
    reading: Reading
    """How they are read."""

    @classmethod
    def of(
        cls, scenes: Scenes, raster: xr.DataArray, grid: TileGrid, window: Window, ratio: float,
        halo: int = 0,
    ) -> WholeTiles | None:  # fmt: skip
        """The tiles of a cube `(t, bands, y, x)`; None if items around it may not all be known."""
        found = cls(
            scenes=scenes,
            grid=grid,
            window=window,
            reading=Reading(
                tile=grid.tile,
                bands=raster.shape[1],
                resolutions_xy=scenes.target.resolution,
                ratio=ratio,
                halo=halo,
            ),
        )
        return found if found._known() else None

    def _known(self) -> bool:
        target, reach = self.scenes.target, self.scenes.reach
        own, other = self.grid, target.grid
        if (own.crs, own.res_x, own.res_y) != (other.crs, other.res_x, other.res_y):
            return False
        off = [(own.phase_x - other.phase_x) / own.res_x, (own.phase_y - other.phase_y) / own.res_y]
        if any(abs(part - round(part)) > 1e-3 for part in off):
            return False
        if reach is None:
            return True
        left, bottom, right, top = self.bounds((0, 0), (self.window.nj, self.window.ni))
        slack = own.res_x / 2
        return (
            reach[0] - slack <= left
            and reach[1] - slack <= bottom
            and reach[2] + slack >= right
            and reach[3] + slack >= top
        )

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """x and y of the top left corner of a tile of the window."""
        target, tile = self.scenes.target, self.grid.tile
        res_x, res_y = target.resolution
        x = target.left + ((self.window.i0 + column) * tile - target.column) * res_x
        y = target.top - ((self.window.j0 + row) * tile - target.row) * res_y
        return x, y

    def bounds(self, first: tuple[int, int], end: tuple[int, int]) -> Bounds:
        """Bounds of what is read of the tiles from one row and column up to others."""
        halo, (res_x, res_y) = self.reading.halo, self.scenes.target.resolution
        left, top = self.corner(*first)
        right, bottom = self.corner(*end)
        return (
            left - halo * res_x, bottom - halo * res_y, right + halo * res_x, top + halo * res_y
        )  # fmt: skip

    def scenes_of(self, place: Place) -> Iterator[tuple[int, Scene]]:
        """The items that a tile is read from, and their numbers among those of the date."""
        date, row, column = place
        bounds = self.bounds((row, column), (row + 1, column + 1))
        for number, scene in enumerate(self.scenes.dates[date]):
            if scene.touches(bounds):
                yield number, scene

    def array(self) -> WholeArray:
        """The tiles, lazily."""
        token = tokenize(
            [[scene.sources for scene in date] for date in self.scenes.dates],
            self.grid, self.window, self.reading,
        )  # fmt: skip
        name, items = f"whole-{token}", f"items-{token}"
        graph: dict[Any, Any] = {
            (items, t, n): DataNode((items, t, n), scene.sources)
            for t, date in enumerate(self.scenes.dates)
            for n, scene in enumerate(date)
        }
        dates, rows, columns = len(self.scenes.dates), self.window.nj, self.window.ni
        for place in np.ndindex(dates, rows, columns):
            t, row, column = place
            key = (name, t, 0, row, column)
            of_tile = self.arguments(items, place)
            graph[key] = Task(key, read_tile, self.reading, *of_tile)
        side = self.reading.side
        chunks = ((1,) * dates, (self.reading.bands,), (side,) * rows, (side,) * columns)
        return WholeArray(items=items, tiles=array(name, graph, [], chunks, np.dtype(np.float32)))

    def arguments(self, items: str, place: Place) -> tuple[Any, ...]:
        """What `read_tile` takes of a tile, as references to nodes of the layer."""
        t, row, column = place
        refs = [TaskRef((items, t, number)) for number, _ in self.scenes_of(place)]
        left, _, _, top = self.bounds((row, column), (row + 1, column + 1))
        return (left, top), *refs


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeArray:
    """Tiles and what they are read from, in one layer of a graph."""

    items: str
    """Name of the layer's nodes with the bands of items."""
    tiles: da.Array
    """`(t, bands, y, x)` float32, one tile a chunk, with what is read around it."""


def read_tile(reading: Reading, corner: tuple[float, float], *sources: tuple[Source, ...]) -> Array:
    """The task that reads a tile."""
    return reading.read(corner, sources)
