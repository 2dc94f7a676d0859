"""Payloads of latent codecs whose error keeps a bound: a base quality, and a residual on top of it.

        x - values of the base  --steps of twice the bound-->  residual       verified by decoding

The base's values come from floats, which differ between machines. So steps leave out `TOLERANCE` of
the values' magnitude, many times what was ever seen between two, and the payload is decoded here
with its values moved that far up and down: what holds at both ends holds in between, since rounding
and what follows it are monotone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs import peak as peaks
from openeo_nc.codecs.base import CodecCard, LatentCodec, Latents, restored
from openeo_nc.codecs.residual import Residual
from openeo_nc.codecs.residual_context import LARGEST
from openeo_nc.errors import InvalidParameterError

TOLERANCE = 2.0**-20
"""Of the largest value of a tile: 0.01 of 10000; 0.0006 is what two kinds of CPU differ by."""
FINEST = 8.0
"""Quality from which on a residual codes what is left in fewer bytes than the base would."""
COARSE = 1.15
"""Quantiser step of a good base, as a multiple of the residual's; real tiles are flat around it."""
CROP = 120
"""Side in pixels, and one _GRID more, of the part of a tile that a quality is searched on."""
_GRID = 24
"""Pixels that parts begin at multiples of: whole cells and blocks of every codec."""
_STRIDES = (2.0,)

Floats = npt.NDArray[np.float64]


