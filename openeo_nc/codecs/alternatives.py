"""What `auto` codes a tile with where the universal codec is not the best one for it.

- Class numbers, flags and constants, that is few values that mostly equal their neighbours, are coded
  without loss: an error of a class is no small error, and JPEG XL's lossless coding of such maps takes
  few bytes, at times fewer than the universal codec with errors.
- Smooth floating-point fields, and any at high quality, take SPERR where it reaches the same PSNR with
  fewer bytes: its wavelet reaches further than a block. (Monthly means of ERA-Interim: 25 to 60% fewer;
  backscatter in dB above 55 dB: up to 10%.)

Anything else is the universal codec's: multispectral pixels take it half to four fifths of the bytes
of the best classical codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.cells import repeat_of
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile, psnr

MOST_CLASSES = 64
"""Values that a band of classes has at most."""
EQUAL = 0.5
"""Share of neighbours that are equal in classes, at least."""
SMOOTH = 0.02
"""Mean squared difference of neighbours over the variance, below which a field is smooth."""
HIGH_QUALITY = 10.0
"""Quality from which on SPERR is tried on any floats."""
HIGH_PSNR = 55.0
"""The same in dB."""
FIELDS = "sperr"
"""The codec of fields."""
_SHORT_BY = 0.15
"""dB that a rival may miss the PSNR by; what searches stop at."""

Tile = npt.NDArray[Any]


def encode_freely(
    codec: Codec, x: Tile, rate: Rate, *, nodata: float | None = None, others: Sequence[Codec] = ()
) -> bytes:
    """The payload of one tile `(bands, y, x)`, by the codec or by one of others.

    Parameters and errors are those of `rate_control.encode_tile`.
    """
    if rate.max_error is None and others:
        mask = missing.find(x, nodata)
        if _is_classes(x, mask):
            exact = _without_loss(codec, x, rate, nodata, others)
            if exact is not None:
                return exact
        fields = [other for other in others if other.card.codec_id == FIELDS]
        if fields and x.dtype.kind == "f" and (_is_high(rate) or _is_smooth(x, mask)):
            return _the_better(codec, fields[0], x, rate, nodata)
    return encode_tile(codec, x, rate, nodata=nodata, others=others)


def _without_loss(
    codec: Codec, x: Tile, rate: Rate, nodata: float | None, others: Sequence[Codec]
) -> bytes | None:
    """The smallest exact payload; None if it exceeds the ratio that is asked."""
    exact = Rate(max_error=(0.0,) * len(x))
    payload = encode_tile(codec, x, exact, nodata=nodata, others=others)
    ratio = rate.target_ratio
    return None if ratio is not None and len(payload) * ratio > x.nbytes else payload


def _the_better(codec: Codec, rival: Codec, x: Tile, rate: Rate, nodata: float | None) -> bytes:
    """The smaller payload at a PSNR, or the one of higher PSNR at a ratio."""
    payload = encode_tile(codec, x, rate, nodata=nodata)
    reached = psnr(x, codec.decode(payload), codec.card, nodata)
    if not np.isfinite(reached):
        return payload
    asked = rate if rate.target_ratio is not None else Rate(target_psnr=reached)
    other = encode_tile(rival, x, asked, nodata=nodata)
    gain = psnr(x, rival.decode(other), rival.card, nodata) - reached
    if rate.target_ratio is not None:
        fits = len(other) * rate.target_ratio <= x.nbytes or len(other) < len(payload)
        return other if fits and gain > 0 else payload
    return other if len(other) < len(payload) and gain > -_SHORT_BY else payload


def _is_high(rate: Rate) -> bool:
    return (rate.quality or 0.0) >= HIGH_QUALITY or (rate.target_psnr or 0.0) >= HIGH_PSNR


def _is_classes(x: Tile, mask: missing.Mask | None) -> bool:
    """Whether every band has few values, which mostly equal their neighbours."""
    if mask is not None and mask.all():
        return False
    return all(_few(band, None if mask is None else mask[i]) for i, band in enumerate(x))


def _few(band: Tile, mask: missing.Mask | None) -> bool:
    valid = np.ones(band.shape, bool) if mask is None else ~mask
    pairs = valid[:, 1:] & valid[:, :-1]
    if (band[:, 1:] == band[:, :-1])[pairs].sum() < EQUAL * pairs.sum():
        return False
    side = repeat_of(band)  # repeated pixels are equal whatever they are
    band, valid = band[::side, ::side], valid[::side, ::side]
    pairs = valid[:, 1:] & valid[:, :-1]
    if side > 1 and (band[:, 1:] == band[:, :-1])[pairs].sum() < EQUAL * pairs.sum():
        return False
    return np.unique(band[valid]).size <= MOST_CLASSES


def _is_smooth(x: Tile, mask: missing.Mask | None) -> bool:
    """Whether neighbours differ little, in the mean over bands."""
    roughness = []
    for i, band in enumerate(x):
        valid = np.ones(band.shape, bool) if mask is None else ~mask[i]
        pairs = valid[:, 1:] & valid[:, :-1]
        if not pairs.any():
            continue
        values = band.astype(np.float64)
        variance = float(values[valid].var())
        differences = np.subtract(values[:, 1:], values[:, :-1])[pairs]
        roughness.append(float(np.mean(differences**2)) / variance if variance else 0.0)
    return bool(roughness) and float(np.mean(roughness)) < SMOOTH
