"""Cubes from files: what rasterio reads is what the cube holds, dated as the files say."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import rasterio

from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.stack import open_source
from openeo_nc.cubes.store import write_store
from openeo_nc.errors import FormatUnsuitableError, GridMismatchError
from openeo_nc.processes.save_result import save_result


def write(path, values, *, nodata=None, names=("B02", "B03"), left=600_000, tags=None):
    profile = {
        "driver": "GTiff", "dtype": values.dtype, "count": len(values), "nodata": nodata,
        "height": values.shape[1], "width": values.shape[2], "crs": "EPSG:32631",
        "transform": rasterio.Affine(10, 0, left, 0, -10, 5_000_000),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
        file.descriptions = names
        file.update_tags(**(tags or {}))
    return path


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(1, 9000, (2, 20, 30)).astype("uint16")


@pytest.mark.parametrize("form", ["GTIFF", "ZARR"])
def test_what_was_saved_opens_again(tmp_path, form):
    cube = fakes.cube(nodata=0)
    with output_folder(tmp_path / "out"):
        save_result(cube, form)
    folder = tmp_path / "out" / ("result.zarr" if form == "ZARR" else "")
    again = open_source(folder)
    np.testing.assert_array_equal(again.transpose(*cube.dims), cube)
    for dim in ("t", "bands", "y", "x"):
        np.testing.assert_array_equal(again[dim], cube[dim])
    assert again.rio.crs == cube.rio.crs
    assert again.attrs["_FillValue"] == 0
    assert again.chunks is not None


def test_dates_are_those_of_tags_else_of_names(tmp_path, values):
    write(tmp_path / "a_20220601T100000.tif", values)
    write(tmp_path / "b.tif", values + 1, tags={"datetime": "2022-06-05T10:00:00Z"})
    write(tmp_path / "c-2022-06-09.tif", values + 2)
    cube = open_source(tmp_path)
    days = ["2022-06-01", "2022-06-05T10", "2022-06-09"]
    np.testing.assert_array_equal(cube.t, np.array(days, "datetime64[ns]"))
    np.testing.assert_array_equal(cube.isel(t=2), values + 2)


def test_a_file_without_a_date_is_an_image(tmp_path, values):
    cube = open_source(write(tmp_path / "image.tif", values, nodata=3))
    assert cube.dims == ("bands", "y", "x")
    assert list(cube.bands.values) == ["B02", "B03"]
    assert cube.attrs == {"_FillValue": 3}
    bare = open_source(write(tmp_path / "bare.tif", values, names=(None, None)))
    assert list(bare.bands.values) == ["1", "2"]


def test_nodata_of_floats_is_nan(tmp_path, values):
    floats = values.astype("float32")
    floats[0, :3] = -9999
    cube = open_source(write(tmp_path / "f.tif", floats, nodata=-9999))
    np.testing.assert_array_equal(cube, np.where(floats == -9999, np.nan, floats))
    assert "_FillValue" not in cube.attrs


def test_what_is_no_stack_is_refused(tmp_path, values):
    with pytest.raises(FormatUnsuitableError, match="no Zarr store"):
        open_source(tmp_path)
    (tmp_path / "bad.tif").write_text("nothing")
    with pytest.raises(FormatUnsuitableError, match="cannot be read"):
        open_source(tmp_path / "bad.tif")
    folder = tmp_path / "stack"
    folder.mkdir()
    write(folder / "2022-06-01.tif", values)
    write(folder / "2022-06-02.tif", values, left=600_010)
    with pytest.raises(GridMismatchError, match="2022-06-02"):
        open_source(folder)


def test_a_plain_store_is_a_cube_too(tmp_path):
    cube = fakes.cube()
    write_store(cube * 1, tmp_path / "plain.zarr")
    np.testing.assert_array_equal(open_source(tmp_path / "plain.zarr"), cube)
