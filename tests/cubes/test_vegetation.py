"""NDVI's error against the index computed pixel by pixel."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.vegetation import ndvi_bands, ndvi_mae, ndvi_rmse
from openeo_nc.errors import BandMismatchError, DimensionMissingError


def cube(values, bands=("B03", "B04", "B08")):
    return xr.DataArray(
        np.asarray(values, float), dims=("bands", "y", "x"), coords={"bands": list(bands)}
    )


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    x = rng.uniform(100, 5000, (3, 7, 9))
    return cube(x), cube(x + rng.normal(0, 50, x.shape))


def naive(x, x_hat):
    errors = []
    for y in range(x.sizes["y"]):
        for column in range(x.sizes["x"]):
            (r, n), (rr, nn) = (v.values[1:, y, column] for v in (x, x_hat))
            if r + n > 0:
                index = (nn - rr) / (nn + rr) if nn + rr > 0 else 0
                errors.append(np.clip(index, -1, 1) - np.clip((n - r) / (n + r), -1, 1))
    return np.array(errors)


def test_errors_of_the_index(pair):
    errors = naive(*pair)
    assert float(ndvi_mae(*pair)) == pytest.approx(np.abs(errors).mean())
    assert float(ndvi_rmse(*pair)) == pytest.approx(np.sqrt((errors**2).mean()))


def test_pixels_without_an_index(pair):
    x, x_hat = pair
    x[1:, 0, :4] = 0.0  # the original has none: left out
    x_hat[1:, 3, 2:6] = [[-5.0] * 4, [1.0] * 4]  # only the reconstruction has none: 0
    x[2, 5, 1] = np.nan
    errors = naive(x, x_hat)
    assert errors.size == 63 - 4 - 1
    assert float(ndvi_mae(x, x_hat)) == pytest.approx(np.abs(errors).mean())


def test_lost_pixels_are_not_averaged_away(pair):
    x, x_hat = pair
    x_hat[2, 4, 4] = np.nan
    assert np.isnan(ndvi_mae(x, x_hat))
    x_hat[2, 4, 4] = 0
    x_hat[0, 4, 4] = np.nan  # another band
    assert np.isfinite(ndvi_rmse(x, x_hat))
    assert np.isnan(ndvi_mae(x * np.nan, x_hat))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("B02", "B04", "B08"), (1, 2)),
        (("nir", "green", "Red"), (2, 0)),
        (("B8A", "B04"), (1, 0)),
        (("B8A", "B04", "B08"), (1, 2)),
        (("B02", "B03"), None),
    ],
)
def test_bands_are_found_by_their_names(names, found):
    assert ndvi_bands(names) == found


def test_bands_may_be_named(pair):
    x, x_hat = (v.assign_coords(bands=["a", "b", "c"]) for v in pair)
    assert float(ndvi_mae(x, x_hat, red="b", nir="c")) == float(ndvi_mae(*pair))
    with pytest.raises(BandMismatchError, match="red and a near"):
        ndvi_mae(x, x_hat)
    with pytest.raises(BandMismatchError, match="here q"):
        ndvi_mae(*pair, red="q")
    with pytest.raises(DimensionMissingError, match="NDVI"):
        ndvi_mae(x.isel(bands=0), x_hat.isel(bands=0))


def test_lazy_a_value_a_date():
    original = fakes.cube(dtype="float32", bands=("B03", "B04", "B08"))
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = ndvi_mae(original, original + 10, dim=("y", "x"))
    assert found.dims == ("t",)
    computed = original.compute()
    for date in (0, 1):
        errors = naive(computed[date], computed[date] + 10)
        assert float(found[date]) == pytest.approx(np.abs(errors).mean())
