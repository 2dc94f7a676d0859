"""Windows with overlap: against SciPy's filters on the whole cube, and by what a process sees."""

from __future__ import annotations

import dask
import dask.array as da
import fakes
import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401
import scipy.ndimage
import xarray as xr

from openeo_nc import errors
from openeo_nc.graphs import execute
from openeo_nc.processes.standard.neighborhood import apply_neighborhood


def cube(times=4, chunks=(2, 5, 7)):
    """`(t, y, x)` of 13 x 17 pixels of 10 m."""
    rng = np.random.default_rng(5)
    data = xr.DataArray(
        da.from_array(rng.normal(size=(times, 13, 17)), chunks=chunks),
        dims=("t", "y", "x"),
        coords={
            "t": pd.date_range("2020-01-01", periods=times, freq="3D"),
            "y": 5_000_125.0 - 10 * np.arange(13),
            "x": 500_005.0 + 10 * np.arange(17),
        },
        attrs={"a": 1},
    )
    return data.rio.write_crs("EPSG:32631")


def spans(data, size, overlap=None):
    """What windows a process sees, and the result of one that changes nothing."""
    seen = []

    def process(window, **_):
        seen.append(window)
        return window

    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = apply_neighborhood(data, process, size, overlap)
    np.testing.assert_array_equal(result.values, data.values)
    return seen


def px(dimension, value):
    return {"dimension": dimension, "value": value, "unit": "px"}


def test_a_filter_of_windows_with_overlap_is_the_filter_of_the_cube():
    data = cube()

    def process(window, positional_parameters, named_parameters, cube):
        assert named_parameters == {"context": "c"}
        mean = da.map_blocks(
            lambda block: scipy.ndimage.uniform_filter(np.nan_to_num(block), (0, 3, 3),
                                                       mode="constant"),
            window.data.rechunk(window.shape), dtype=float,
        )  # fmt: skip
        return window.copy(data=mean)

    size, overlap = [px("x", 4), px("y", 6)], [px("x", 1), px("y", 1)]
    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = apply_neighborhood(data, process, size, overlap, "c")
    expected = scipy.ndimage.uniform_filter(data.values, (0, 3, 3), mode="constant")
    np.testing.assert_allclose(result.values, expected)
    assert result.attrs == data.attrs
    xr.testing.assert_equal(result.x, data.x)


def test_windows_tile_the_cube_and_the_overlap_leaves_it_as_no_data():
    seen = spans(cube(), [px("x", 10), px("y", 13)], [px("x", 2)])
    assert [window.shape for window in seen] == [(4, 13, 14), (4, 13, 11)]
    assert np.isnan(seen[0].values[:, :, :2]).all()
    assert not np.isnan(seen[0].values[:, :, 2:]).any()
    assert np.isnan(seen[1].values[:, :, -2:]).all()


def test_sizes_in_metres_and_in_time():
    size = [{"dimension": "x", "value": 90, "unit": "m"}, {"dimension": "t", "value": "P6D"}]
    assert [w.shape for w in spans(cube(), size)] == [(2, 13, 9), (2, 13, 8)] * 2
    reach = [{"dimension": "t", "value": "P3D"}]
    seen = spans(cube(), [{"dimension": "t", "value": "P3D"}], reach)
    assert [len(window.t) for window in seen] == [2, 3, 3, 2]


def test_one_dimension_is_an_array():
    sizes = [px("x", 1), px("y", 1)]
    data = cube().isel(x=slice(2), y=slice(2))
    assert [window.shape for window in spans(data, sizes)] == [(4,)] * 4


def test_a_graph_may_apply_processes_to_windows():
    inner = {"process_id": "add", "arguments": {"x": {"from_parameter": "data"}, "y": 1}}
    arguments = {
        "data": {"from_parameter": "cube"},
        "process": {"process_graph": {"a": inner | {"result": True}}},
        "size": [px("x", 8), px("y", 8)],
    }
    graph = {"n": {"process_id": "apply_neighborhood", "arguments": arguments, "result": True}}
    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = execute(graph, parameters={"cube": cube()})
    np.testing.assert_allclose(result.values, cube().values + 1)


def test_a_process_that_changes_the_shape_is_a_typed_error():
    with pytest.raises(errors.DataCubePropertiesImmutableError, match=r"\(4, 13, 8\)"):
        apply_neighborhood(cube(), lambda window, **_: window.mean("t"), [px("x", 8)])


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([px("x", 0)], "at least one pixel"),
        ([{"dimension": "x", "value": 15, "unit": "m"}], "1.5 pixels"),
        ([{"dimension": "x", "value": "P5D"}], "dimension of times"),
        ([{"dimension": "t", "value": "5 days"}], "no duration"),
    ],
)
def test_sizes_that_make_no_windows_are_typed_errors(size, message):
    with pytest.raises(errors.InvalidParameterError, match=message):
        apply_neighborhood(cube(), lambda window, **_: window, size)
    with pytest.raises(errors.DimensionNotAvailableError, match="'z'"):
        apply_neighborhood(cube(), lambda window, **_: window, [px("z", 1)])
