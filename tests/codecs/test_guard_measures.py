"""What the guard measures is what it says, on tiles made to have it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from openeo_nc.codecs.guard_measures import LEAST_SIDE, compress, measure
from openeo_nc.sentinel2 import BANDS, RESOLUTION

RESOLUTIONS = [RESOLUTION[name] for name in BANDS]


def scene(height=128, width=136, seed=0):
    """`(12, height, width)` float32: a textured field, 20 and 60 m bands smoother."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(height, width)), 0.7)
    return np.stack(
        [
            2000 + 100 * i + 400 * ndimage.gaussian_filter(texture, r / 15)
            for i, r in enumerate(RESOLUTIONS)
        ]
    ).astype("f4")


def scalars(x, valid=None):
    return measure(x, valid, RESOLUTIONS).scalars


def test_all_are_finite_whatever_the_tile():
    rng = np.random.default_rng(0)
    for x in (
        scene(),
        np.zeros((12, 64, 64), "i2"),
        np.full((12, 65, 71), -32768, "i2"),
        rng.integers(0, 65536, (12, 80, 64)).astype("u2"),
        rng.normal(0, 1e9, (12, 64, 64)).astype("f4"),
    ):
        found = measure(x, None, RESOLUTIONS)
        assert np.isfinite(list(found.scalars.values())).all()
        assert all(np.isfinite(s).all() and s.shape == (12,) for s in found.spectra.values())
        assert found.sample.shape[1] == 12


def test_small_or_empty_tiles_are_not_measured():
    assert measure(scene(LEAST_SIDE - 1, 200), None, RESOLUTIONS) is None
    assert measure(scene(LEAST_SIDE, 64), None, RESOLUTIONS) is not None
    valid = np.zeros((128, 136), bool)
    valid[:60, :60] = True
    assert measure(scene(), valid, RESOLUTIONS) is None
    checks = np.indices((128, 136)).sum(axis=0) % 2 == 0
    assert measure(scene(), checks, RESOLUTIONS) is None


def test_pixels_without_data_do_not_count():
    x = scene(192, 192)
    valid = np.ones(x.shape[1:], bool)
    valid[100:] = False
    low, high = x.copy(), x.copy()
    low[:, 100:], high[:, 100:] = -30000, 30000
    first, second = measure(low, valid, RESOLUTIONS), measure(high, valid, RESOLUTIONS)
    assert first.scalars == second.scalars
    np.testing.assert_array_equal(first.sample, second.sample)
    part = scalars(x[:, :96])
    for name in ("slope0_mean0", "diagonal0", "likeness_mean"):
        assert first.scalars[name] == pytest.approx(part[name], abs=0.1)


def test_spectra_are_means_and_quantiles():
    x = scene()
    found = measure(x, None, RESOLUTIONS)
    np.testing.assert_allclose(found.spectra["mean"], compress(x).mean(axis=(1, 2)), rtol=0.02)
    low = compress(np.quantile(x, 0.05, axis=(1, 2)))
    np.testing.assert_allclose(found.spectra["dark"], low, rtol=0.02)


def test_a_turn_exchanges_columns_and_lines():
    x = scene(128, 128)
    x[:, :, ::2] *= 1.05
    x = x.astype("f4")
    a, b = scalars(x), scalars(np.ascontiguousarray(np.rot90(x, axes=(1, 2))))
    assert a["columns0"] == pytest.approx(b["lines0"], abs=1e-6)
    assert a["columns0"] > 0.9
    assert b["columns0"] < 0.5
    for name in ("slope0_mean0", "detail_most0", "coherence0"):
        assert a[name] == pytest.approx(b[name], abs=1e-5)


def test_blur_and_noise_move_the_slope_of_detail():
    x = scene()
    noisy = x + np.random.default_rng(1).normal(0, 300, x.shape).astype("f4")
    blurred = ndimage.gaussian_filter(x, (0, 1.5, 1.5))
    slopes = [scalars(v)["slope0_mean0"] for v in (blurred, x, noisy)]
    assert slopes[0] < slopes[1] - 0.2
    assert slopes[1] < slopes[2] - 0.1
    assert scalars(blurred)["diagonal0"] < scalars(x)["diagonal0"] - 1


def test_spikes_are_sparse():
    x = scene()
    x[5, 40, 40] = 10000
    assert scalars(x)["sparse_most1"] > scalars(scene())["sparse_most1"] + 2


def test_a_moved_band_shows_as_a_shift():
    x = scene()
    assert scalars(x)["shift_most"] < 0.05
    x[2] = ndimage.shift(x[2], (0, 1), order=3, mode="nearest")
    assert scalars(x)["shift_most"] > 0.2


def test_blocks_stand_out_wherever_they_begin():
    x = scene()
    steps = np.random.default_rng(2).normal(0, 200, (17, 18)).repeat(8, 0).repeat(8, 1)
    blocky = (x + steps[3:131, 5:141]).astype("f4")
    assert scalars(blocky)["blocks"] > scalars(x)["blocks"] + 0.2


def test_constant_bands_and_few_values():
    x = scene()
    x[3:6] = 7
    found = scalars(np.rint(x / 100) * 100)
    assert found["constant_bands"] == 0.25
    assert found["distinct_mean"] < scalars(scene())["distinct_mean"] - 1
