"""Dates shifted and compared; expected values by hand."""

from __future__ import annotations

import pytest

from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes.standard.dates import date_between, date_difference, date_shift


@pytest.mark.parametrize(
    ("date", "value", "unit", "expected"),
    [
        ("2020-01-31", 1, "month", "2020-02-29"),
        ("2020-02-29T17:22:45Z", 1, "year", "2021-02-28T17:22:45Z"),
        ("2021-03-31T00:00:00+02:00", -7, "day", "2021-03-24T00:00:00+02:00"),
        ("2018-12-31T17:22:45Z", 1150, "millisecond", "2018-12-31T17:22:46.150Z"),
        ("2016-12-31T23:59:59Z", 1, "second", "2017-01-01T00:00:00Z"),
        ("2018-01-01", -1, "hour", "2017-12-31"),
        ("2018-01-01", 25, "hour", "2018-01-02"),
        ("2020-12-05", 3, "week", "2020-12-26"),
        ("2020-01-01T00:00:00", 1, "day", "2020-01-02T00:00:00"),
    ],
)
def test_shifted_dates_are_written_as_they_were_given(date, value, unit, expected):
    assert date_shift(date, value, unit) == expected


@pytest.mark.parametrize(
    ("first", "second", "unit", "expected"),
    [
        ("2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00", "second", 0),
        ("2020-01-02", "2020-01-01", "day", -1),
        ("2020-01-31", "2020-03-31", "month", 2),
        ("2020-01-01", "2020-01-16T12:00:00Z", "month", 0.5),
        ("2019-01-01", "2021-01-01", "year", 2),
        ("2021-01-01", "2019-01-01", "year", -2),
    ],
)
def test_differences(first, second, unit, expected):
    assert date_difference(first, second, unit) == pytest.approx(expected)


def test_between_takes_time_zones_and_may_leave_the_end_out():
    bounds = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
    assert date_between("2020-01-02T01:00:00+01:00", *bounds)
    assert not date_between("2020-01-02T01:00:00+01:00", *bounds, exclude_max=True)


def test_what_is_no_date_or_unit_is_named():
    with pytest.raises(InvalidParameterError, match="'soon'"):
        date_shift("soon", 1, "day")
    with pytest.raises(InvalidParameterError, match="'fortnight'"):
        date_shift("2020-01-01", 1, "fortnight")
