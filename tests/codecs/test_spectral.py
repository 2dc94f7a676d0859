"""The block DCT and the stored spectral bases invert exactly and decorrelate zone by zone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from openeo_nc.codecs.spectral import (
    BLOCK,
    ZONES,
    SpectralBasis,
    block_dct,
    inverse_block_dct,
    zones,
)
from openeo_nc.errors import PayloadError


def tile(bands=12, side=64, seed=0):
    """Bands that vary together at low frequencies; the first four have detail of their own."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 400, (bands, 3)) @ rng.normal(0, 1, (3, side // 8 * side // 8))
    x = coarse.reshape(bands, side // 8, side // 8).repeat(8, 1).repeat(8, 2)
    fine = rng.normal(0, 60, (4, 2)) @ rng.normal(0, 1, (2, side * side))
    x[:4] += fine.reshape(4, side, side)
    return 2000 + x + rng.normal(0, 3, x.shape)


def test_the_block_dct_is_that_of_scipy_and_inverts():
    x = tile()
    c = block_dct(x)
    expected = fft.dctn(x[3, 8:16, 24:32], norm="ortho").reshape(-1)
    np.testing.assert_allclose(c[3, :, 1, 3], expected)
    np.testing.assert_allclose(inverse_block_dct(c), x)


def test_zones_end_where_coarser_pixels_have_no_more():
    zone = zones().reshape(BLOCK, BLOCK)
    assert zone[0, 0] == zone[1, 1] == 0
    assert zone[2, 0] == zone[1, 3] == 1
    assert zone[4, 0] == zone[0, 7] == 2


def test_the_stored_form_inverts_exactly():
    c = block_dct(tile())
    basis = SpectralBasis.from_bytes(SpectralBasis.of_tile(np.zeros(12), c).to_bytes(), 12)
    np.testing.assert_allclose(basis.inverse(basis.forward(c)), c, atol=1e-6)


def test_each_zone_is_decorrelated_and_sorted():
    c = block_dct(tile() - 2000)
    u = SpectralBasis.of_tile(np.zeros(12), c).forward(c)
    for zone in range(ZONES):
        values = u[:, zones() == zone].reshape(12, -1)
        power = (values**2).mean(axis=1)
        assert (np.diff(power[:3]) < 0).all()
        assert power[:3].sum() > 0.95 * power.sum()


def test_trimmed_columns_count_as_zero():
    c = block_dct(tile())
    full = SpectralBasis.of_tile(np.zeros(12), c)
    u = full.forward(c)
    part = SpectralBasis.from_bytes(full.trimmed([3, 0, 2]).to_bytes(), 12)
    for zone, kept in enumerate([3, 0, 2]):
        u[kept:, zones() == zone] = 0
    np.testing.assert_allclose(part.inverse(u), full.inverse(u), atol=1e-6)
    assert len(part.to_bytes()) == 24 + ZONES + 12 * 5


def test_signs_follow_the_reference():
    c = block_dct(tile())
    first = SpectralBasis.of_tile(np.zeros(12), c)
    turned = SpectralBasis(mean=first.mean, stored=tuple(-s for s in first.stored))
    again = SpectralBasis.of_tile(np.zeros(12), c, reference=turned)
    for a, b in zip(again.stored, turned.stored, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bytes_of_a_wrong_size_are_refused():
    with pytest.raises(PayloadError, match="12 bands"):
        SpectralBasis.from_bytes(b"\0" * 10, 12)
    with pytest.raises(PayloadError):
        SpectralBasis.from_bytes(b"\0" * 24 + bytes([13, 0, 0]) + b"\0" * 156, 12)
