"""Finds the items around a cube that was loaded, so that its tiles can be read whole.

The items of a request are those that it touches. A tile at its edge reaches beyond it, and may hold
pixels of others; without them the same ground would be other tiles for other requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import on_error
from openeo_nc.cubes.assets import Asset, find_asset
from openeo_nc.cubes.catalogue import Json, find_items
from openeo_nc.cubes.dims import T, X, Y, labels
from openeo_nc.cubes.grid import Bounds
from openeo_nc.cubes.query import Query, SpatialExtent, period
from openeo_nc.cubes.reader import Source
from openeo_nc.cubes.scenes import Scene, Scenes, digest, with_scenes
from openeo_nc.cubes.target import Target, bounds_in, choose, overlap
from openeo_nc.errors import OpenEONCError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

MARGIN = 448
"""Pixels around whole tiles where items are looked for too: tiles of models lie on other grids, and
their networks see what is around them."""
Table = Sequence[Sequence[Asset]]
"""Bands of items."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What was loaded, and by what arguments."""

    url: str | Sequence[Json]
    """Where items were looked for."""
    query: Query
    """Which."""
    items: Sequence[Json]
    """Items that were found, by datetime, then id."""
    table: Table
    """Their bands."""
    methods: Mapping[str, str]
    """How each band is resampled where it must be."""
    target: Target
    """The cube's pixels."""
    crs: str | None
    """The CRS that was asked for."""
    resolution: tuple[float, float] | None
    """The pixel size that was asked for."""
    by_day: bool
    """Whether items of a UTC day are one date."""


def with_surroundings(cube: xr.DataArray, request: Request) -> xr.DataArray:
    """The cube with what its whole tiles are read from; as it is if polygons were cut out.

    Items around it are looked for when somebody asks, as the one who loads the cube would do it now.
    """
    spatial = request.query.spatial
    if spatial is not None and spatial.polygons is not None:
        return cube
    return with_scenes(cube, partial(copy_context().run, _found, cube, request))


def _found(cube: xr.DataArray, request: Request) -> Scenes:
    query, target = request.query, request.target
    reach: Bounds | None = None
    items, table = request.items, request.table
    if query.spatial is not None:
        reach = _beyond(whole_bounds(target), target)
        try:
            around = _around(request, reach)
        except OpenEONCError:  # loading all of it would be refused, so its tiles are nobody else's
            around = None
        if around is None:
            reach = target.bounds
        else:
            items, table = around
    return Scenes(
        dates=_dates(request, items, table),
        target=target,
        reach=reach,
        times=cube[T].values,
        bands=labels(cube),
        y=cube[Y].values,
        x=cube[X].values,
    )


def whole_bounds(target: Target) -> Bounds:
    """Bounds of the whole tiles that hold the target."""
    tile, (res_x, res_y) = target.grid.tile, target.resolution
    left, bottom, right, top = target.bounds
    before_x, before_y = target.column % tile, target.row % tile
    after_x = -(target.column + target.width) % tile
    after_y = -(target.row + target.height) % tile
    return (
        left - before_x * res_x, bottom - after_y * res_y,
        right + after_x * res_x, top + before_y * res_y,
    )  # fmt: skip


def _beyond(bounds: Bounds, target: Target) -> Bounds:
    left, bottom, right, top = bounds
    x, y = (MARGIN * size for size in target.resolution)
    return left - x, bottom - y, right + x, top + y


def _around(request: Request, reach: Bounds) -> tuple[list[Json], Table] | None:
    """All items in the bounds and their bands; None if together they would be another cube."""
    target = request.target
    extent = SpatialExtent(crs=target.grid.crs, bounds=reach)
    found = find_items(request.url, replace(request.query, spatial=extent))
    names = list(request.methods)
    table = [[find_asset(item, name) for name in names] for item in found]
    if request.crs is None:  # one cube is of one CRS: items of another zone are never in it
        own = [all(asset.crs == target.grid.crs for asset in row) for row in table]
        found = [item for item, same in zip(found, own, strict=True) if same]
        table = [row for row, same in zip(table, own, strict=True) if same]
    whole = choose(
        table, extent, crs=request.crs, resolution=request.resolution, tile=target.grid.tile
    )
    kept = [
        (item, row)
        for item, row in zip(found, table, strict=True)
        if any(overlap(bounds_in(asset, target.grid.crs), whole) for asset in row)
    ]
    alike = all(
        {asset.scaled for asset in column} <= {asset.scaled for asset in own}
        and any(asset.classes for asset in column) == any(asset.classes for asset in own)
        for column, own in zip(
            zip(*table, strict=True), zip(*request.table, strict=True), strict=True
        )
    )
    if not alike or whole.grid != target.grid or whole.resolution != target.resolution:
        return None
    return [item for item, _ in kept], [row for _, row in kept]


def _dates(request: Request, items: Sequence[Json], table: Table) -> tuple[tuple[Scene, ...], ...]:
    """Scenes of each date of the cube."""
    if not request.by_day:
        rows = zip(request.items, request.table, strict=True)
        return tuple((_scene(request, item, row),) for item, row in rows)
    days: dict[Any, list[Scene]] = {period(item)[0].date(): [] for item in request.items}
    for item, row in zip(items, table, strict=True):
        day = period(item)[0].date()
        if day in days:
            days[day].append(_scene(request, item, row))
    return tuple(map(tuple, days.values()))


def _scene(request: Request, item: Json, row: Sequence[Asset]) -> Scene:
    crs = request.target.grid.crs
    sources = tuple(
        Source(asset=asset, crs=crs, resampling=method, nodata_topic=on_error.topic())
        for asset, method in zip(row, request.methods.values(), strict=True)
    )
    boxes = {bounds_in(asset, crs) for asset in row}
    return Scene(
        sources=sources,
        boxes=None if None in boxes else tuple(box for box in boxes if box is not None),
        digests=tuple(digest(item, source) for source in sources),
    )
