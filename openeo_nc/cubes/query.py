"""What a load asks for: an extent in space, an interval in time, conditions on properties.

Arguments come as openEO process graphs carry them (plain JSON), or as the objects that
openeo-pg-parser-networkx makes of them. Intervals in time are left-closed: the end is excluded.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
import shapely.geometry
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from openeo_nc.cubes.conditions import condition, plain
from openeo_nc.cubes.dims import crs_name
from openeo_nc.cubes.grid import Bounds
from openeo_nc.errors import (
    InvalidParameterError,
    NoDataAvailableError,
    TemporalExtentEmptyError,
)

LONLAT = "EPSG:4326"


@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialExtent:
    """A bounding box, or the bounding box of polygons with the polygons."""

    crs: str
    """`EPSG:n` or WKT of the numbers below; x before y always."""
    bounds: Bounds
    """`(left, bottom, right, top)`."""
    polygons: BaseGeometry | None = None
    """Pixels whose centre is outside of these are no data; None keeps the whole box."""

    @classmethod
    def of(cls, value: Any) -> SpatialExtent:
        """Parse a bounding box with `west, south, east, north, crs`, or a GeoJSON object.

        Raises
        ------
        InvalidParameterError
            The object is neither, or its numbers are no extent.
        NoDataAvailableError
            The extent has no area.
        """
        given = plain(value)
        if isinstance(given, Mapping) and {"west", "south", "east", "north"} <= set(given):
            bounds = tuple(_number(given[k], k) for k in ("west", "south", "east", "north"))
            crs = given.get("crs")
            return cls(crs=known_crs(LONLAT if crs is None else crs), bounds=_checked(bounds))  # type: ignore[arg-type]
        if isinstance(given, Mapping) and "type" in given:
            polygons = _polygons(given)
            name = ((given.get("crs") or {}).get("properties") or {}).get("name", LONLAT)
            return cls(crs=known_crs(name), bounds=_checked(polygons.bounds), polygons=polygons)
        raise InvalidParameterError(
            "spatial_extent must be an object with west, south, east, north (and crs), "
            f"or GeoJSON with polygons; given {str(value)[:80]}."
        )

    def bounds_in(self, crs: str) -> Bounds:
        """The bounding box of this extent in another CRS."""
        return reproject_bounds(self.bounds, self.crs, crs)

    def polygons_in(self, crs: str) -> BaseGeometry | None:
        """The polygons in another CRS, or None."""
        if self.polygons is None or crs == self.crs:
            return self.polygons
        transform = Transformer.from_crs(self.crs, crs, always_xy=True).transform
        return shapely.transform(self.polygons, transform, interleaved=False)


@dataclass(frozen=True, kw_only=True)
class TemporalExtent:
    """`[start, end)`; None on a side leaves it open."""

    start: dt.datetime | None = None
    """First instant, included; UTC."""
    end: dt.datetime | None = None
    """First instant after the interval; UTC."""

    @classmethod
    def of(cls, value: Any) -> TemporalExtent:
        """Parse an openEO temporal interval: two dates, date-times or nulls.

        Raises
        ------
        InvalidParameterError, TemporalExtentEmptyError
        """
        given = plain(value)
        if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
            raise InvalidParameterError(
                f"temporal_extent must be two dates, [start, end]; given {str(value)[:80]}."
            )
        start, end = (None if v in (None, "..", "") else instant(v) for v in given)
        if start is None and end is None:
            raise InvalidParameterError("temporal_extent must not be open on both sides.")
        if start is not None and end is not None and end <= start:
            raise TemporalExtentEmptyError(
                f"The temporal extent ends ({end.isoformat()}) before, or as, it begins "
                f"({start.isoformat()}); the end is excluded."
            )
        return cls(start=start, end=end)

    def overlaps(self, first: dt.datetime, last: dt.datetime) -> bool:
        """Whether an instant (first == last) or a period of an item falls in the interval."""
        return (self.end is None or first < self.end) and (self.start is None or last >= self.start)

    def __str__(self) -> str:
        sides = ("" if v is None else v.strftime("%Y-%m-%dT%H:%M:%SZ") for v in self.sides)
        return "/".join(side or ".." for side in sides)

    @property
    def sides(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """`(start, end)`."""
        return self.start, self.end


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """Everything that decides which items are loaded."""

    spatial: SpatialExtent | None = None
    """None is everywhere."""
    temporal: TemporalExtent | None = None
    """None is always."""
    conditions: Mapping[str, Callable[[Any], bool]] | None = None
    """A test for the value of each named item property; all must hold."""

    @classmethod
    def of(
        cls, spatial_extent: Any = None, temporal_extent: Any = None, properties: Any = None
    ) -> Query:
        """Parse the three openEO arguments; None is no limit.

        Raises
        ------
        InvalidParameterError, TemporalExtentEmptyError, NoDataAvailableError
        """
        return cls(
            spatial=None if spatial_extent is None else SpatialExtent.of(spatial_extent),
            temporal=None if temporal_extent is None else TemporalExtent.of(temporal_extent),
            conditions={name: condition(name, p) for name, p in (properties or {}).items()},
        )

    def matches(self, item: Mapping[str, Any]) -> bool:
        """Whether a STAC item (raw JSON) is asked for; one without bbox counts as everywhere."""
        properties = item.get("properties") or {}
        if self.temporal is not None and not self.temporal.overlaps(*period(item)):
            return False
        for name, holds in (self.conditions or {}).items():
            if properties.get(name) is None or not holds(properties[name]):
                return False
        box = item.get("bbox")
        if self.spatial is None or not box:
            return True
        half = len(box) // 2
        west, south, east, north = box[0], box[1], box[half], box[half + 1]
        left, bottom, right, top = self.spatial.bounds_in(LONLAT)
        if west <= east:
            across = west <= right and east >= left
        else:  # the item crosses the antimeridian
            across = west <= right or east >= left
        return bool(across and south <= top and north >= bottom)


def period(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """First and last instant of an item; both are its `datetime` where it has one.

    Raises
    ------
    InvalidParameterError
        The item has neither `datetime` nor `start_datetime`.
    """
    properties = item.get("properties") or {}
    single = properties.get("datetime")
    start, end = properties.get("start_datetime") or single, properties.get("end_datetime")
    if single is not None:
        return instant(single), instant(single)
    if start is None:
        raise InvalidParameterError(f"The STAC item '{item.get('id')}' has no datetime.")
    return instant(start), instant(end or start)


def instant(value: Any) -> dt.datetime:
    """A date or date-time as UTC; without a zone it is taken as UTC."""
    if isinstance(value, dt.datetime):
        parsed = value
    elif isinstance(value, dt.date):
        parsed = dt.datetime(value.year, value.month, value.day)
    else:
        try:
            parsed = dt.datetime.fromisoformat(str(value))
        except ValueError as error:
            raise InvalidParameterError(
                f"{value!r} is no date (YYYY-MM-DD) or date-time (RFC 3339)."
            ) from error
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=dt.UTC)
    return parsed.astimezone(dt.UTC)


@functools.lru_cache(maxsize=256)
def reproject_bounds(bounds: Bounds, source: str, target: str) -> Bounds:
    """The box that encloses another CRS's box, edges densified.

    Raises
    ------
    InvalidParameterError
        The box has no finite image in the target CRS.
    """
    if source == target:
        return bounds
    transformer = Transformer.from_crs(source, target, always_xy=True)
    result: Bounds = transformer.transform_bounds(*bounds, densify_pts=21)
    if not all(map(math.isfinite, result)):
        raise InvalidParameterError(f"The extent {bounds} lies outside of {target[:60]}.")
    return result


def _checked(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    if west > east or south > north:
        raise InvalidParameterError(
            f"The extent {bounds} has west > east or south > north; split one that crosses the "
            "antimeridian."
        )
    if west == east or south == north:
        raise NoDataAvailableError(f"The extent {bounds} is empty.")
    return bounds


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InvalidParameterError(f"spatial_extent.{name} must be a number; given {value!r}.")
    return float(value)


def known_crs(value: Any) -> str:
    """`EPSG:n` or WKT of what names a CRS; InvalidParameterError if it names none."""
    from rasterio.errors import CRSError

    try:
        return crs_name(value)
    except CRSError as error:
        raise InvalidParameterError(
            f"{str(value)[:80]!r} is no coordinate reference system (EPSG code or WKT)."
        ) from error


def _polygons(value: Mapping[str, Any]) -> BaseGeometry:
    kind = value.get("type")
    members = value.get("features", []) if kind == "FeatureCollection" else [value]
    geometries = [m.get("geometry") if m.get("type") == "Feature" else m for m in members]
    shapes = [shapely.geometry.shape(g) for g in geometries if g]
    polygons = [s for s in shapes if s.geom_type in ("Polygon", "MultiPolygon") and not s.is_empty]
    if len(polygons) != len([s for s in shapes if not s.is_empty]):
        raise InvalidParameterError("GeoJSON in spatial_extent may hold polygons only.")
    if not polygons:
        raise NoDataAvailableError("The GeoJSON in spatial_extent holds no polygon.")
    return shapely.union_all(polygons)
