"""Bands of repeated pixels: found, smoothed, and given back."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs import cells
from openeo_nc.errors import PayloadError


@pytest.mark.parametrize("side", cells.REPEATS)
@pytest.mark.parametrize("shape", [(24, 36), (25, 37), (7, 13)])
def test_smoothing_and_settling_gives_the_band_back(side, shape):
    rng = np.random.default_rng(side)
    native = rng.normal(1000, 200, [-(-n // side) for n in shape])
    band = cells.enlarge(native, side, shape)
    assert cells.repeat_of(band) == side
    smooth = cells.smooth(band, side)
    assert smooth.shape == shape
    np.testing.assert_allclose(cells.settle(smooth, side), band, rtol=1e-9)


def test_a_ramp_stays_a_ramp():
    band = cells.enlarge(np.arange(20.0)[None].repeat(20, 0), 6, (120, 120))
    step = np.diff(cells.smooth(band, 6), axis=1)[:, 12:-12]
    np.testing.assert_allclose(step, 1 / 6, atol=0.01)


def test_cells_that_do_not_begin_at_the_corner_do_not_count():
    band = np.arange(64.0).reshape(8, 8).repeat(2, 0).repeat(2, 1)
    assert cells.repeat_of(band) == 2
    assert cells.repeat_of(band[1:, 1:]) == 1
    assert cells.repeat_of(band[:, :15]) == 2


def test_constant_bands_have_the_largest_cells():
    assert cells.repeat_of(np.full((20, 31), 5)) == 6
    assert cells.repeat_of(np.full((1, 31), 5)) == 1


def test_two_bits_a_band():
    repeats = [1, 2, 3, 6, 6, 1, 2]
    assert cells.from_bytes(cells.to_bytes(repeats), 7) == repeats
    assert len(cells.to_bytes(repeats)) == 2
    with pytest.raises(PayloadError, match="7 bands"):
        cells.from_bytes(b"\0", 7)
