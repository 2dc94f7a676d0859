"""Metrics against plain NumPy formulas, their care for no data, and their laziness."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.metrics import bpppb, max_error, mse, psnr, rmse, sam
from openeo_nc.errors import DimensionMissingError, GridMismatchError, InvalidParameterError


@pytest.fixture
def pair():
    rng = np.random.default_rng(7)
    x = rng.integers(0, 14000, (3, 20, 30)).astype(np.uint16)
    x_hat = (x + rng.normal(0, 80, x.shape)).astype(np.float32)
    return x, x_hat


def cube(values, **coords):
    dims = ("t", "bands", "y", "x")
    labels = {name: np.arange(n) for name, n in zip(dims, values.shape, strict=True)} | coords
    return xr.DataArray(
        da.from_array(values, chunks=(1, *values.shape[1:])), dims=dims, coords=labels
    )


def must_not_compute(dsk, keys, **kwargs):
    raise AssertionError("building a metric computed something")


def test_psnr_is_that_of_the_tables(pair):
    x, x_hat = pair
    error = np.clip(x.astype(float), 0, 10000) - np.clip(x_hat.astype(float), 0, 10000)
    expected = 10 * np.log10(10000**2 / np.mean(error**2))
    assert psnr(x, x_hat, peak=10000, clip=True) == pytest.approx(expected, abs=1e-9)
    inside, near = x.clip(0, 10000), x_hat.clip(0, 10400)
    assert psnr(inside, near, peak=10000) == pytest.approx(expected, abs=1e-9)


def test_psnr_counts_errors_of_values_outside_the_peak(pair):
    x, x_hat = pair
    expected = 10 * np.log10(10000**2 / np.mean((x.astype(float) - x_hat) ** 2))
    assert psnr(x, x_hat, peak=10000) == pytest.approx(expected, abs=1e-9)
    below = x.astype(float) - 3000
    assert psnr(below, x_hat - 3000, peak=12000) == pytest.approx(
        expected + 20 * np.log10(1.2), abs=1e-6
    )
    # a number a band looks at the values of the band
    dark = np.concatenate([x[:1] / 2, x[1:]])
    values = xr.DataArray(dark, dims=("bands", "y", "x"))
    noisy = values.copy(data=np.where(dark > 6900, dark + 9000, dark + 5))
    of_bands = psnr(values, noisy, peak=10000, dim=("y", "x"))
    assert of_bands[0] == psnr(dark[:1], noisy.values[:1], peak=10000)
    assert of_bands[1] == psnr(dark[1:2], noisy.values[1:2], peak=10000)


def test_psnr_of_known_error():
    x = np.full((2, 4, 4), 5000, np.uint16)
    assert psnr(x, x + np.uint16(100), peak=10000) == pytest.approx(40.0)
    assert psnr(x, x, peak=10000) == np.inf


def test_unsigned_differences_do_not_wrap():
    x = np.zeros((1, 2, 2), np.uint16)
    assert mse(x, x + np.uint16(3)) == 9.0
    assert mse(x + np.uint16(3), x) == 9.0


def test_rmse_and_the_largest_error():
    x = np.array([[[1.0, 2.0], [np.nan, 4.0]]])
    x_hat = np.array([[[1.5, 2.0], [99.0, 1.0]]])
    assert rmse(x, x_hat) == pytest.approx(np.sqrt((0.25 + 0 + 9) / 3))
    assert max_error(x, x_hat) == 3.0
    assert max_error(x.astype(np.float32), x) == 0.0
    a = xr.DataArray(x, dims=("bands", "y", "x"))
    np.testing.assert_array_equal(max_error(a, a.copy(data=x_hat), dim="x"), [[0.5, 3.0]])


def test_psnr_without_a_peak_takes_the_range_of_the_original():
    x = np.array([[[-3.0, 1.0, np.nan]]])
    assert psnr(x, x + 0.4, peak=None) == pytest.approx(20.0)


def test_psnr_of_a_constant_without_peak_is_undefined():
    x = np.ones((1, 2, 2))
    assert np.isnan(psnr(x, x + 1, peak=None))


@pytest.mark.parametrize("peak", [0.0, -1.0, np.nan, np.inf])
def test_psnr_refuses_a_peak_that_is_none(pair, peak):
    with pytest.raises(InvalidParameterError, match="peak"):
        psnr(*pair, peak=peak)


def test_nan_and_nodata_are_left_out(pair):
    x, x_hat = pair[0].astype(np.float32), pair[1]
    hole = np.zeros(x.shape, bool)
    hole[1, 3:9] = True
    expected = np.mean((x[~hole].astype(float) - x_hat[~hole]) ** 2)
    with_nan = np.where(hole, np.nan, x)
    assert mse(with_nan, x_hat) == pytest.approx(expected)
    assert mse(with_nan, np.where(hole, np.nan, x_hat)) == pytest.approx(expected)
    assert mse(np.where(hole, -9999, x), x_hat, nodata=-9999) == pytest.approx(expected)
    marked = xr.DataArray(np.where(hole, -1, x), dims=("bands", "y", "x"), attrs={"_FillValue": -1})
    assert float(mse(marked, marked.copy(data=x_hat))) == pytest.approx(expected)


def test_a_lost_pixel_is_not_averaged_away(pair):
    x, x_hat = pair
    x_hat = x_hat.copy()
    x_hat[0, 0, 0] = np.nan
    assert np.isnan(mse(x, x_hat))
    assert np.isnan(rmse(x, x_hat))
    assert np.isnan(max_error(x, x_hat))
    assert np.isnan(psnr(x, x_hat, peak=10000))
    assert np.isnan(sam(x, x_hat))


def test_no_valid_pixel_gives_nan():
    x = np.full((2, 3, 3), np.nan)
    assert np.isnan(mse(x, x))
    assert np.isnan(max_error(x, x))
    assert np.isnan(psnr(x, x, peak=1.0))
    assert np.isnan(sam(x, x))


def test_spectral_angle():
    x = np.zeros((2, 1, 4))
    x_hat = np.zeros_like(x)
    x[:, 0, 0], x_hat[:, 0, 0] = (1, 0), (0, 5)  # 90 degrees
    x[:, 0, 1], x_hat[:, 0, 1] = (2, 1), (4, 2)  # scaled: 0
    x[:, 0, 2], x_hat[:, 0, 2] = (1, 0), (1, 1)  # 45
    x_hat[:, 0, 3] = (1, 1)  # the original is zero: no angle, left out
    assert sam(x, x_hat) == pytest.approx(45.0, abs=1e-5)
    assert sam(x[..., :1], x_hat[..., :1] * 0) == pytest.approx(90.0)


def test_spectral_angle_needs_all_bands_of_a_pixel():
    x = np.array([[[1.0, 1.0]], [[1.0, np.nan]]])
    x_hat = np.array([[[1.0, 0.0]], [[1.0, 7.0]]])
    assert sam(x, x_hat) == pytest.approx(0.0, abs=1e-5)


def test_lazy_and_equal_on_cubes(pair):
    x, x_hat = (np.stack([v, v[:, ::-1]]) for v in pair)
    x_hat = x_hat + np.array([0, 5], np.float32)[:, None, None, None]
    a, b = cube(x), cube(x_hat)
    over = ("bands", "y", "x")
    with dask.config.set(scheduler=must_not_compute):
        lazy = [psnr(a, b, peak=10000, dim=over)]
        lazy += [metric(a, b, dim=over) for metric in (mse, sam, rmse, max_error)]
    for metric, values in zip(
        (lambda p, q: psnr(p, q, peak=10000), mse, sam, rmse, max_error),
        dask.compute(*lazy),
        strict=True,
    ):
        assert values.dims == ("t",)
        np.testing.assert_allclose(
            values, [metric(p, q) for p, q in zip(x, x_hat, strict=True)], rtol=1e-12
        )
    assert float(mse(a, b).compute()) == pytest.approx(mse(x, x_hat))


def test_cubes_on_other_coordinates_are_refused(pair):
    x = pair[0][None]
    with pytest.raises(GridMismatchError, match="coordinates"):
        mse(cube(x), cube(x, x=np.arange(30) + 0.5))
    with pytest.raises(GridMismatchError, match="must agree"):
        mse(x, x[..., 1:])
    with pytest.raises(DimensionMissingError, match="time"):
        mse(cube(x), cube(x), dim=("time",))
    with pytest.raises(DimensionMissingError, match="bands"):
        sam(cube(x).isel(bands=0), cube(x).isel(bands=0))
    with pytest.raises(DimensionMissingError, match="5 dimensions"):
        mse(x[None], x[None])


def test_bits_per_pixel_per_band():
    assert bpppb(12 * 264 * 264 * 2, (12, 264, 264)) == 16.0
    assert bpppb(10, (1, 5, 4)) == 4.0
    with pytest.raises(InvalidParameterError):
        bpppb(10, (3, 0, 4))
