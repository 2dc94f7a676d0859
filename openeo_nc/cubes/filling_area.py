"""What a tile store is filled for, and its parts: slices of time, and windows of tiles about items."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes import stac
from openeo_nc.cubes.assets import band_names, find_asset
from openeo_nc.cubes.catalogue import Json, find_items
from openeo_nc.cubes.date_windows import MOST
from openeo_nc.cubes.query import Query, SpatialExtent, TemporalExtent, known_crs, period
from openeo_nc.cubes.surroundings import whole_bounds
from openeo_nc.cubes.target import Target, bounds_in, choose
from openeo_nc.errors import NoDataAvailableError

SIDE = 8
"""Tiles of the side of a window."""
_DAY = dt.timedelta(days=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, kw_only=True)
class Area:
    """What a store is filled for."""

    url: str
    """Collection or catalogue, as `stac.load` takes it."""
    query: Query
    """Extents; both of them bounded."""
    bands: tuple[str, ...] | None = None
    """Bands; default all."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other arguments of `stac.load`, such as `resolution`."""
    days: int = 1
    """Days of windows whose dates are coded together; they are not cut."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of the work."""

    items: Sequence[Json]
    """Items of its zone and time."""
    extent: SpatialExtent
    """Its tiles, as far as there are items."""
    temporal: TemporalExtent | None
    """Its time."""


def slices(area: Area) -> Iterator[TemporalExtent | None]:
    """The time in parts of about a month, that end where windows of dates end."""
    temporal = area.query.temporal
    if temporal is None or temporal.start is None or temporal.end is None:
        yield temporal
        return
    length = _DAY * area.days * max(1, MOST // area.days)
    start = temporal.start
    while start < temporal.end:
        end = min(_EPOCH + ((start - _EPOCH) // length + 1) * length, temporal.end)
        yield TemporalExtent(start=start, end=end)
        start = end


def windows_of(area: Area, temporal: TemporalExtent | None) -> Iterator[Window]:
    """Windows of the items of a time, zone by zone."""
    query = replace(area.query, temporal=temporal)
    try:
        found = find_items(area.url, query)
    except NoDataAvailableError:
        return
    for crs, items in _zones(area, found).items():
        target = _target(area, items)
        reach = SpatialExtent(crs=target.grid.crs, bounds=whole_bounds(target))
        around = _zones(area, find_items(area.url, replace(query, spatial=reach)))[crs]
        own = [item for item in around if _begins(area, item, temporal)]
        boxes = _boxes(area, own, target.grid.crs)
        for extent in _extents(target, boxes) if own else ():
            left, bottom, right, top = extent.bounds
            west, south, east, north = boxes
            inside = (west < right) & (east > left) & (south < top) & (north > bottom)
            if inside.any():
                west, south, east, north = boxes[:, inside]
                bounds = (
                    max(left, west.min()), max(bottom, south.min()),
                    min(right, east.max()), min(top, north.max()),
                )  # fmt: skip
                part = replace(extent, bounds=bounds)
                yield Window(items=own, extent=part, temporal=temporal)


def _boxes(area: Area, items: Sequence[Json], crs: str) -> npt.NDArray[np.float64]:
    """West, south, east and north of where items have pixels; everywhere if they do not say."""
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    found = [
        bounds_in(find_asset(item, name), crs) or everywhere
        for item in items
        for name in _names(area, item)
    ]
    return np.array(sorted(set(found))).reshape(-1, 4).T


def _begins(area: Area, item: Json, temporal: TemporalExtent | None) -> bool:
    """Whether an item is of this time, and not of the one before that its period began in."""
    whole = area.query.temporal
    if temporal is None or temporal.start is None or whole is None:
        return True
    return temporal.start == whole.start or period(item)[0] >= temporal.start


def _zones(area: Area, items: Sequence[Json]) -> dict[str | None, list[Json]]:
    """Items of one CRS together, unless all are resampled to one that is asked for."""
    if area.options.get("crs") is not None:
        return {None: list(items)}
    zones: dict[str | None, list[Json]] = {}
    for item in items:
        zones.setdefault(find_asset(item, _names(area, item)[0]).crs, []).append(item)
    return zones


def _target(area: Area, items: Sequence[Json]) -> Target:
    """Pixels of all items of a zone."""
    table = [[find_asset(item, name) for name in _names(area, items[0])] for item in items]
    crs = area.options.get("crs")
    return choose(
        table,
        area.query.spatial,
        crs=None if crs is None else known_crs(crs),
        resolution=stac.pixel_size(area.options.get("resolution")),
        tile=stac.TILE,
    )


def _names(area: Area, item: Json) -> Sequence[str]:
    return area.bands or band_names(item)


def _extents(target: Target, boxes: npt.NDArray[np.float64]) -> Iterator[SpatialExtent]:
    """Whole windows of a target about boxes; a hair inside, so that none has a pixel more."""
    tile, side = target.grid.tile, target.grid.tile * SIDE
    res_x, res_y = target.resolution
    first_row, first_column = target.row // tile * tile, target.column // tile * tile
    left, bottom, right, top = target.bounds
    # windows are counted from the target's corner, wherever the first box is
    west = int((max(left, boxes[0].min()) - left) / res_x) // side * side
    north = int((top - min(top, boxes[3].max())) / res_y) // side * side
    east = target.column + int(np.ceil((min(right, boxes[2].max()) - left) / res_x))
    south = target.row + int(np.ceil((top - max(bottom, boxes[1].min())) / res_y))
    for row in range(first_row + north, min(south, target.row + target.height), side):
        for column in range(first_column + west, min(east, target.column + target.width), side):
            rows = min(side, -(-(target.row + target.height - row) // tile) * tile)
            columns = min(side, -(-(target.column + target.width - column) // tile) * tile)
            left = target.left + (column - target.column) * res_x
            top = target.top - (row - target.row) * res_y
            bounds = (
                left + res_x / 4, top - (rows - 1 / 4) * res_y,
                left + (columns - 1 / 4) * res_x, top - res_y / 4,
            )  # fmt: skip
            yield SpatialExtent(crs=target.grid.crs, bounds=bounds)
