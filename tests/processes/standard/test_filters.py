"""Filters by place and time: labels are chosen, numbers and their type stay."""

from __future__ import annotations

import dask
import fakes
import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr

from openeo_nc import errors
from openeo_nc.processes.standard.filters import filter_bbox, filter_temporal

BOX = {"west": 600_050, "east": 600_150, "south": 4_999_800, "north": 4_999_995, "crs": 32631}


def test_pixels_whose_centres_lie_in_the_box_or_on_its_edge():
    cube = fakes.cube()  # 10 m, centres at 5 m
    with dask.config.set(scheduler=fakes.raising_scheduler):
        part = filter_bbox(cube, BOX)
    assert part.dtype == cube.dtype
    np.testing.assert_array_equal(part.values, cube.values[:, :, :20, 5:15])
    on_edge = filter_bbox(cube, BOX | {"west": 600_055, "east": 600_055})
    assert on_edge.x.values.tolist() == [600_055]
    again = filter_bbox(on_edge, BOX)  # one pixel wide
    np.testing.assert_array_equal(again.values, on_edge.values)


def test_a_box_beside_the_cube_leaves_no_labels():
    part = filter_bbox(fakes.cube(), BOX | {"west": 0, "east": 10})
    assert part.sizes["x"] == 0


def test_no_coordinate_is_added():
    bare = fakes.cube().drop_vars("spatial_ref")
    with pytest.raises(errors.CRSMissingError):
        filter_bbox(bare, BOX)
    with pytest.raises(errors.DimensionNotAvailableError):
        filter_bbox(bare.rename(x="u"), BOX)


def test_vectors_that_lie_in_the_box_whole():
    shapes = [shapely.box(0, 0, 1, 1), shapely.box(0.5, 0, 3, 1), shapely.Point(1.5, 1.5)]
    box = {"west": 0, "south": 0, "east": 2, "north": 2}
    frame = gpd.GeoDataFrame({"value": [1, 2, 3]}, geometry=shapes, crs=4326)
    assert filter_bbox(frame, box)["value"].tolist() == [1, 3]
    cube = xr.DataArray(
        [[1.0], [2.0], [3.0]], dims=("geometry", "embedding"), coords={"geometry": shapes}
    ).xvec.set_geom_indexes("geometry", crs=4326)
    assert filter_bbox(cube, box).values[:, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("extent", "kept"),
    [
        (["2022-06-01", "2022-06-06"], [0]),
        (["2022-06-02", None], [1, 2]),
        ([None, "2022-06-06T00:00:01Z"], [0, 1]),
        (["2030-01-01", None], []),
    ],
)
def test_the_end_is_excluded(extent, kept):
    cube = fakes.cube(dates=3)
    part = filter_temporal(cube, extent)
    assert part.dtype == cube.dtype
    np.testing.assert_array_equal(part.values, cube.values[kept])


def test_extents_and_labels_that_mean_nothing_are_refused():
    cube = fakes.cube()
    with pytest.raises(errors.TemporalExtentEmptyError):
        filter_temporal(cube, ["2022-06-06", "2022-06-06"])
    with pytest.raises(errors.DimensionNotAvailableError):
        filter_temporal(cube, ["2022-06-06", None], "when")
    with pytest.raises(errors.DimensionNotAvailableError):
        filter_temporal(cube.isel(t=0, drop=True), ["2022-06-06", None])
    seasons = cube.assign_coords(t=["2022-mam", "2022-jja"])
    with pytest.raises(errors.InvalidParameterError, match="no dates"):
        filter_temporal(seasons, ["2022-06-06", None])
