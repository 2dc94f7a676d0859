"""PNG: pictures that rasterio reads, stretched as asked, transparent where there is no data."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import rasterio

from openeo_nc import errors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.processes.save_result import save_result

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def saved(cube, tmp_path, **options):
    with output_folder(tmp_path / "out") as outputs:
        save_result(cube, "PNG", options)
    return outputs.saved[0]


def read(path):
    with rasterio.open(path) as file:
        assert file.driver == "PNG"
        return file.read()


def test_three_bands_are_red_green_and_blue_between_two_values(codecs, tmp_path):
    cube = fakes.cube(40, 36, dtype="float32")
    cube = cube.where((cube.x != cube.x[0]) | (cube.bands != fakes.RGB[1]))
    result = saved(cube, tmp_path, min=100, max=2100)
    assert [f.name for f in result.files] == ["result_2022-06-01.png", "result_2022-06-06.png"]
    assert sorted(p.name for p in result.path.parent.iterdir()) == [f.name for f in result.files]
    for path, date in zip(result.files, cube.values, strict=True):
        picture = read(path)
        seen = np.isfinite(date).all(axis=0)
        expected = np.clip((date - 100) / 2000 * 255, 0, 255)
        np.testing.assert_array_equal(picture[3], np.where(seen, 255, 0))
        assert np.abs(picture[:3] - expected)[:, seen].max() <= 0.51
        assert not seen.all()


def test_a_band_in_grey_between_its_own_percentiles(codecs, tmp_path):
    cube = fakes.cube(dtype="uint16", nodata=0).isel(t=0, drop=True)
    band = cube.sel(bands=fakes.RGB[2]).values.astype(float)
    result = saved(cube, tmp_path, gray=fakes.RGB[2], filename_prefix="grey")
    assert [f.name for f in result.files] == ["grey.png"]
    picture = read(result.path)
    low, high = np.percentile(band[band != 0], (2, 98))
    expected = np.clip((band - low) / (high - low) * 255, 0, 255)
    assert picture.shape == (2, *band.shape)
    assert np.abs(picture[0] - expected)[band != 0].max() <= 0.51
    np.testing.assert_array_equal(picture[1] > 0, band != 0)


def test_colours_are_the_bands_that_are_named(codecs, tmp_path):
    cube = fakes.cube(dtype="float32").isel(t=0)
    blue, green, red = reversed(fakes.RGB)
    swapped = read(saved(cube, tmp_path / "a", red=blue, green=green, blue=red, min=0, max=9).path)
    plain = read(saved(cube, tmp_path / "b", min=0, max=9).path)
    np.testing.assert_array_equal(swapped[[2, 1, 0, 3]], plain)


def test_a_cube_without_data_is_transparent(codecs, tmp_path):
    cube = fakes.cube(dtype="float32").isel(t=0) * np.nan
    assert not read(saved(cube, tmp_path).path)[3].any()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"red": "B04"}, errors.InvalidParameterError),
        ({"gray": 4}, errors.InvalidParameterError),
        ({"gray": "nowhere"}, errors.FormatUnsuitableError),
        ({"min": 3, "max": 3}, errors.InvalidParameterError),
        ({"min": "dark"}, errors.InvalidParameterError),
        ({"colormap": "jet"}, errors.InvalidParameterError),
    ],
)
def test_options_that_mean_nothing_are_refused(codecs, tmp_path, options, error):
    with pytest.raises(error):
        saved(fakes.cube(), tmp_path, **options)


def test_what_no_picture_shows_is_refused(codecs, tmp_path):
    two = fakes.cube().isel(bands=[0, 1])
    with pytest.raises(errors.FormatUnsuitableError, match="one band or three"):
        saved(two, tmp_path / "b")
