"""Cubes on other grids: against blocks of NumPy where pixels nest, and rasterio where CRSs differ."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest
from rasterio.warp import Resampling, reproject

from openeo_nc import errors
from openeo_nc.processes.standard.resampling import resample_cube_spatial, resample_spatial

pytestmark = [  # of odc-geo
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform"),
]


@pytest.fixture
def cube():
    return fakes.cube(40, 36, dtype="float32")


def test_smaller_pixels_repeat(cube):
    with dask.config.set(scheduler=fakes.raising_scheduler):
        fine = resample_spatial(cube, [5, 10])
    np.testing.assert_array_equal(fine.values, cube.values.repeat(2, -1))
    assert fine.rio.resolution() == (5, -10)
    assert fine.dims == cube.dims
    assert fine.attrs == cube.attrs


@pytest.mark.parametrize(
    ("align", "rows", "columns"),
    [("upper-left", 0, 0), ("lower-left", 1, 0), ("upper-right", 0, 1), ("lower-right", 1, 1)],
)
def test_the_named_corner_stays(cube, align, rows, columns):
    """37 x 38 pixels in blocks of three leave some over on the other sides."""
    part = cube[..., :37, :35]
    coarse = resample_spatial(part, 30, align=align)
    left, bottom, right, top = part.rio.bounds()
    found = coarse.rio.bounds()
    corner = (found[2], right) if columns else (found[0], left)
    assert corner[0] == corner[1]
    corner = (found[1], bottom) if rows else (found[3], top)
    assert corner[0] == corner[1]
    assert coarse.shape[-2:] == (13, 12)


def test_means_of_blocks(cube):
    found = resample_spatial(cube, 20, method="average")
    blocks = cube.values.reshape(2, 3, 20, 2, 18, 2).mean((3, 5))
    np.testing.assert_allclose(found.values, blocks, rtol=1e-5)


def test_another_crs(cube):
    found = resample_spatial(cube, 10, 32632).compute()
    assert found.rio.crs.to_epsg() == 32632
    expected = np.full(found.shape[-2:], np.nan, np.float32)
    reproject(
        cube.values[0, 0], expected, src_transform=cube.rio.transform(), src_crs=cube.rio.crs,
        dst_transform=found.rio.transform(), dst_crs=found.rio.crs,
        src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.nearest,
    )  # fmt: skip
    assert (np.isnan(expected) == np.isnan(found.values[0, 0])).mean() > 0.99
    assert (expected == found.values[0, 0]).mean() > 0.9 * np.isfinite(expected).mean()


def test_pixels_of_another_cube_and_none_beyond(cube):
    target = fakes.cube(30, 60, x0=600_100.0, y0=4_999_900.0, res=20.0)
    for given in (cube, cube.astype("uint16")):
        found = resample_cube_spatial(given, target)
        np.testing.assert_array_equal(found.x.values, target.x.values)
        picked = given.values[..., 11:40:2, :][..., 11:36:2]
        rows, columns = picked.shape[-2:]
        np.testing.assert_array_equal(found.values[..., :rows, :columns], picked)
        beyond = found.values[..., rows:, :]
        nodata = found.attrs.get("_FillValue", np.nan)
        assert np.array_equal(beyond, np.full_like(beyond, nodata), equal_nan=True)


def test_what_is_no_resolution_or_no_grid_is_refused(cube):
    with pytest.raises(errors.InvalidParameterError):
        resample_spatial(cube, -10)
    with pytest.raises(errors.DimensionNotAvailableError):
        resample_spatial(cube.rename(x="u"), 20)
    with pytest.raises(errors.CRSMissingError):
        resample_spatial(cube.drop_vars("spatial_ref"), 20)
