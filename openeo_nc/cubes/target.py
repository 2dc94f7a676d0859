"""Decides the pixels of a cube from what STAC says of its assets: CRS, size, phase, extent.

The rules, in order:

- CRS: the one asked for, else that of the items. Items of several (two UTM zones) are refused
  unless one is asked for; then the others are resampled to it.
- Pixel size: the one asked for, else the finest of the bands asked for.
- Phase: that of the items' finest bands, so that their pixels are not moved. Items of several
  phases are refused unless a CRS or a pixel size is asked for; then the phase is 0.
- Extent: the pixels whose centre is in the extent asked for, else all that the items cover.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes.assets import Asset
from openeo_nc.cubes.grid import TOLERANCE, Bounds, TileGrid, centres
from openeo_nc.cubes.query import LONLAT, SpatialExtent, reproject_bounds
from openeo_nc.errors import GridMismatchError, InvalidParameterError

MAX_PIXELS = 1 << 37
"""Pixels of one date beyond which an extent is a mistake; a million tiles of 384."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The pixels of a cube."""

    grid: TileGrid
    """The fixed grid they are on."""
    column: int
    """Column of the first pixel on the grid."""
    row: int
    """Row of the first pixel on the grid."""
    left: float
    """x of the left edge; the items' own, free of the rounding of the grid's phase."""
    top: float
    """y of the top edge."""
    resolution: tuple[float, float]
    """Pixel width and height, as the items state them."""
    width: int
    """Pixels from west to east."""
    height: int
    """Pixels from north to south."""

    @property
    def bounds(self) -> Bounds:
        """`(left, bottom, right, top)`."""
        res_x, res_y = self.resolution
        return (
            self.left,
            self.top - self.height * res_y,
            self.left + self.width * res_x,
            self.top,
        )

    @property
    def x(self) -> npt.NDArray[np.float64]:
        """Pixel centres."""
        return centres(self.left, self.resolution[0], self.width)

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Pixel centres."""
        return centres(self.top, -self.resolution[1], self.height)

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of chunks in y and x that end where tiles of the grid end."""
        tile = self.grid.tile
        return _cuts(self.row, self.height, tile), _cuts(self.column, self.width, tile)


def choose(
    items: Sequence[Sequence[Asset]],
    spatial: SpatialExtent | None,
    *,
    crs: str | None,
    resolution: tuple[float, float] | None,
    tile: int,
) -> Target:
    """The pixels of a cube of these items (each the assets of its bands).

    Raises
    ------
    GridMismatchError
        The items have several CRS or phases, or do not say theirs, and no argument decides.
    NoDataAvailableError
        The extent holds no pixel.
    InvalidParameterError
        The extent holds more pixels than any cube could have.
    """
    chosen = crs or _common_crs(items)
    finest = [min(bands, key=lambda asset: asset.resolution) for bands in items]
    native = [a.transform for a in finest if a.crs == chosen and a.transform is not None]
    size = resolution or _finest_size(native, chosen)
    corner = _common_corner(native, size, own=resolution is None, strict=crs is None)
    grid = TileGrid.at(chosen, size, corner, tile)
    if spatial is None:
        boxes = [bounds_in(asset, chosen) for bands in items for asset in bands]
        bounds = _union([box for box in boxes if box is not None])
    else:
        bounds = spatial.bounds_in(chosen)
    column, row, width, height = grid.pixels(bounds)
    if width * height > MAX_PIXELS:
        raise InvalidParameterError(
            f"The extent has {width} x {height} pixels of {size[0]:g} x {size[1]:g} in "
            f"{chosen[:60]}; give a smaller spatial_extent or a larger resolution."
        )
    return Target(
        grid=grid,
        column=column,
        row=row,
        left=corner[0] + (column - round(grid.column(corner[0]))) * size[0],
        top=corner[1] - (row - round(grid.row(corner[1]))) * size[1],
        resolution=size,
        width=width,
        height=height,
    )


def bounds_in(asset: Asset, crs: str) -> Bounds | None:
    """Bounds of an asset in another CRS; None if its metadata do not say."""
    if asset.bounds is None or asset.crs is None:
        return None
    return reproject_bounds(asset.bounds, asset.crs, crs)


