"""The stored spectral basis inverts exactly and decorrelates."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs.spectral import SpectralBasis
from openeo_nc.errors import PayloadError


def correlated(bands=12, pixels=4000, seed=0):
    rng = np.random.default_rng(seed)
    return 2000 + rng.normal(0, 50, (bands, bands)) @ rng.normal(0, 3, (bands, pixels))


def test_the_stored_form_inverts_exactly():
    x = correlated()
    basis = SpectralBasis.from_bytes(SpectralBasis.of_pixels(x).to_bytes(), 12)
    np.testing.assert_allclose(basis.inverse(basis.forward(x)), x, atol=1e-6)


def test_components_are_decorrelated_and_sorted():
    x = correlated()
    u = SpectralBasis.of_pixels(x).forward(x)
    variance = u.var(axis=1)
    assert (np.diff(variance[:6]) < 0).all()
    assert np.abs(np.corrcoef(u[:4]) - np.eye(4)).max() < 0.1


def test_signs_follow_the_reference():
    x = correlated()
    reference = -SpectralBasis.of_pixels(x).synthesis
    assert (np.sum(SpectralBasis.of_pixels(x, reference).synthesis * reference, axis=0) > 0).all()


def test_bytes_of_a_wrong_size_are_refused():
    with pytest.raises(PayloadError, match="168"):
        SpectralBasis.from_bytes(b"\0" * 10, 12)
