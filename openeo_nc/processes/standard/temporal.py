"""Values of a cube's times summed up in intervals, given or of the calendar; cubes stay lazy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from openeo_nc.errors import (
    DistinctDimensionLabelsRequiredError,
    InvalidParameterError,
    LabelMismatchError,
    NoDataAvailableError,
    TemporalExtentEmptyError,
)
from openeo_nc.processes.standard._dimensions import temporal, without
from openeo_nc.processes.standard._values import stacked
from openeo_nc.processes.standard.dimensions import along_axis, spread

__all__ = ["aggregate_temporal", "aggregate_temporal_period"]

_TIME = re.compile(r"\d{2}:\d{2}(:\d{2})?Z?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def aggregate_temporal(
    data: xr.DataArray,
    intervals: Sequence[Sequence[str | None]],
    reducer: Callable[..., Any],
    labels: Sequence[Any] | None = None,
    dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """One value an interval, which may overlap, be open at an end, or be times of the day.

    Raises
    ------
    TemporalExtentEmptyError
        An interval ends before or as it begins.
    DistinctDimensionLabelsRequiredError
        Intervals begin at the same time, and no labels are given.
    LabelMismatchError
        There are not as many labels as intervals.
    """
    name = temporal(data, dimension)
    times = pd.DatetimeIndex(data[name].values)
    groups = [np.flatnonzero(_within(times, start, end)) for start, end in intervals]
    given = list(labels or [start or f"../{end}" for start, end in intervals])
    if len(given) != len(groups):
        raise LabelMismatchError(f"There are {len(groups)} intervals and {len(given)} labels.")
    if len(set(given)) < len(given):
        raise DistinctDimensionLabelsRequiredError(f"The labels are {given}.")
    return _aggregated(data, reducer, name, groups, _moments(given), context)


def aggregate_temporal_period(
    data: xr.DataArray,
    period: str,
    reducer: Callable[..., Any],
    dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """One value a period of the calendar, for all periods from the first time to the last.

    Raises
    ------
    NoDataAvailableError
        The cube has no times.
    """
    name = temporal(data, dimension)
    times = pd.DatetimeIndex(data[name].values)
    if not len(times):
        raise NoDataAvailableError(f"The dimension '{name}' has no labels.")
    starts = list(_starts(times.min(), times.max(), period))
    place = np.searchsorted(pd.DatetimeIndex(starts), times, side="right") - 1
    groups = [np.flatnonzero(place == i) for i in range(len(starts))]
    labels = np.array([_label(start, period) for start in starts])
    return _aggregated(data, reducer, name, groups, labels, context)


def _aggregated(
    data: xr.DataArray,
    reducer: Callable[..., Any],
    name: str,
    groups: Sequence[Any],
    labels: Any,
    context: Any,
) -> xr.DataArray:
    axis = data.get_axis_num(name)
    parts = [
        spread(along_axis(reducer, data.isel({name: positions}), name, context), data, axis)
        for positions in groups
    ]
    return xr.DataArray(
        stacked(parts, axis),
        dims=data.dims,
        coords=without(data, name) | {name: labels},
        attrs=data.attrs,
    )


def _within(times: pd.DatetimeIndex, start: str | None, end: str | None) -> Any:
    """Which times lie in [start, end)."""
    if all(value is None or _TIME.fullmatch(value) for value in (start, end)):
        of_day = times - times.normalize()
        low, high = (None if v is None else _of_day(v) for v in (start, end))
        if low is not None and high is not None and high <= low:  # over midnight
            return (of_day >= low) | (of_day < high)
    else:
        of_day = times
        low, high = (None if v is None else moment(v) for v in (start, end))
        if low is not None and high is not None and high <= low:
            raise TemporalExtentEmptyError(f"The interval [{start}, {end}] is empty.")
    inside = np.ones(len(times), bool)
    inside &= True if low is None else of_day >= low
    inside &= True if high is None else of_day < high
    return inside


def moment(text: str) -> pd.Timestamp:
    """A date or time without zone, in UTC; InvalidParameterError if the text is none."""
    try:
        moment = pd.Timestamp(text)
    except ValueError as error:
        raise InvalidParameterError(f"{text!r} is no date or time.") from error
    return moment if moment.tz is None else moment.tz_convert(None)


def _of_day(text: str) -> pd.Timedelta:
    time = text.removesuffix("Z")
    return pd.Timedelta(time if time.count(":") == 2 else f"{time}:00")


def _moments(labels: Sequence[Any]) -> Any:
    """Labels as times if all are dates, so that later processes see times; else as they are."""
    if all(isinstance(label, str) and _DATE.match(label) for label in labels):
        return pd.DatetimeIndex([moment(label) for label in labels]).astype("datetime64[ns]")
    kinds = {isinstance(label, str) for label in labels}
    return np.array(labels) if len(kinds) < 2 else np.array(labels, dtype=object)


def _starts(first: pd.Timestamp, last: pd.Timestamp, period: str) -> Iterator[pd.Timestamp]:
    """Beginnings of all periods from that of the first time to that of the last."""
    start = _start(first, period)
    while start <= last:
        yield start
        start = _next(start, period)


def _start(time: pd.Timestamp, period: str) -> pd.Timestamp:
    day = time.normalize()
    if period == "hour":
        return time.floor("h")
    if period == "week":
        return day - pd.Timedelta(days=day.weekday())
    if period == "dekad":
        return day.replace(day=min((day.day - 1) // 10, 2) * 10 + 1)
    month = day.replace(day=1)
    if period in _MONTHS:
        length, offset = _MONTHS[period]
        back = ((month.year * 12 + month.month - 1) - offset) % length
        return month - pd.DateOffset(months=back)
    return day


def _next(start: pd.Timestamp, period: str) -> pd.Timestamp:
    if period in _MONTHS:
        return start + pd.DateOffset(months=_MONTHS[period][0])
    if period == "dekad":
        if start.day < 21:
            return start + pd.Timedelta(days=10)
        return start.replace(day=1) + pd.DateOffset(months=1)
    return start + pd.Timedelta({"hour": 1, "day": 24, "week": 24 * 7}[period], "h")


_MONTHS = {
    "month": (1, 0),
    "season": (3, 11),
    "tropical-season": (6, 10),
    "year": (12, 0),
    "decade": (120, 0),
    "decade-ad": (120, 12),
}
"""Periods of months: how many, and a month (counted from year 0) with which one begins."""

_SEASONS = {12: "djf", 3: "mam", 6: "jja", 9: "son"}


def _label(start: pd.Timestamp, period: str) -> str:
    """The label that openEO gives the period."""
    year = f"{start.year:04d}"
    if period == "hour":
        return f"{start:%Y-%m-%d-%H}"
    if period == "day":
        return f"{year}-{start.dayofyear:03d}"
    if period == "week":
        iso = start.isocalendar()
        return f"{iso.year:04d}-{iso.week:02d}"
    if period == "dekad":
        return f"{year}-{(start.month - 1) * 3 + start.day // 10 + 1:02d}"
    if period == "month":
        return f"{start:%Y-%m}"
    if period == "season":
        return f"{year}-{_SEASONS[start.month]}"
    if period == "tropical-season":
        return f"{year}-{'ndjfma' if start.month == 11 else 'mjjaso'}"
    return year
