"""SPERR, SZ3 and ZFP: fields of real numbers, of any dtype.

    flags (u8)   1 one volume, else a stream a band; 2 float64, else float32
    offsets, gains | the library's streams

The library sees `(x - offset) / gain`, in float32 where that is fine enough, and codes it with an
error of about 1: its native control is always 1, and the gains say what that is in pixels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.classical_coder import (
    Array,
    Floats,
    Shape,
    decoding,
    encoding,
    join,
    libraries,
    read_vector,
    shaped,
    split,
    step_like_klt,
    vector,
)
from openeo_nc.errors import InvalidParameterError, PayloadError

_VOLUME, _DOUBLE = 1, 2
_FINE = 2.0**16
"""Largest magnitude in units of the error up to which float32 is fine enough."""
_LEAST = 1e-290
"""Smallest gain; what is below it counts as 0."""


class FieldCoder(ABC):
    """A library for real numbers whose error is controlled."""

    fade = 4.0
    library: str
    """Its name in messages."""
    step: tuple[float, float]
    """Its gain at a quality: arguments of `step_like_klt`."""
    centred: bool = False
    """Whether it codes values about 0 cheaper, so that each band gets an offset of its own."""
    reach: float = 1.0
    """Gain for a tolerance of 1: how far the library stays below what it is asked for."""

    def at_quality(self, x: Array, quality: float, peak: float) -> bytes:
        """See `Coder`."""
        # half the peak twice: that of the largest floats is no float
        gain = 2 * step_like_klt(quality, *self.step) * (peak / 2)
        return self._encoded(x, np.full(len(x), gain), bounded=False)

    def within(self, x: Array, tolerances: Floats) -> bytes:
        """See `Coder`."""
        if not (tolerances > 0).all():
            raise InvalidParameterError(
                f"{self.library} cannot code {x.dtype} pixels without loss; give max_error above 0"
            )
        return self._encoded(x, tolerances * self.reach, bounded=True)

    def pixels(self, data: bytes, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """See `Coder`."""
        flags = data[0] if data else 0
        offsets, rest = read_vector(data[1:], "<f8", shape[0])
        gains, rest = read_vector(rest, "<f8", shape[0])
        if flags & ~(_VOLUME | _DOUBLE) or not np.isfinite([offsets, gains]).all():
            raise PayloadError("the payload gives an arrangement or a gain that does not exist")
        kind = np.dtype(np.float64 if flags & _DOUBLE else np.float32)
        with decoding(self.library), np.errstate(over="ignore"):
            if flags & _VOLUME:
                u = shaped(self._decode(rest, shape, kind), shape)
            else:
                streams = split(rest, shape[0])
                bands = [self._decode(stream, shape[1:], kind) for stream in streams]
                u = np.concatenate([shaped(band, (1, *shape[1:])) for band in bands])
            values: Floats = u * gains[:, None, None] + offsets[:, None, None]
            return values

    def _encoded(self, x: Array, gains: Floats, *, bounded: bool) -> bytes:
        gains = np.maximum(gains, _LEAST)
        offsets = self._offsets(x)
        u = (x.astype(np.float64) - offsets[:, None, None]) / gains[:, None, None]
        fine = bool(np.abs(u).max() < _FINE)
        u = u.astype(np.float32) if fine else u
        volume = len(x) > 1 and self._as_volume(bounded)
        flags = _VOLUME * volume | _DOUBLE * (not fine)
        with encoding(self.library):
            if volume:
                streams = self._encode(u, bounded)
            else:
                streams = join([self._encode(band, bounded) for band in u])
        numbers = vector(offsets.astype("<f8")) + vector(gains.astype("<f8"))
        return bytes([flags]) + numbers + streams

    def _offsets(self, x: Array) -> Floats:
        """`(bands,)` what the library is to see as 0; whole for integers."""
        if x.dtype.kind != "f" and not self.centred:
            return np.zeros(len(x))
        axes = (1, 2) if self.centred else None
        middle = x.min(axes).astype(np.float64) / 2 + x.max(axes).astype(np.float64) / 2
        return np.broadcast_to(middle if x.dtype.kind == "f" else np.floor(middle), len(x))

    def _as_volume(self, bounded: bool) -> bool:
        """Whether bands are coded together, which only pays for some libraries."""
        return False

    @abstractmethod
    def _encode(self, u: npt.NDArray[np.floating[Any]], bounded: bool) -> bytes: ...

    @abstractmethod
    def _decode(self, data: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array: ...


class Sperr(FieldCoder):
    """Wavelet with set partitioning: a volume at a mean error, a band a stream at a bounded one."""

    library, step = "SPERR", (0.235, 0.025)

    def _as_volume(self, bounded: bool) -> bool:
        return not bounded

    def _encode(self, u: npt.NDArray[np.floating[Any]], bounded: bool) -> bytes:
        level, mode = 1.0, "pwe"
        if not bounded:
            level, mode = 20 * math.log10(max(float(np.ptp(u)), 2.0)), "psnr"  # above 0 dB
        header = u.ndim == 3  # without one it would be told more bytes than there are
        return bytes(libraries().sperr_encode(u, level, mode, header=header, numthreads=1))

    def _decode(self, data: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
        decoded: Array = libraries().sperr_decode(
            data, shape=shape, dtype=kind, header=len(shape) == 3, numthreads=1
        )
        return decoded


class Sz3(FieldCoder):
    """Prediction and quantisation, a band a stream."""

    library, step = "SZ3", (0.168, 0.157)

    def _encode(self, u: npt.NDArray[np.floating[Any]], bounded: bool) -> bytes:
        return bytes(libraries().sz3_encode(u, "abs", 1.0))

    def _decode(self, data: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
        decoded: Array = libraries().sz3_decode(data, shape, kind)
        return decoded


class Zfp(FieldCoder):
    """Blocks of 4 x 4, a band a stream, at a fixed accuracy.

    ZFP rounds its accuracy down to a power of two, hence the gains: they make it continuous.
    """

    library, step, reach, centred = "ZFP", (1.915, 0.1), 8.0, True

    def within(self, x: Array, tolerances: Floats) -> bytes:
        """See `Coder`; a tolerance of 0 is kept by ZFP's reversible mode."""
        if (tolerances > 0).all():
            return super().within(x, tolerances)
        double = x.itemsize > np.dtype(np.float32).itemsize
        u = x.astype(np.float64 if double else np.float32)
        with encoding(self.library):
            streams = join(
                [bytes(libraries().zfp_encode(band, mode="R", numthreads=1)) for band in u]
            )
        numbers = vector(np.zeros(len(x), "<f8")) + vector(np.ones(len(x), "<f8"))
        return bytes([_DOUBLE * double]) + numbers + streams

    def _encode(self, u: npt.NDArray[np.floating[Any]], bounded: bool) -> bytes:
        return bytes(libraries().zfp_encode(u, 1.0, mode="a", numthreads=1))

    def _decode(self, data: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
        decoded: Array = libraries().zfp_decode(data, shape=None, numthreads=1)
        if decoded.dtype != kind:
            raise PayloadError(f"ZFP gives {decoded.dtype} pixels, the payload says {kind}")
        return decoded
