"""Arrays in callbacks give at each pixel what a list of the pixel's values gives, and stay lazy.

The oracle of the array code is the code for lists, which the definitions' examples test.
"""

from __future__ import annotations

import dask
import dask.array as da
import fakes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.graphs import execute

SHAPE = (7, 3, 4)  # t, y, x


def values(seed=0):
    """Whole numbers with ties and no data; one pixel with none but no data."""
    rng = np.random.default_rng(seed)
    given = rng.integers(-4, 5, SHAPE).astype("float64")
    given[rng.random(SHAPE) < 0.25] = np.nan
    given[:, 0, 0] = np.nan
    return given


def cube(given=None):
    """`(t, y, x)` in chunks that cut the time axis."""
    given = values() if given is None else given
    array = da.from_array(given, chunks=(2, 2, 2))
    return xr.DataArray(array, dims=("t", "y", "x"), coords={"t": range(len(given))})


def at_pixels(process_id, arguments, given):
    """The process of each pixel's list, null for NaN."""
    results = []
    for series in given.reshape(len(given), -1).T:
        data = [None if np.isnan(value) else float(value) for value in series]
        node = {"process_id": process_id, "arguments": {"data": data, **arguments}, "result": True}
        results.append(execute({"node": node}))
    return results


def in_callback(over, process_id, arguments, given, **more):
    """The process as callback of a process over the time of a lazy cube, not computed."""
    parameter = "reducer" if over == "reduce_dimension" else "process"
    inner = {"data": {"from_parameter": "data"}, **arguments}
    callback = {"inner": {"process_id": process_id, "arguments": inner, "result": True}}
    outer = {
        "data": {"from_parameter": "cube"},
        "dimension": "t",
        parameter: {"process_graph": callback},
        **more,
    }
    graph = {"outer": {"process_id": over, "arguments": outer, "result": True}}
    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = execute(graph, parameters={"cube": cube(given)})
    assert isinstance(result.data, da.Array)
    return result


def as_array(results):
    return np.array([np.nan if value is None else float(value) for value in results])


REDUCERS = [
    ("sum", {}), ("product", {}), ("min", {}), ("max", {}), ("mean", {}), ("median", {}),
    ("sd", {}), ("variance", {}), ("count", {}), ("count", {"condition": True}),
    ("first", {}), ("last", {}), ("array_element", {"index": 2}),
    ("array_contains", {"value": 2}), ("array_find", {"value": 2}),
    ("array_find", {"value": 2, "reverse": True}),
    *[(p, {"ignore_nodata": False}) for p in
      ("sum", "product", "min", "max", "mean", "median", "first", "last")],
]  # fmt: skip


@pytest.mark.parametrize(("process_id", "arguments"), REDUCERS)
def test_reducers(process_id, arguments):
    given = values()
    result = in_callback("reduce_dimension", process_id, arguments, given)
    assert result.dims == ("y", "x")
    expected = as_array(at_pixels(process_id, arguments, given)).reshape(3, 4)
    np.testing.assert_allclose(result.values.astype(float), expected, rtol=1e-12)


@pytest.mark.parametrize("process_id", ["any", "all"])
@pytest.mark.parametrize("ignore_nodata", [True, False])
def test_reducers_of_truth_values(process_id, ignore_nodata):
    given = np.where(np.isnan(values()), np.nan, values() > -3)
    arguments = {"ignore_nodata": ignore_nodata}
    result = in_callback("reduce_dimension", process_id, arguments, given)
    expected = []
    for series in given.reshape(7, -1).T:
        data = [None if np.isnan(value) else bool(value) for value in series]
        node = {"process_id": process_id, "arguments": {"data": data, **arguments}, "result": True}
        expected.append(execute({"node": node}))
    np.testing.assert_array_equal(result.values.astype(float).ravel(), as_array(expected))


