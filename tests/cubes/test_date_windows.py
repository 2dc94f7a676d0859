"""Windows of the calendar: where they begin, and what labels they take."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_nc.cubes.date_windows import MOST, windows
from openeo_nc.errors import InvalidParameterError

DAYS = st.lists(st.integers(-20_000, 30_000), min_size=2, max_size=40)


def times(days):
    return tuple(np.array(days, "datetime64[D]").astype("datetime64[ns]"))


@given(days=DAYS, length=st.integers(1, 400))
def test_windows_are_those_of_the_calendar(days, length):
    found = windows(times(days), len(days), length)
    assert sorted(i for window in found for i in window) == list(range(len(days)))
    for window in found:
        assert len({days[i] // length for i in window}) == 1
        assert [days[i] for i in window] == sorted(days[i] for i in window)
    if len(days) <= MOST:
        assert len(found) == len({day // length for day in days})


@given(days=DAYS, length=st.integers(1, 400), cut=st.integers(0, 40))
def test_a_window_does_not_depend_on_other_windows(days, length, cut):
    """Whoever asks for the dates of some windows gets those windows."""
    found = {
        days[w[0]] // length: [days[i] for i in w] for w in windows(times(days), len(days), length)
    }
    kept = [day for day in days if day // length != days[cut % len(days)] // length]
    if len(kept) > 1 and len(days) <= MOST:
        part = windows(times(kept), len(kept), length)
        assert [[kept[i] for i in w] for w in part] == [found[kept[w[0]] // length] for w in part]


def test_labels_out_of_order_twice_and_missing():
    labels = ("2020-01-18", "2020-01-13", "NaT", "2020-01-13", "2021-01-01")
    assert windows(tuple(map(np.datetime64, labels)), 5, 32) == ((1, 3, 0), (4,), (2,))
    assert windows(labels[:2], 2, 32) == ((1, 0),)
    assert windows(tuple(map(dt.datetime.fromisoformat, labels[:2])), 2, 32) == ((1, 0),)


def test_a_window_of_many_dates_is_cut():
    found = windows(times([0] * (MOST + 2)), MOST + 2, 1)
    assert list(map(len, found)) == [MOST, 2]


@pytest.mark.parametrize("labels", [None, (1, 2), ("spring", "summer"), (0.5, 1.5)])
def test_labels_that_are_no_times(labels):
    assert windows(labels and labels[:1], 1, 32) == ((0,),)
    with pytest.raises(InvalidParameterError, match="labels of t that are times"):
        windows(labels, 2, 32)