def _common_crs(items: Sequence[Sequence[Asset]]) -> str:
    counts: dict[str | None, int] = {}
    for bands in items:
        for crs in {asset.crs for asset in bands}:
            counts[crs] = counts.get(crs, 0) + 1
    if None in counts:
        silent = next(a for bands in items for a in bands if a.crs is None)
        raise GridMismatchError(
            f"The item '{silent.item}' does not say its CRS (proj:code). Give crs and resolution."
        )
    if len(counts) > 1:
        listed = ", ".join(f"{crs} ({n} items)" for crs, n in counts.items())
        raise GridMismatchError(
            f"The items are in several CRS: {listed}. Give crs to resample all to one, or choose "
            "items with a filter on the property proj:code or with spatial_extent."
        )
    return str(next(iter(counts)))


def _finest_size(
    native: Sequence[tuple[float, float, float, float]], crs: str
) -> tuple[float, float]:
    if not native:
        raise GridMismatchError(
            f"No item states pixels in {crs[:60]} (proj:transform), so resolution must be given."
        )
    _left, res_x, _top, res_y = min(native, key=lambda place: place[1])
    return res_x, res_y


def _common_corner(
    native: Sequence[tuple[float, float, float, float]],
    size: tuple[float, float],
    *,
    own: bool,
    strict: bool,
) -> tuple[float, float]:
    """A pixel corner that the items share modulo `size`; the CRS origin if they share none."""
    if own:
        native = [p for p in native if abs(p[1] / size[0] - 1) < TOLERANCE]
    corners = [(left, top) for left, _res_x, top, _res_y in native]
    if not corners:
        return 0.0, 0.0
    first = corners[0]
    for corner in corners[1:]:
        steps = [(c - f) / s for c, f, s in zip(corner, first, size, strict=True)]
        if all(abs(step - round(step)) <= TOLERANCE for step in steps):
            continue
        if own and strict:
            off = max(abs(step - round(step)) for step in steps)
            raise GridMismatchError(
                f"The items' pixels are up to {off:.2f} pixels off each other's grid. Give "
                "resolution or crs to resample all to the grid of the CRS origin."
            )
        return 0.0, 0.0
    return first


def _union(boxes: Sequence[Bounds]) -> Bounds:
    if not boxes:
        raise GridMismatchError(
            f"The items do not say which pixels they cover; give spatial_extent (in {LONLAT} "
            "or with crs)."
        )
    lows, highs = [b[:2] for b in boxes], [b[2:] for b in boxes]
    left, bottom = (min(values) for values in zip(*lows, strict=True))
    right, top = (max(values) for values in zip(*highs, strict=True))
    return left, bottom, right, top


def _cuts(first: int, count: int, tile: int) -> tuple[int, ...]:
    edges = [first, *range((first // tile + 1) * tile, first + count, tile), first + count]
    return tuple(b - a for a, b in itertools.pairwise(edges))


def native(asset: Asset, target: Target) -> bool:
    """Whether the metadata place an asset's pixels on the target's, so that none is resampled."""
    if asset.crs != target.grid.crs or asset.transform is None:
        return False
    left, res_x, top, res_y = asset.transform
    columns, rows = (target.left - left) / res_x, (top - target.top) / res_y
    return (
        abs(res_x / target.resolution[0] - 1) * target.width <= TOLERANCE
        and abs(res_y / target.resolution[1] - 1) * target.height <= TOLERANCE
        and abs(columns - round(columns)) <= TOLERANCE
        and abs(rows - round(rows)) <= TOLERANCE
    )


def overlap(box: Bounds | None, target: Target) -> bool:
    """Whether a box covers any pixel centre of the target; unknown boxes (None) may."""
    if box is None:
        return True
    left, bottom, right, top = target.bounds
    half_x, half_y = (r / 2 for r in target.resolution)
    return (
        box[0] <= right - half_x
        and box[2] >= left + half_x
        and box[1] <= top - half_y
        and box[3] >= bottom + half_y
        and all(map(math.isfinite, box))
    )
