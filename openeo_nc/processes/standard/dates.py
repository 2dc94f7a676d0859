"""Dates as ISO 8601 strings: shifted, compared and subtracted, time zones kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.parser import isoparse
from dateutil.relativedelta import relativedelta

from openeo_nc.errors import InvalidParameterError

__all__ = ["date_between", "date_difference", "date_shift"]

_SECONDS = {"millisecond": 0.001, "second": 1, "minute": 60, "hour": 3600, "day": 86400,
            "week": 604800}  # fmt: skip
_MONTHS = {"month": 1, "year": 12}


def date_shift(date: str, value: int, unit: str) -> str:
    """A date moved by a number of units; a date without a time stays one, rounded down.

    The day is the last of the month where the month has no such day.
    """
    moment = _moment(date)
    if unit in _MONTHS:
        shifted = moment + relativedelta(months=int(value) * _MONTHS[unit])
    else:
        shifted = moment + timedelta(milliseconds=round(int(value) * _seconds(unit) * 1000))
    return _shown(shifted, date)


def date_between(x: str, min: str, max: str, exclude_max: bool = False) -> bool:
    """Whether a date lies in [min, max], or [min, max) if max is excluded."""
    moment, lower, upper = map(_moment, (x, min, max))
    return lower <= moment and (moment < upper if exclude_max else moment <= upper)


def date_difference(date1: str, date2: str, unit: str = "second") -> float:
    """How many units date2 is after date1; parts of months and years by the length of that one."""
    first, second = _moment(date1), _moment(date2)
    if unit not in _MONTHS:
        return float((second - first).total_seconds() / _seconds(unit))
    months = (second.year - first.year) * 12 + second.month - first.month
    if first + relativedelta(months=months) > second:
        months -= 1
    whole = first + relativedelta(months=months // _MONTHS[unit] * _MONTHS[unit])
    following = whole + relativedelta(months=_MONTHS[unit])
    return float(months // _MONTHS[unit] + (second - whole) / (following - whole))


def _moment(date: Any) -> datetime:
    """The moment that a string names; UTC where it names no time zone, midnight where no time."""
    try:
        moment: datetime = isoparse(str(date))
    except ValueError as error:
        raise InvalidParameterError(f"{date!r} is no date or time of ISO 8601.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(unit: str) -> float:
    if unit not in _SECONDS:
        raise InvalidParameterError(
            f"There is no unit '{unit}'; possible are {', '.join([*_SECONDS, *_MONTHS])}."
        )
    return _SECONDS[unit]


def _shown(moment: datetime, like: str) -> str:
    """A moment as the string it came from was written."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", like):
        return moment.date().isoformat()
    shown = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    if like.upper().endswith("Z"):
        return shown.removesuffix("+00:00") + "Z"
    return shown if re.search(r"[+-]\d{2}:?\d{2}$", like) else shown.removesuffix("+00:00")
