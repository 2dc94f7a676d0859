"""Masks by cubes and by geometries, against pixels chosen by hand and by shapely's own points."""

from __future__ import annotations

import dask
import dask.array as da
import fakes
import numpy as np
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr

from openeo_nc import errors
from openeo_nc.graphs import execute

CRS = {"type": "name", "properties": {"name": "EPSG:32631"}}


def cube(bands=2, dtype="float32"):
    """`(bands, y, x)` of 6 x 8 pixels of 10 m; one pixel without data."""
    values = np.arange(bands * 48, dtype=dtype).reshape(bands, 6, 8) + 1
    if dtype == "float32":
        values[0, 0, 0] = np.nan
    data = xr.DataArray(
        da.from_array(values, chunks=(1, 3, 3)),
        dims=("bands", "y", "x"),
        coords={
            "bands": list("ab")[:bands],
            "y": 5_000_055.0 - 10 * np.arange(6),
            "x": 500_005.0 + 10 * np.arange(8),
        },
        attrs={"a": 1},
    )
    return data.rio.write_crs("EPSG:32631")


def run(process_id, **arguments):
    cubes = {n: v for n, v in arguments.items() if isinstance(v, xr.DataArray)}
    arguments |= {name: {"from_parameter": name} for name in cubes}
    graph = {"n": {"process_id": process_id, "arguments": arguments, "result": True}}
    with dask.config.set(scheduler=fakes.raising_scheduler):
        result = execute(graph, parameters=cubes)
    assert isinstance(result.data, da.Array)
    assert result.attrs["a"] == 1
    assert result.rio.crs.to_epsg() == 32631
    return result


def polygon(*corners):
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]], "crs": CRS}


TRIANGLE = polygon((500_004, 5_000_004), (500_064, 5_000_004), (500_004, 5_000_054))


def in_triangle(data):
    area = shapely.geometry.shape(TRIANGLE)
    return np.array(
        [[area.intersects(shapely.Point(x, y)) for x in data.x.values] for y in data.y.values]
    )


def test_pixels_are_replaced_where_the_mask_is_not_zero():
    data = cube()
    mask = data.isel(bands=0, drop=True).copy(
        data=da.from_array(np.where(np.eye(6, 8) > 0, 2.0, 0.0))
    )
    mask[5, 7] = np.nan
    result = run("mask", data=data, mask=mask)
    expected = np.where(np.eye(6, 8) > 0, np.nan, data.values)
    np.testing.assert_array_equal(result.values, expected)
    assert result.dtype == data.dtype
    whole = run("mask", data=cube(dtype="uint8"), mask=mask, replacement=0)
    assert whole.dtype == "uint8"
    np.testing.assert_array_equal(
        whole.values, np.where(np.eye(6, 8) > 0, 0, cube(dtype="uint8").values)
    )


# pixels of 1 m from the origin are GDAL's default, which it takes for none
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_mask_on_another_grid_is_resampled_to_the_nearest():
    data = cube()
    coarse = (data.isel(bands=0, drop=True) > 24).astype("float32").coarsen(x=2, y=2).max()
    result = run("mask", data=data, mask=coarse.rio.write_crs("EPSG:32631"))
    near = np.repeat(np.repeat(coarse.values, 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(result.values, np.where(near > 0, np.nan, data.values))


def test_masks_that_do_not_fit_are_typed_errors():
    data = cube()
    other = data.assign_coords(bands=["a", "c"])
    with pytest.raises(errors.IncompatibleDataCubesError, match="labels of 'bands'"):
        run("mask", data=data, mask=other)
    with pytest.raises(errors.IncompatibleDataCubesError, match="lacks the mask's t"):
        run("mask", data=data, mask=data.expand_dims(t=2))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("replacement", [None, -9])
def test_polygons_take_the_pixels_whose_centres_they_have(inside, replacement):
    data = cube()
    result = run("mask_polygon", data=data, mask=TRIANGLE, inside=inside, replacement=replacement)
    chosen = in_triangle(data) if inside else ~in_triangle(data)
    value = np.nan if replacement is None else replacement
    expected = np.where(chosen & ~np.isnan(data.values), value, data.values)
    np.testing.assert_array_equal(result.values, expected)


def test_geojson_is_in_degrees_unless_it_says_otherwise():
    data = cube()
    square = {"type": "Polygon", "coordinates": [
        [[2.9, 45.1], [3.1, 45.1], [3.1, 45.2], [2.9, 45.2], [2.9, 45.1]]]}  # fmt: skip
    feature = {"type": "Feature", "geometry": square, "properties": {}}
    collection = {"type": "FeatureCollection", "features": [feature]}
    for mask in (square, feature, collection):
        np.testing.assert_array_equal(run("mask_polygon", data=data, mask=mask).values, data.values)


def test_filtering_crops_to_the_bounds_and_leaves_holes():
    data = cube()
    result = run("filter_spatial", data=data, geometries=TRIANGLE)
    kept = in_triangle(data)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    expected = np.where(kept, data.values, np.nan)[:, rows][:, :, columns]
    np.testing.assert_array_equal(result.values, expected)
    away = polygon((0, 0), (1, 0), (1, 1))
    assert run("filter_spatial", data=data, geometries=away).shape == (2, 0, 0)


def test_points_and_lines_take_the_nearest_pixels():
    data = cube()
    point = {"type": "Point", "coordinates": [500_027, 5_000_031], "crs": CRS}
    result = run("filter_spatial", data=data, geometries=point)
    assert (result.x.values.tolist(), result.y.values.tolist()) == ([500_025.0], [5_000_035.0])
    line = {"type": "LineString", "coordinates": [[500_001, 5_000_045], [500_079, 5_000_045]],
            "crs": CRS}  # fmt: skip
    np.testing.assert_array_equal(
        run("filter_spatial", data=data, geometries=line).values, data.values[:, 1:2]
    )


@pytest.mark.parametrize(
    "mask",
    [
        {"type": "Polygon"},
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "FeatureCollection", "features": []},
    ],
)
def test_what_is_no_polygon_is_a_typed_error(mask):
    with pytest.raises(errors.GeometryInvalidError):
        run("mask_polygon", data=cube(), mask=mask)