SEQUENCES = [
    ("cumsum", {}), ("cumproduct", {}), ("cummin", {}), ("cummax", {}),
    ("cumsum", {"ignore_nodata": False}), ("cummax", {"ignore_nodata": False}),
    ("sort", {"nodata": True}), ("sort", {"nodata": False}),
    ("sort", {"nodata": True, "asc": False}), ("sort", {"nodata": False, "asc": False}),
    ("order", {"nodata": True}), ("order", {"nodata": False}),
    ("order", {"nodata": True, "asc": False}), ("order", {"nodata": False, "asc": False}),
    ("rearrange", {"order": [6, 0, 3]}), ("array_interpolate_linear", {}),
    ("quantiles", {"probabilities": [0, 0.3, 0.5, 1]}), ("quantiles", {"probabilities": 4}),
    ("extrema", {}), ("array_modify", {"values": [1, 2, 3], "index": 2, "length": 1}),
    ("array_append", {"value": 5}), ("array_create", {"repeat": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("process_id", "arguments"), SEQUENCES)
def test_sequences(process_id, arguments):
    given = values()
    result = in_callback("apply_dimension", process_id, arguments, given)
    expected = np.stack([as_array(r) for r in at_pixels(process_id, arguments, given)], axis=1)
    assert result.shape == (len(expected), 3, 4)
    np.testing.assert_allclose(
        result.values.reshape(len(expected), -1).astype(float), expected, rtol=1e-12
    )
    if len(expected) == len(given):
        assert result["t"].values.tolist() == list(range(7))


COMPARISONS = ["eq", "neq", "gt", "gte", "lt", "lte"]


@pytest.mark.parametrize("process_id", COMPARISONS)
def test_comparisons_of_pixels(process_id):
    node = {"process_id": process_id, "arguments": {"x": {"from_parameter": "x"}, "y": 1}}
    result = applied({"compare": {**node, "result": True}}, values())
    expected = [
        execute({"n": {**node, "result": True}}, parameters={"x": None if np.isnan(v) else v})
        for v in values().ravel()
    ]
    np.testing.assert_array_equal(result.values.ravel().astype(float), as_array(expected))


@pytest.mark.parametrize("process_id", ["and", "or", "xor"])
@pytest.mark.parametrize("other", [True, False, None])
def test_logic_of_pixels(process_id, other):
    given = np.array([[[0.0, 1.0, np.nan]]])
    node = {
        "process_id": process_id,
        "arguments": {"x": {"from_parameter": "x"}, "y": other},
        "result": True,
    }
    result = applied({"join": node}, given)
    expected = [execute({"n": node}, parameters={"x": x}) for x in (False, True, None)]
    np.testing.assert_array_equal(result.values.ravel(), as_array(expected))


def test_a_condition_chooses_pixels():
    compare = {"process_id": "gt", "arguments": {"x": {"from_parameter": "x"}, "y": 0}}
    arguments = {"value": {"from_node": "c"}, "accept": {"from_parameter": "x"}, "reject": -1}
    graph = {"c": compare, "i": {"process_id": "if", "arguments": arguments, "result": True}}
    expected = np.where(values() > 0, values(), -1)
    np.testing.assert_array_equal(applied(graph, values()).values, expected)


def applied(callback, given):
    outer = {"data": {"from_parameter": "cube"}, "process": {"process_graph": callback}}
    graph = {"outer": {"process_id": "apply", "arguments": outer, "result": True}}
    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = execute(graph, parameters={"cube": cube(given)})
    assert isinstance(result.data, da.Array)
    return result


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_comparisons_keep_truth_values_small(dtype):
    node = {"process_id": "gt", "arguments": {"x": {"from_parameter": "x"}, "y": 1}, "result": True}
    result = applied({"compare": node}, np.arange(8, dtype=dtype).reshape(2, 2, 2))
    assert result.dtype == ("bool" if dtype == "uint16" else "float32")


def test_a_list_of_bands_is_an_array_of_its_own():
    """`sum([data[0], data[6]])` sums the two, not what each has along the time."""

    def element(index):
        arguments = {"data": {"from_parameter": "data"}, "index": index}
        return {"process_id": "array_element", "arguments": arguments}

    bands = [{"from_node": "a"}, {"from_node": "b"}]
    callback = {
        "a": element(0),
        "b": element(6),
        "sum": {"process_id": "sum", "arguments": {"data": bands}, "result": True},
    }
    outer = {
        "data": {"from_parameter": "cube"},
        "dimension": "t",
        "reducer": {"process_graph": callback},
    }
    graph = {"outer": {"process_id": "reduce_dimension", "arguments": outer, "result": True}}
    result = execute(graph, parameters={"cube": cube()})
    both = np.isnan(values()[0]) & np.isnan(values()[6])
    expected = np.where(both, np.nan, np.nansum(values()[[0, 6]], axis=0))
    np.testing.assert_array_equal(result.values, expected)
