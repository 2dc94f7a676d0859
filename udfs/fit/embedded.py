"""Embeds places as `encode_embedding` does, quantised as it quantises by default, but without its tiles.

Most images here are much smaller than a tile; a chip around each is a tenth of the work. A test holds that
vectors are those of `encode_embedding`.
"""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.models.base import ModelCard
from openeo_nc.models.quantisation import quantiser
from openeo_nc.models.registry import get_model_card, open_model
from udfs.fit.places import PATCH

MODEL = "s2-embed-small"
QUANTIZATION = "int8"
_BLOCK, _CHIPS = 256, 4
"""Pixels of a block's side; chips of a batch."""

Array = npt.NDArray[Any]
_found: dict[str, Array] = {}


def encoder() -> ModelCard:
    """The card of the encoder."""
    return get_model_card(MODEL)


def embed(pixels: Array) -> Array:
    """Vectors `(t, 64, y / 8, x / 8)` of `(t, 12, y, x)`, sides cut to whole patches.

    NaN is no data; a patch without a valid pixel has no vector, NaN.
    """
    rows, columns = (side // PATCH for side in pixels.shape[-2:])
    cut = np.ascontiguousarray(pixels[..., : rows * PATCH, : columns * PATCH], np.float32)
    key = hashlib.sha256(cut.tobytes() + repr(cut.shape).encode()).hexdigest()
    if key not in _found:
        _found[key] = _embedded(cut)
    return _found[key]


def _embedded(pixels: Array) -> Array:
    shape, card = pixels.shape, encoder()
    halo, edge = card.margin, card.margin // PATCH
    around = np.pad(pixels, ((0, 0), (0, 0), (halo, halo), (halo, halo)), constant_values=np.nan)
    height, width = shape[-2:]
    found = np.empty((shape[0], card.dim, height // PATCH, width // PATCH), np.float32)
    for top, left in product(range(0, height, _BLOCK), range(0, width, _BLOCK)):
        size = _BLOCK + 2 * halo
        block = around[..., top : top + size, left : left + size]
        for first in range(0, shape[0], _CHIPS):
            vectors = open_model(card).embed(block[first : first + _CHIPS])
            inner = vectors[..., edge : vectors.shape[-2] - edge, edge : vectors.shape[-1] - edge]
            y, x = top // PATCH, left // PATCH
            found[first : first + _CHIPS, :, y:, x:][..., : inner.shape[-2], : inner.shape[-1]] = (
                inner
            )
    rows = np.moveaxis(found, 1, -1).reshape(-1, card.dim)
    snapped = quantiser(QUANTIZATION, dim=card.dim).snap(rows)
    found = np.moveaxis(snapped.reshape(*found.shape[:1], *found.shape[2:], card.dim), -1, 1)
    blocks = np.isfinite(pixels).any(1).reshape(shape[0], height // PATCH, PATCH, -1, PATCH)
    return np.where(blocks.any((2, 4))[:, None], found, np.float32(np.nan))