def encode(
    codec: LatentCodec,
    x: npt.NDArray[Any],
    max_error: Sequence[float],
    *,
    nodata: float | None = None,
) -> bytes:
    """`Codec.encode_bounded` for a codec with latents."""
    bounds = np.asarray(max_error, np.float64)
    if bounds.shape != (len(x),) or not (np.isfinite(bounds) & (bounds >= 0)).all():
        raise InvalidParameterError(
            f"max_error {max_error}: expected {len(x)} numbers from 0, one a band"
        )
    mask = missing.find(x, nodata)
    if mask is not None and mask.all():
        return codec.encode(x, nodata=nodata)
    tile = _Tile(codec=codec, x=x, mask=mask, bounds=bounds, nodata=nodata)
    base = tile.base(tile.cropped().cheapest_quality())
    # a valid pixel must not decode to nodata and takes the value beside it, one further off
    for narrower in (0, 1):
        payload = base.payload(tile.windows(base.values) - narrower * tile.spacing())
        if tile.keeps(payload):
            return payload
    raise InvalidParameterError(
        f"{codec.card.codec_id} cannot keep a bound of {bounds.min()} on these {x.dtype} pixels"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """A tile at a quality, to which residuals can be added."""

    codec: LatentCodec
    """What it is coded by."""
    x: npt.NDArray[Any]
    """`(bands, y, x)`."""
    latents: Latents
    """Without a residual."""
    values: Floats
    """`(bands, y, x)` before rounding."""

    @classmethod
    def of(
        cls, codec: LatentCodec, x: npt.NDArray[Any], quality: float, nodata: float | None
    ) -> Base:
        """The base of a tile that has a valid pixel."""
        latents = codec.analyse(x, quality=quality, nodata=nodata)
        return cls(codec=codec, x=x, latents=latents, values=codec.reconstruct(latents))

    def within(self, windows: Floats) -> Latents:
        """Latents whose values before rounding are within windows `(bands,)` of x."""
        residual = residual_of(self.x, self.values, self.latents.mask, windows)
        return replace(self.latents, residual=residual)

    def payload(self, windows: Floats) -> bytes:
        """The payload of these latents."""
        return self.codec.pack(self.within(windows))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tile:
    """One tile and what is asked of it."""

    codec: LatentCodec
    x: npt.NDArray[Any]
    mask: missing.Mask | None
    bounds: Floats
    nodata: float | None

    def base(self, quality: float) -> Base:
        return Base.of(self.codec, self.x, quality, self.nodata)

    def cropped(self) -> _Tile:
        """The part that a quality is searched on: the middle, or where the most pixels are valid."""
        corners = list(product(*(_starts(n) for n in self.x.shape[1:])))
        parts = [
            (slice(None), slice(y, y + CROP + _GRID), slice(x, x + CROP + _GRID))
            for y, x in corners
        ]
        middle = parts[len(parts) // 2]
        if self.mask is None:
            return replace(self, x=self.x[middle])
        gaps = [(float(self.mask[part].mean()), part != middle) for part in parts]
        part = parts[gaps.index(min(gaps))]
        return replace(self, x=self.x[part], mask=self.mask[part])

    def cheapest_quality(self) -> float:
        """The quality whose base and residual take the fewest bytes, about."""
        card = self.codec.card
        window = float(np.median(self.bounds)) + 0.5 * (self.x.dtype.kind != "f")
        start = base_quality(card, window, peak_of(card, self.x, self.mask))

        def cost(quality: float) -> int:
            base = self.base(quality)
            return len(base.payload(self.windows(base.values)))

        return _lowest(cost, start, *card.quality[:2])

    def windows(self, values: Floats) -> Floats:
        """`(bands,)`: how far from x a value may lie before rounding; InvalidParameterError if none."""
        margin = tolerance(values) + 4 * float(np.spacing(np.abs(values).max()))
        if self.x.dtype.kind != "f":
            windows = np.floor(self.bounds) + 0.5 - margin
        else:
            windows = self.bounds - margin - self.spacing() / 2
        if (windows <= 0).any():
            band = int(np.argmin(windows))
            raise InvalidParameterError(
                f"{self.codec.card.codec_id} cannot keep a bound of {self.bounds[band]:g} on "
                f"{self.x.dtype} pixels of band {band}: rounding alone may exceed it"
            )
        return np.asarray(windows)

    def spacing(self) -> Floats:
        """`(bands,)`: distance of neighbouring values of the dtype, where it is widest."""
        if self.x.dtype.kind != "f":
            return np.ones(len(self.x))
        clean = self.x if self.mask is None else np.where(self.mask, 0, self.x)
        largest = np.abs(clean).max(axis=(1, 2)).astype(np.float64) + self.bounds
        limit = float(np.nextafter(np.finfo(self.x.dtype).max, self.x.dtype.type(0)))
        nearest = np.minimum(largest, limit).astype(self.x.dtype)
        return np.asarray(np.spacing(nearest), np.float64)

    def keeps(self, payload: bytes) -> bool:
        """Whether the payload decodes within the bound, here and where values differ a little."""
        latents = self.codec.unpack(payload)
        values = self.codec.reconstruct(latents)
        shift = tolerance(values)
        return all(
            kept(self.x, restored(latents, values + s), self.mask, self.bounds)
            for s in (0.0, -shift, shift)
        )


def _starts(n: int) -> list[int]:
    """First rows or columns of the parts of n that a quality may be searched on."""
    return sorted({k * max(n - CROP - _GRID, 0) // 2 // _GRID * _GRID for k in range(3)})


def base_quality(card: CodecCard, window: float, peak: float) -> float:
    """A good quality below a residual that brings values within window of the pixels."""
    low, high, _ = card.quality
    step = 2 * window * COARSE
    level = 1 + 1.75 * math.log2(0.16 * peak / step) if peak > 0 < step else FINEST
    return min(max(level, low), high, max(FINEST, low))


def peak_of(card: CodecCard, x: npt.NDArray[Any], mask: missing.Mask | None) -> float:
    """What qualities of a tile refer to: the card's peak, the dtype's, or the range of valid values."""
    peak = peaks.peak_of(card, x.dtype)
    if peak is not None:
        return peak
    valid = x if mask is None else x[~mask]
    return float(valid.max()) - float(valid.min())


def tolerance(values: Floats) -> float:
    """How far the values of two machines may lie apart."""
    return TOLERANCE * float(np.abs(values).max())


def residual_of(
    x: npt.NDArray[Any], values: Floats, mask: missing.Mask | None, windows: Floats
) -> Residual | None:
    """What brings values `(bands, y, x)` to within windows `(bands,)` of x; None if they are."""
    steps, integers = np.zeros(len(x)), np.zeros(x.shape, np.int32)
    for band, window in enumerate(windows.tolist()):
        error = x[band].astype(np.float64) - values[band]
        if mask is not None:
            error[mask[band]] = 0
        if np.abs(error).max() > window:
            steps[band] = 2 * window
            scaled = np.rint(error / (2 * window))
            if np.abs(scaled).max() > LARGEST:
                raise InvalidParameterError(
                    f"a bound of {window:g} is too tight for pixels up to {np.abs(values).max():g}"
                )
            integers[band] = scaled
    return Residual(steps=steps, values=integers) if steps.any() else None


def kept(
    x: npt.NDArray[Any], out: npt.NDArray[Any], mask: missing.Mask | None, bounds: Floats
) -> bool:
    """Whether every valid pixel of `out` is within its band's bound of x, exactly computed."""
    if x.dtype.kind == "f":
        error = np.abs(x.astype(np.float64) - out.astype(np.float64))
        within = error <= bounds[:, None, None]
    else:
        error = np.maximum(x, out).astype(np.uint64) - np.minimum(x, out).astype(np.uint64)
        within = error <= np.minimum(bounds, 2.0**63)[:, None, None].astype(np.uint64)
    return bool((within if mask is None else within | mask).all())


def _lowest(cost: Callable[[float], int], start: float, low: float, high: float) -> float:
    """Where a cost with one valley is low: downhill from start, with strides that shrink."""
    costs = {start: cost(start)}

    def at(quality: float) -> int:
        level = min(max(quality, low), high)
        if level not in costs:
            costs[level] = cost(level)
        return costs[level]

    best = start
    for stride in _STRIDES:
        for direction in (-stride, stride):
            while at(best + direction) < costs[best]:
                best = min(max(best + direction, low), high)
    return best
