"""Which rows a search looks at: those whose patch has its middle in a region, of an interval."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from pyproj import Transformer

from openeo_nc.cubes.query import LONLAT, SpatialExtent, TemporalExtent
from openeo_nc.errors import InvalidParameterError
from openeo_nc.search.rows import NO_TIME, Doubles, Flags, Integers

_NAMES = ("spatial_extent", "temporal_extent")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """What rows must fulfil, before any vector is looked at."""

    spatial_extent: SpatialExtent | None = None
    """Region with the middle of the patch."""
    temporal_extent: TemporalExtent | None = None
    """Interval with the moment; rows without one are in none."""

    @classmethod
    def of(cls, value: Any) -> Self:
        """Parse an object with `spatial_extent` and `temporal_extent`, both optional.

        Raises
        ------
        InvalidParameterError, TemporalExtentEmptyError, NoDataAvailableError
        """
        given = {} if value is None else value
        if not isinstance(given, Mapping) or (unknown := sorted(given.keys() - set(_NAMES))):
            shown = ", ".join(unknown) if isinstance(given, Mapping) else type(value).__name__
            raise InvalidParameterError(
                f"filters is an object with {' and '.join(_NAMES)}; given {shown}."
            )
        space, time = (given.get(name) for name in _NAMES)
        return cls(
            spatial_extent=None if space is None else SpatialExtent.of(space),
            temporal_extent=None if time is None else TemporalExtent.of(time),
        )

    def __bool__(self) -> bool:
        return self.spatial_extent is not None or self.temporal_extent is not None

    def inside(self, lon: Doubles, lat: Doubles) -> Flags:
        """Which middles, in degrees, lie in the region; edges count."""
        extent = self.spatial_extent
        if extent is None:
            return np.ones(len(lon), bool)
        west, south, east, north = extent.bounds_in(LONLAT)
        kept: Flags = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
        if extent.crs == LONLAT and extent.polygons is None:
            return kept
        near = np.flatnonzero(kept)
        if extent.crs != LONLAT:
            # The box of a box in another CRS is wider than it.
            transform = Transformer.from_crs(LONLAT, extent.crs, always_xy=True)
            x, y = transform.transform(lon[near], lat[near])
            left, bottom, right, top = extent.bounds
            kept[near] = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
            near = np.flatnonzero(kept)
        if (polygons := extent.polygons_in(LONLAT)) is not None:
            kept[near] = shapely.intersects_xy(polygons, lon[near], lat[near])
        return kept

    def during(self, time: Integers) -> Flags:
        """Which moments lie in the interval; its end does not."""
        extent = self.temporal_extent
        if extent is None:
            return np.ones(len(time), bool)
        kept: Flags = time != NO_TIME
        if extent.start is not None:
            kept &= time >= microseconds(extent.start)
        if extent.end is not None:
            kept &= time < microseconds(extent.end)
        return kept

    def keep(self, lon: Doubles, lat: Doubles, time: Integers) -> Flags | None:
        """Which rows are looked at; None for all."""
        if not self:
            return None
        if self.spatial_extent is None:
            return self.during(time)
        if self.temporal_extent is None:
            return self.inside(lon, lat)
        return self.inside(lon, lat) & self.during(time)


def microseconds(moment: dt.datetime) -> int:
    """Of a moment, since 1970-01-01."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)
