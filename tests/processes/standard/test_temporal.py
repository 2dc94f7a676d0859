"""Aggregations over time against pandas and by hand; labels as openEO has them."""

from __future__ import annotations

import dask
import dask.array as da
import fakes
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from openeo_nc import errors
from openeo_nc.graphs import execute


def cube(times, name="t"):
    """`(t, y, x)`: each time's number, and no data at the last pixel."""
    values = np.arange(len(times), dtype="float32")[:, None, None] * np.ones((1, 2, 3), "float32")
    values[:, 1, 2] = np.nan
    array = da.from_array(values, chunks=(1, 2, 3))
    index = pd.DatetimeIndex(times).astype("datetime64[ns]")
    return xr.DataArray(array, dims=(name, "y", "x"), coords={name: index}, attrs={"a": 1})


def aggregated(data, process_id, reducer="mean", **arguments):
    callback = {"process_id": reducer, "arguments": {"data": {"from_parameter": "data"}}}
    arguments |= {
        "data": {"from_parameter": "cube"},
        "reducer": {"process_graph": {"r": callback | {"result": True}}},
    }
    graph = {"n": {"process_id": process_id, "arguments": arguments, "result": True}}
    with dask.config.set(scheduler=fakes.raising_scheduler):
        return execute(graph, parameters={"cube": data})


def test_intervals_are_closed_at_the_left_and_may_overlap_or_be_open():
    data = cube(["2020-01-01", "2020-01-05", "2020-01-10"])
    intervals = [["2020-01-01", "2020-01-05"], ["2020-01-02", None], ["2021-01-01", "2021-02-01"]]
    result = aggregated(data, "aggregate_temporal", intervals=intervals)
    np.testing.assert_array_equal(result[:, 0, 0], [0, 1.5, np.nan])
    assert np.isnan(result[:, 1, 2]).all()
    assert result["t"].values.astype("datetime64[D]").astype(str).tolist() == [
        "2020-01-01", "2020-01-02", "2021-01-01"]  # fmt: skip
    assert result.dtype == "float32"
    assert result.attrs == {"a": 1}


def test_times_of_the_day_may_run_over_midnight():
    data = cube(["2020-01-01T05:00", "2020-01-01T12:00", "2020-01-02T23:00"])
    intervals = [["06:00:00", "18:00:00"], ["18:00:00", "06:00:00"]]
    result = aggregated(data, "aggregate_temporal", intervals=intervals, reducer="count")
    np.testing.assert_array_equal(result[:, 0, 0], [1, 2])
    assert result["t"].values.tolist() == ["06:00:00", "18:00:00"]


def test_intervals_without_values_still_count():
    data = cube(["2020-01-01"])
    result = aggregated(
        data, "aggregate_temporal", "count", intervals=[["2021-01-01", "2022-01-01"]]
    )
    np.testing.assert_array_equal(result.values, np.zeros((1, 2, 3)))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"intervals": [["2020-01-02", "2020-01-01"]]}, errors.TemporalExtentEmptyError),
        ({"intervals": [["2020-01-02", "2020-01-02"]]}, errors.InvalidParameterError),
        (
            {"intervals": [["2020-01-01", "2020-01-02"], ["2020-01-01", "2020-01-03"]]},
            errors.DistinctDimensionLabelsRequiredError,
        ),
        ({"intervals": [["2020-01-01", None]], "labels": ["a", "b"]}, errors.LabelMismatchError),
        ({"intervals": [["2020-01-01", None]], "dimension": "z"},
         errors.DimensionNotAvailableError),
        ({"intervals": [["soon", None]]}, errors.InvalidParameterError),
    ],
)  # fmt: skip
def test_intervals_that_make_no_sense_are_typed_errors(arguments, error):
    with pytest.raises(error, match=r"node 'n' \(aggregate_temporal\)"):
        aggregated(cube(["2020-01-01"]), "aggregate_temporal", **arguments)


def test_two_temporal_dimensions_need_a_name():
    data = cube(["2020-01-01"]).expand_dims(run=pd.DatetimeIndex(["2020-02-01"]))
    with pytest.raises(errors.TooManyDimensionsError, match="run, t"):
        aggregated(data, "aggregate_temporal_period", period="day")


PERIODS = [
    ("hour", ["2020-06-01T23:59", "2020-06-02T01:00"],
     ["2020-06-01-23", "2020-06-02-00", "2020-06-02-01"]),
    ("day", ["2020-12-31", "2021-01-01T23:00"], ["2020-366", "2021-001"]),
    ("week", ["2020-12-31", "2021-01-04"], ["2020-53", "2021-01"]),
    ("dekad", ["2024-01-28", "2024-02-29"],
     ["2024-03", "2024-04", "2024-05", "2024-06"]),
    ("month", ["2023-11-30", "2024-02-01"], ["2023-11", "2023-12", "2024-01", "2024-02"]),
    ("season", ["2023-12-28", "2024-02-29", "2024-11-30"],
     ["2023-djf", "2024-mam", "2024-jja", "2024-son"]),
    ("season", ["2024-01-15"], ["2023-djf"]),
    ("tropical-season", ["2023-11-01", "2024-04-30", "2024-05-01", "2024-11-30"],
     ["2023-ndjfma", "2024-mjjaso", "2024-ndjfma"]),
    ("year", ["2020-06-01", "2022-01-01"], ["2020", "2021", "2022"]),
    ("decade", ["2029-12-31T23:59", "2030-01-01"], ["2020", "2030"]),
    ("decade-ad", ["2020-01-01", "2021-01-01"], ["2011", "2021"]),
]  # fmt: skip


@pytest.mark.parametrize(("period", "times", "labels"), PERIODS)
def test_periods_are_complete_and_labelled(period, times, labels):
    result = aggregated(cube(times), "aggregate_temporal_period", period=period)
    assert result["t"].values.tolist() == labels


@pytest.mark.parametrize(
    ("period", "frequency"), [("day", "D"), ("week", "W-SUN"), ("month", "MS"), ("year", "YS")]
)
def test_periods_hold_what_pandas_puts_into_them(period, frequency):
    rng = np.random.default_rng(3)
    times = pd.Timestamp("2019-11-03") + pd.to_timedelta(np.sort(rng.integers(0, 500, 40)), "D")
    result = aggregated(cube(times), "aggregate_temporal_period", period=period)
    expected = pd.Series(np.arange(40.0), index=times).resample(frequency).mean()
    np.testing.assert_allclose(result[:, 0, 0], expected, rtol=1e-6)
