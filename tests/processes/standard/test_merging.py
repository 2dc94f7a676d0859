"""Two cubes as one, against NumPy: side by side, overlapping, on other grids, of fewer dimensions."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.processes.standard.merging import merge_cubes


def larger(*, positional_parameters, named_parameters):
    return np.maximum(named_parameters["x"], named_parameters["y"])


def bands(cube, *names):
    return cube.assign_coords(bands=list(names))


def test_other_bands_stand_behind_in_as_many_chunks_and_as_integers():
    one, two = fakes.cube(seed=1), bands(fakes.cube(seed=2), "a", "b", "c")
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = merge_cubes(one, two)
    assert found.dtype == np.uint16
    assert found.bands.values.tolist() == [*fakes.RGB, "a", "b", "c"]
    assert found.data.npartitions == one.data.npartitions + two.data.npartitions
    np.testing.assert_array_equal(found.values, np.concatenate([one.values, two.values], axis=1))


def test_attributes_are_those_that_both_have():
    one = fakes.cube().assign_attrs({"units": "1", "nc:model": "a", "nc:scale": 0.1})
    two = bands(fakes.cube(), "a", "b", "c").assign_attrs({"units": "1", "nc:model": "b"})
    assert merge_cubes(one, two).attrs == {"units": "1"}


def test_overlap_takes_a_resolver_and_dates_are_sorted():
    cube = fakes.cube(dates=3, seed=4)
    one, two = cube.isel(t=[0, 2]), cube.isel(t=[1, 2]) + 1
    with pytest.raises(errors.OverlapResolverMissingError):
        merge_cubes(one, two)
    found = merge_cubes(one, two, larger)
    np.testing.assert_array_equal(found.t.values, cube.t.values)
    np.testing.assert_array_equal(
        found.values, cube.values + np.array([0, 1, 1]).reshape(3, 1, 1, 1)
    )
    np.testing.assert_array_equal(merge_cubes(one, one, larger).values, one.values)


def test_overlap_along_two_dimensions():
    cube = fakes.cube(20, 30, dtype="float32", seed=5)
    one, two = cube[..., :12, :20], cube[..., 8:, 10:] * 2
    found = merge_cubes(one, two, larger)
    expected = np.full(cube.shape, np.nan, np.float32)
    expected[..., 8:, 10:] = two.values
    expected[..., :12, :20] = np.fmax(expected[..., :12, :20], one.values)
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.y.values, cube.y.values)


def test_integers_are_widened_with_the_no_data_that_both_state():
    cube = fakes.cube(20, 30, nodata=0)
    found = merge_cubes(cube[..., :10, :15], cube[..., 10:, 15:])
    assert found.dtype == cube.dtype
    assert found.attrs["_FillValue"] == 0
    np.testing.assert_array_equal(found.values[..., :10, :15], cube.values[..., :10, :15])
    assert (found.values[..., :10, 15:] == 0).all()


def test_pixels_of_another_grid_are_the_nearest_in_the_chunks_of_the_first():
    one = fakes.cube(40, 36, dtype="float32")
    two = bands(fakes.cube(20, 18, res=20.0, dtype="float32", chunks=(1, 3, 2, 2)), "a", "b", "c")
    found = merge_cubes(one, two)
    assert found.chunksizes["y"] == one.chunksizes["y"]
    coarse = two.values.repeat(2, -1).repeat(2, -2)
    np.testing.assert_array_equal(found.values[:, 3:], coarse)


def test_coordinates_that_differ_by_rounding_are_the_same_pixels():
    one = fakes.cube(dtype="float32")
    two = bands(one, "a", "b", "c").assign_coords(x=one.x + 1e-6, y=one.y - 1e-6)
    found = merge_cubes(one, two)
    assert found.sizes["x"] == one.sizes["x"]
    np.testing.assert_array_equal(found.values[:, 3:], one.values)


def test_a_cube_of_fewer_dimensions_meets_each_label():
    cube = fakes.cube(dtype="float32")
    height = cube.isel(t=0, bands=0, drop=True)
    with pytest.raises(errors.OverlapResolverMissingError):
        merge_cubes(cube, height)
    for found in (merge_cubes(cube, height, larger), merge_cubes(height, cube, larger)):
        assert found.dims == cube.dims
        np.testing.assert_array_equal(found.values, np.maximum(cube.values, height.values))


def test_cubes_of_different_kinds_are_refused():
    cube = fakes.cube()
    with pytest.raises(errors.IncompatibleDataCubesError, match="add_dimension"):
        merge_cubes(cube.isel(t=0, drop=True), cube.isel(bands=0, drop=True))
    with pytest.raises(errors.IncompatibleDataCubesError, match=r"[Rr]aster"):
        merge_cubes(cube, None)
