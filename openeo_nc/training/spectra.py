"""Spectral statistics of training data: the card's bases, samples in components, channels worth coding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.spectral import (
    BLOCK,
    ZONES,
    SpectralBasis,
    block_dct,
    principal_axes,
    zone_covariances,
)
from openeo_nc.training.data import Source


def card_basis(places: dict[str, list[Source]], weights: dict[str, float]) -> SpectralBasis:
    """The card's spectral basis, from statistics averaged over places."""
    moments, mean, share = np.zeros((ZONES, 12, 12)), np.zeros(12), 0.0
    for name, sources in places.items():
        w = weights.get(name, 1.0)
        for source in sources:
            x = source.pixels.astype(np.float64)
            mean += w / len(sources) * x.mean(axis=(1, 2))
            x = x[:, : x.shape[1] // BLOCK * BLOCK, : x.shape[2] // BLOCK * BLOCK]
            centred = x - x.mean(axis=(1, 2), keepdims=True)
            moments += w / len(sources) * zone_covariances(block_dct(centred))
        share += w
    return SpectralBasis.of_axes(mean / share, [principal_axes(m) for m in moments / share])


def components(
    x: npt.NDArray[np.float32], card: SpectralBasis, own: bool
) -> npt.NDArray[np.float32]:
    """A crop in spectral components, `(768, y / 8, x / 8)` float32."""
    mean = np.rint(x.mean(axis=(1, 2), dtype=np.float64)) if own else card.mean
    c = block_dct(x - mean[:, None, None])
    basis = SpectralBasis.of_tile(mean, c, reference=card) if own else card
    return basis.forward(c).astype(np.float32).reshape(-1, *c.shape[2:])


def strongest(cs: list[npt.NDArray[np.float32]], count: int) -> npt.NDArray[np.int64]:
    """Indexes of the coefficients that are worth most bits at the highest quality, strongest first."""
    worth = np.mean([np.log1p((c / 75.0) ** 2).mean(axis=(1, 2)) for c in cs], axis=0)
    return np.argsort(-worth, kind="stable")[:count]
