"""MS-SSIM against the paper's formulas written out window by window, with and without missing data."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.ssim import ms_ssim
from openeo_nc.errors import DimensionMissingError, GridMismatchError, InvalidParameterError

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def window():
    y, x = np.mgrid[-5:6, -5:6]
    kernel = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    return kernel / kernel.sum()


def naive(a, b, valid, span, scales=5):
    """Every window by itself, as the paper has it; windows around a missing pixel are left out."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]) * 1.0001  # as five sum to
    total = 1.0
    for scale in range(scales):
        contrast, full = [], []
        for y in range(5, a.shape[0] - 5):
            for x in range(5, a.shape[1] - 5):
                if not valid[y, x]:
                    continue
                place = (slice(y - 5, y + 6), slice(x - 5, x + 6))
                w = window() * valid[place]
                w /= w.sum()
                p, q = np.where(valid[place], (a[place], b[place]), 0)
                mp, mq = (w * p).sum(), (w * q).sum()
                vp, vq = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum()
                vpq = (w * (p - mp) * (q - mq)).sum()
                cs = (2 * vpq + c2) / (vp + vq + c2)
                contrast.append(cs)
                full.append(cs * (2 * mp * mq + c1) / (mp**2 + mq**2 + c1))
        term = np.mean(full if scale == scales - 1 else contrast)
        total *= max(term, 0) ** weights[scale]
        a, b, valid = halve(a, b, valid)
    return total


def halve(a, b, valid):
    h, w = (n // 2 for n in a.shape)
    small = [np.zeros((h, w)), np.zeros((h, w)), np.zeros((h, w), bool)]
    for y in range(h):
        for x in range(w):
            place = (slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
            some = valid[place]
            small[2][y, x] = some.any()
            if some.any():
                small[0][y, x], small[1][y, x] = a[place][some].mean(), b[place][some].mean()
    return small


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:50, :47]
    a = 3000 + 900 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 60, x.shape)
    return a, a + rng.normal(0, 250, x.shape) + 40


def test_as_the_paper_has_it(planes):
    a, b = planes
    expected = naive(a, b, np.ones(a.shape, bool), 10000, scales=3)  # 50 >> 2 still holds a window
    assert ms_ssim(a[None], b[None], peak=10000) == pytest.approx(expected, abs=1e-10)
    assert 0.5 < expected < 0.999


def test_missing_data_are_left_out(planes):
    a, b = planes
    valid = np.ones(a.shape, bool)
    valid[10:24, 8:30] = valid[40, :] = False
    expected = naive(a, b, valid, 10000, scales=3)
    holes = np.where(valid, a, np.nan)[None]
    assert ms_ssim(holes, b[None], peak=10000) == pytest.approx(expected, abs=1e-10)
    assert ms_ssim(holes, np.where(valid, b, np.nan)[None], peak=1e4) == pytest.approx(expected)
    marked = np.where(valid, a, -1.0)[None]
    assert ms_ssim(marked, b[None], peak=10000, nodata=-1) == pytest.approx(expected, abs=1e-10)


def test_all_five_scales_from_176_pixels_on():
    rng = np.random.default_rng(0)
    a = np.kron(rng.uniform(0, 1, (1, 11, 11)), np.ones((1, 16, 16)))
    noisy = a + rng.normal(0, 0.2, a.shape)
    # A coarse pattern under fine noise is the more alike the coarser the scale.
    assert ms_ssim(a, noisy, peak=None) > ms_ssim(a[:, :170], noisy[:, :170], peak=None)


def test_equal_planes_are_one_and_peak_may_be_the_range(planes):
    a, b = planes
    assert ms_ssim(a[None], a[None], peak=10000) == pytest.approx(1.0)
    span = a.max() - a.min()
    expected = naive(a, b, np.ones(a.shape, bool), span, scales=3)
    assert ms_ssim(a[None], b[None], peak=None) == pytest.approx(expected, abs=1e-10)


def test_nan_where_there_is_no_answer(planes):
    a, b = (plane[None] for plane in planes)
    lost = b.copy()
    lost[0, 3, 3] = np.nan
    assert np.isnan(ms_ssim(a, lost, peak=10000))
    assert np.isnan(ms_ssim(a * np.nan, b, peak=10000))
    assert np.isnan(ms_ssim(a[:, :10], b[:, :10], peak=10000))
    assert np.isnan(ms_ssim(a * 0, b, peak=None))


def test_lazy_and_equal_on_cubes(planes):
    values = np.stack([np.stack(planes), np.stack(planes)[:, ::-1] + 100])
    dims = ("t", "bands", "y", "x")
    a = xr.DataArray(da.from_array(values, chunks=(1, 1, 20, 20)), dims=dims)
    b = xr.DataArray(da.from_array(values[:, ::-1], chunks=(1, 1, 20, 20)), dims=dims)
    found = ms_ssim(a, b, peak=10000, dim=("y", "x"))
    assert found.chunks is not None
    assert found.dims == ("t", "bands")
    expected = [[ms_ssim(values[t, i][None], values[t, 1 - i][None], peak=1e4) for i in (0, 1)]
                for t in (0, 1)]  # fmt: skip
    np.testing.assert_allclose(found, expected)
    assert float(ms_ssim(a, b, peak=1e4)) == pytest.approx(np.mean(expected))


def test_what_cannot_be_compared_is_refused(planes):
    a, b = (plane[None] for plane in planes)
    with pytest.raises(GridMismatchError):
        ms_ssim(a, b[..., 1:], peak=None)
    with pytest.raises(InvalidParameterError, match="peak"):
        ms_ssim(a, b, peak=0)
    cube = xr.DataArray(a, dims=("bands", "y", "x"))
    with pytest.raises(DimensionMissingError, match="planes"):
        ms_ssim(cube, cube, peak=None, dim=("bands",))


def test_values_outside_the_peak_are_not_clipped(planes):
    a, b = (plane + 26000 for plane in planes)
    expected = naive(a, b, np.ones(a.shape, bool), 10000, scales=3)
    assert ms_ssim(a[None], b[None], peak=10000) == pytest.approx(expected, abs=1e-8)
