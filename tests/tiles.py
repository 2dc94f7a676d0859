"""Small synthetic tiles that any codec card takes: smooth, correlated between bands, some noise."""

from __future__ import annotations

import numpy as np

from openeo_nc.codecs.base import CodecCard


def tile(
    card: CodecCard, height: int, width: int, dtype: str = "int16", seed: int = 0, noise: float = 40
):
    """`(bands, height, width)` of a dtype, values inside 0..250 for 8 bit and 0..10000 else."""
    rng = np.random.default_rng(seed)
    bands = len(card.bands or range(5))
    y, x = np.mgrid[:height, :width] / 16
    a, b, c = rng.uniform(0, 6, 3)
    scene = np.stack([np.sin(x + a), np.cos(0.7 * y + b), np.sin(x * 0.3 + y + c)])
    gains = rng.uniform(0.2, 1, (bands, 3))
    values = (
        3000 + 700 * np.tensordot(gains, scene, 1) + rng.normal(0, noise, (bands, height, width))
    )
    if np.dtype(dtype).itemsize == 1:
        values /= 40
    return np.clip(values, 0, 10000).astype(dtype)


def dtypes(card: CodecCard, *kinds: str) -> list[str]:
    """The card's dtypes of these kinds ("i", "u", "f"), all if none is given."""
    return [name for name in card.dtypes if np.dtype(name).kind in (kinds or "iuf")]


def usual(card: CodecCard) -> str:
    """int16 where the card takes it, as most imagery is; else its first integer dtype."""
    return "int16" if "int16" in card.dtypes else dtypes(card, "i", "u")[0]
