"""The tile grid against hand arithmetic, rasterio windows and properties over random crops."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_nc.cubes.dims import crs_of, fill_value, in_order, labels
from openeo_nc.cubes.grid import TileGrid, centres, pad_to_tiles, resolution_of
from openeo_nc.errors import (
    CRSMissingError,
    DimensionMissingError,
    GridMismatchError,
    NoDataAvailableError,
)


def cube(left, top, res, width, height, crs="EPSG:32631", dtype="float32", bands=2):
    res_x, res_y = res if isinstance(res, tuple) else (res, res)
    data = np.arange(bands * width * height).reshape(1, bands, height, width).astype(dtype)
    return xr.DataArray(
        da.from_array(data, chunks=(1, 1, 50, 50)),
        dims=("t", "bands", "y", "x"),
        coords={
            "t": np.array(["2022-01-01"], "datetime64[ns]"),
            "bands": [f"B{i:02d}" for i in range(bands)],
            "y": centres(top, -res_y, height),
            "x": centres(left, res_x, width),
        },
    ).rio.write_crs(crs)


def raises_on_compute(*args, **kwargs):
    raise AssertionError("building a cube computed something")


def test_tiles_are_counted_from_the_crs_origin():
    grid = TileGrid.of(cube(600_000, 5_000_040, 10, 100, 100), 384)
    assert (grid.crs, grid.res_x, grid.res_y) == ("EPSG:32631", 10, 10)
    assert (grid.phase_x, grid.phase_y) == (0, 0)
    i = 600_000 // 3840
    assert grid.tile_bounds(i, -1) == (i * 3840, 0, (i + 1) * 3840, 3840)
    window = grid.window(cube(600_000, 5_000_040, 10, 100, 100))
    assert window.i0 == i
    assert window.pad_left == (600_000 - i * 3840) // 10
    top_of_first = -window.j0 * 3840
    assert 0 <= top_of_first - 5_000_040 < 3840
    assert window.pad_top * 10 == top_of_first - 5_000_040
    assert window.pad_left + 100 + window.pad_right == 384 * window.ni


def test_a_crop_is_on_the_same_grid_as_its_source():
    source = cube(0.1234567, 41.987654, (1.2e-4, 9e-5), 380, 377, "EPSG:4326")
    crop = source.isel(x=slice(17, 60), y=slice(200, 377))
    assert TileGrid.of(source, 64) == TileGrid.of(crop, 64)
    assert TileGrid.of(source, 64).id == TileGrid.of(crop, 64).id
    grid = TileGrid.of(source, 64)
    whole, part = grid.window(source), grid.window(crop)
    assert (part.i0 * 64 + part.pad_left) - (whole.i0 * 64 + whole.pad_left) == 17
    assert (part.j0 * 64 + part.pad_top) - (whole.j0 * 64 + whole.pad_top) == 200


def test_a_phase_makes_another_grid():
    plain, shifted = cube(600_000, 5e6, 10, 9, 9), cube(600_003.7, 5e6 - 2, 10, 9, 9)
    a, b = TileGrid.of(plain, 384), TileGrid.of(shifted, 384)
    assert a.id != b.id
    assert b.phase_x == pytest.approx(3.7)
    assert b.phase_y == pytest.approx(8.0)
    with pytest.raises(GridMismatchError, match="pixels off the grid"):
        a.window(shifted)


def test_a_grid_refuses_other_resolutions_and_crs():
    grid = TileGrid.of(cube(0, 1000, 10, 9, 9), 16)
    with pytest.raises(GridMismatchError, match="20 x 20"):
        grid.window(cube(0, 1000, 20, 9, 9))
    with pytest.raises(GridMismatchError, match="EPSG:32632"):
        grid.window(cube(0, 1000, 10, 9, 9, "EPSG:32632"))


@settings(max_examples=60, deadline=None)
@given(
    left=st.integers(-5000, 5000),
    top=st.integers(-5000, 5000),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    tile=st.sampled_from([1, 16, 64, 384]),
    res=st.sampled_from([(10.0, 10.0), (20.0, 10.0), (9.013e-5, 6.71e-5)]),
)
def test_windows_cover_the_cube_with_whole_tiles(left, top, width, height, tile, res):
    grid = TileGrid.at("EPSG:32631", res, (0.3 * res[0], 0.6 * res[1]), tile)
    window = grid.cover(left, top, width, height)
    assert 0 <= window.pad_left < tile
    assert 0 <= window.pad_top < tile
    assert 0 <= window.pad_right < tile
    assert 0 <= window.pad_bottom < tile
    assert window.pad_left + width + window.pad_right == window.ni * tile
    assert window.pad_top + height + window.pad_bottom == window.nj * tile
    bounds = grid.bounds(left, top, width, height)
    assert grid.pixels(bounds) == (left, top, width, height)
    assert grid.snap_bounds(bounds) == pytest.approx(bounds)


def test_pixels_are_those_with_their_centre_inside():
    grid = TileGrid.at("EPSG:32631", (10, 10), (0, 0), 384)
    assert grid.pixels((4, -36, 26, -4)) == (0, 0, 3, 4)
    assert grid.pixels((6, -34, 24, -6)) == (1, 1, 1, 2)
    with pytest.raises(NoDataAvailableError, match="no pixel centre"):
        grid.pixels((6, -9, 9, -6))


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16"])
def test_padding_is_lazy_whole_and_keeps_the_pixels(dtype):
    source = cube(600_070, 5_000_040, 10, 100, 70, dtype=dtype)
    with dask.config.set(scheduler=raises_on_compute):
        padded = pad_to_tiles(source, 64)
    assert padded.data.chunksize == (1, 2, 64, 64)
    assert all(size % 64 == 0 for size in padded.shape[2:])
    assert TileGrid.of(padded, 64) == TileGrid.of(source, 64)
    assert TileGrid.of(padded, 64).window(padded).whole
    back = padded.sel(x=source.x, y=source.y)
    np.testing.assert_array_equal(back.values, source.values)
    fill = fill_value(padded)
    expected = {"float32": np.nan, "int16": -32768, "uint16": 65535}[dtype]
    np.testing.assert_equal(fill, expected)
    outside = ~(padded.x.isin(source.x) & padded.y.isin(source.y))
    values = padded.values[0, 0][outside.transpose("y", "x").values]
    assert (np.isnan(values) if dtype == "float32" else values == fill).all()


def test_whole_tiles_are_not_padded_and_a_stated_fill_value_is_used():
    source = cube(0, 640, 10, 64, 64, dtype="int16")
    assert pad_to_tiles(source, 64).shape == source.shape
    source = cube(10, 640, 10, 64, 64, dtype="int16").assign_attrs(_FillValue=-999)
    padded = pad_to_tiles(source, 64)
    assert padded.attrs["_FillValue"] == -999
    assert (padded.isel(x=0) == -999).all().compute()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda c: c.isel(y=slice(None, None, -1)), GridMismatchError, "y increases"),
        (lambda c: c.isel(x=slice(None, None, -1)), GridMismatchError, "x decreases"),
        (lambda c: c.isel(x=[0, 1, 3]), GridMismatchError, "evenly"),
        (lambda c: c.isel(x=[0]), GridMismatchError, "one pixel wide"),
        (lambda c: c.drop_vars("x"), GridMismatchError, "no x coordinates"),
        (lambda c: c.isel(x=0, drop=True), DimensionMissingError, "lacks the dimension x"),
        (lambda c: c.drop_vars("spatial_ref"), CRSMissingError, "spatial_ref"),
    ],
)
def test_bad_coordinates_are_typed_errors(change, error, match):
    with pytest.raises(error, match=match):
        TileGrid.of(change(cube(0, 640, 10, 8, 8)), 64)


def test_a_geotransform_gives_the_size_of_a_single_pixel():
    source = cube(0, 640, 10, 8, 8).rio.write_transform()
    assert resolution_of(source.isel(x=[3], y=[2])) == (10, 10)
    assert TileGrid.of(source.isel(x=[3]), 64) == TileGrid.of(source, 64)


def test_dims_in_order_and_labels():
    source = cube(0, 640, 10, 8, 9)
    assert in_order(source.transpose("x", "t", "y", "bands")).dims == source.dims
    assert labels(source) == ("B00", "B01")
    assert labels(source.drop_vars("bands")) == ("0", "1")
    assert crs_of(source).to_epsg() == 32631
    with pytest.raises(DimensionMissingError, match="Reduce or drop z"):
        in_order(source.expand_dims("z"))
