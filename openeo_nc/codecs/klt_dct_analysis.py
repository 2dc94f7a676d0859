"""One tile on its way to the quantiser of `klt-dct`: cells, means, block DCT, components in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import klt_dct_transform as transform
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.cells import repeat_of
from openeo_nc.codecs.klt_dct_context import IntArray, N
from openeo_nc.codecs.klt_dct_quantiser import centroids, prune
from openeo_nc.codecs.klt_dct_side import CENTROID_UNIT, MEAN_UNIT, Side
from openeo_nc.errors import InvalidValuesError

LARGEST = 2**30 / N
"""Steps that a pixel may lie from the origin, so that coefficients of its block are int32."""
_MEANS = (-32768, 32767)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposition:
    """What the quantiser starts from, and what the side data are made of."""

    components: transform.FloatArray
    """`(components, N, N, by, bx)` in quantiser steps."""
    valid: npt.NDArray[np.float64]
    """`(by, bx)` share of each block that exists and is valid."""
    bases: list[transform.Stored | None]
    """Stored basis of each zone, all columns; None for that of the zone before."""
    repeats: npt.NDArray[np.uint8]
    """`(bands,)` side of cells of equal pixels."""
    means: npt.NDArray[np.int16]
    """`(bands,)` in MEAN_UNIT steps above origin."""
    origin: float
    """Pixel value that is coded as zero."""
    peak: float
    """Range that the quality refers to."""

    def side(self, integers: IntArray) -> Side:
        """Side data for the integers that the components were quantised to."""
        centres = centroids(self.components, integers) / CENTROID_UNIT
        return Side(
            origin=self.origin,
            peak=self.peak,
            mean=self.means,
            repeats=self.repeats,
            bases=transform.trimmed(self.bases, integers),
            centroids=np.rint(centres).clip(-127, 127).astype(np.int8),
        )


def decompose(
    x: npt.NDArray[Any], mask: missing.Mask | None, quality: float, peak: float | None
) -> Decomposition:
    """The components of a tile `(bands, y, x)` that has a valid pixel; no peak is the tile's range.

    Raises
    ------
    InvalidValuesError
        The range of the values is not a float64, or a value is beyond LARGEST steps.
    """
    origin, peak = (0.0, peak) if peak else _range(x, mask)
    step = quality_step(quality, peak) or 1.0
    bands = [_Cells.of(band, None if mask is None else mask[i], origin) for i, band in enumerate(x)]
    farthest = max(float(np.abs(band.values - origin).max()) for band in bands)
    if farthest > LARGEST * step:
        raise InvalidValuesError(
            f"values up to {farthest:g} cannot be coded in steps of {step:g} at quality {quality:g}"
        )
    means = np.rint([(band.mean - origin) / step / MEAN_UNIT for band in bands])
    means = means.clip(*_MEANS).astype(np.int16)  # what is beyond them, DC codes
    repeats = np.array([band.repeat for band in bands], np.uint8)
    coefficients = np.stack(
        [
            transform.forward(
                ((band.values - origin) / step - mean * MEAN_UNIT).astype(np.float32), band.repeat
            )
            for band, mean in zip(bands, means.tolist(), strict=True)
        ]
    )
    valid = _valid_share(x.shape, mask)
    components, bases = transform.spectral_forward(coefficients, repeats, valid)
    return Decomposition(
        components=prune(components, bases, valid),
        valid=valid,
        bases=bases,
        repeats=repeats,
        means=means,
        origin=origin,
        peak=peak,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """One band at its own resolution."""

    values: npt.NDArray[np.float64]
    """`(y, x)` cells, missing ones filled."""
    repeat: int
    """Side of a cell in pixels."""
    mean: float
    """Of the valid cells."""

    @classmethod
    def of(cls, band: npt.NDArray[Any], mask: missing.Mask | None, otherwise: float) -> _Cells:
        """`(y, x)` pixels of any dtype; a band without valid pixels is `otherwise` throughout."""
        if mask is None or not mask.any():
            side = repeat_of(band)
            values = band[::side, ::side].astype(np.float64)
            return cls(values=values, repeat=side, mean=float(values.mean()))
        clean = np.where(mask, 0, band)
        side = math.gcd(repeat_of(clean), repeat_of(mask))
        values, gaps = clean[::side, ::side].astype(np.float64), mask[::side, ::side]
        if gaps.all():
            return cls(values=np.full_like(values, otherwise), repeat=side, mean=otherwise)
        filled = missing.fill(values[None], gaps[None])[0]
        return cls(values=filled, repeat=side, mean=float(values[~gaps].mean()))


def _range(x: npt.NDArray[Any], mask: missing.Mask | None) -> tuple[float, float]:
    """The value that is coded as zero, and the range that the quality refers to."""
    valid = x if mask is None else x[~mask]
    low, high = float(valid.min()), float(valid.max())
    if not math.isfinite(high - low):
        raise InvalidValuesError(f"values from {low} to {high}: their range leaves float64")
    return low, high - low


def _valid_share(shape: tuple[int, ...], mask: missing.Mask | None) -> npt.NDArray[np.float64]:
    """`(by, bx)`: share of each block's pixels and bands that exist and are valid."""
    _, height, width = shape
    valid = np.ones((height, width)) if mask is None else 1 - mask.mean(axis=0)
    padded = np.pad(valid, ((0, -height % N), (0, -width % N)))
    return np.asarray(padded.reshape(len(padded) // N, N, -1, N).mean(axis=(1, 3)))
