"""Pictures: PNG against GDAL's reader, no data transparent, errors to scale."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.errors import NotGeoreferencedWarning

from openeo_nc.report import pictures


@pytest.mark.parametrize("channels", [3, 4])
def test_png_reads_back_in_gdal(tmp_path, channels):
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, channels), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(pictures.png(pixels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "a.png") as file:
            found = file.read().transpose(1, 2, 0)
    np.testing.assert_array_equal(found, pixels)


def test_no_data_is_transparent_and_limits_span_the_range():
    rgb = np.linspace(0, 1, 3 * 40).reshape(3, 4, 10)
    rgb[:, 0, 0] = np.nan
    image = pictures.true_colour(rgb, (0.0, 1.0))
    assert image[0, 0, 3] == 0
    assert (image[..., 3] == 255).sum() == 39
    assert image[-1, -1, 2] == 255


def test_clouds_on_one_date_do_not_darken_the_others():
    clear = np.random.default_rng(0).uniform(0, 0.2, (1, 3, 50, 50))
    cloudy = clear.copy()
    cloudy[..., :25] = 0.9
    low, high = pictures.stretch(np.concatenate([clear, cloudy]))
    assert high < 0.21
    assert low >= 0


def test_error_map_is_black_without_error_and_light_at_the_limit():
    original = np.zeros((5, 3, 4))
    image = pictures.error_map(original, original, 0.1)
    assert image[..., :3].max() <= 4
    image = pictures.error_map(original, original + 0.1, 0.1)
    assert image[..., :3].min() >= 190


def test_embedding_colours_share_one_rotation():
    values = np.random.default_rng(0).normal(size=(2, 6, 8, 9))
    values[1, :, :3, :3] = values[0, :, :3, :3]
    values[1, :, 7, 8] = np.nan
    cube = xr.DataArray(values, dims=("t", "embedding", "y", "x"))
    first, second = pictures.principal_colours(cube)
    np.testing.assert_array_equal(first[:3, :3], second[:3, :3])
    assert second[7, 8, 3] == 0


def test_shrink_is_a_mean():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[::2] = 200
    small = pictures.shrink(pixels, 4)
    assert small.shape == (4, 4, 3)
    assert (small == 100).all()
