"""JPEG 2000, High-Throughput JPEG 2000 and JPEG XL: integers of 8 and 16 bits.

kind (u8)   0 lossy, 1 on a lattice
lossy       the library's streams (JPEG XL: before them offset and gain)
lattice     lattice | the library's streams of its whole numbers, lossless
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from openeo_nc.codecs.classical_coder import (
    Array,
    Floats,
    Shape,
    decoding,
    encoding,
    join,
    libraries,
    shaped,
    split,
    step_like_klt,
)
from openeo_nc.codecs.classical_lattice import lattice_type
from openeo_nc.errors import InvalidParameterError, PayloadError

_LOSSY, _LATTICE = b"\0", b"\1"
_MOST = 65535


class ImageCoder(ABC):
    """A library with a lossy and a lossless mode; bounds are kept by way of the lossless one."""

    fade = 4.0
    library: str
    """Its name in messages."""

    def at_quality(self, x: Array, quality: float, peak: float) -> bytes:
        """See `Coder`."""
        with encoding(self.library):
            return _LOSSY + self._lossy(x, quality, peak)

    def within(self, x: Array, tolerances: Floats) -> bytes:
        """See `Coder`."""
        lattice = lattice_type(x.dtype).of(x, tolerances)
        q = lattice.quantised(x)
        if q.max() > _MOST:
            raise InvalidParameterError(
                f"{self.library} codes whole numbers of 16 bits; {x.dtype} pixels from {x.min()} to "
                f"{x.max()} within an error of {tolerances.min()} are more than that"
            )
        with encoding(self.library):
            return _LATTICE + lattice.to_bytes() + self._exact(q.astype(np.uint16))

    def pixels(self, data: bytes, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """See `Coder`."""
        with decoding(self.library):
            if data[:1] == _LOSSY:
                return self._lossy_values(data[1:], shape)
            if data[:1] != _LATTICE:
                raise PayloadError(f"the payload has the unknown kind {data[:1]!r}")
            lattice, streams = lattice_type(dtype).from_bytes(data[1:], shape[0])
            return lattice.pixels(self._exact_values(streams, shape), dtype)

    @abstractmethod
    def _lossy(self, x: Array, quality: float, peak: float) -> bytes: ...

    @abstractmethod
    def _lossy_values(self, data: bytes, shape: Shape) -> Array: ...

    @abstractmethod
    def _exact(self, q: Array) -> bytes: ...

    @abstractmethod
    def _exact_values(self, data: bytes, shape: Shape) -> Array: ...


class Jpeg2000(ImageCoder):
    """All bands in one codestream, whose rate control shares bits among them; 9/7 or 5/3 wavelet."""

    library = "OpenJPEG"
    _LEAST = 64  # pixels of a band; with fewer, rate control has too little to go by

    def at_quality(self, x: Array, quality: float, peak: float) -> bytes:
        """See `Coder`."""
        if x[0].size < self._LEAST:
            return self.within(x, np.zeros(len(x)))
        return super().at_quality(x, quality, peak)

    def _lossy(self, x: Array, quality: float, peak: float) -> bytes:
        # klt-dct's mean PSNR on Sentinel-2, close to two straight lines over quality
        psnr = 37.2 + 2.18 * quality + 1.02 * max(quality - 8, 0.0)
        return self._encode(x, reversible=False, level=psnr + 20 * math.log10(_full(x) / peak))

    def _lossy_values(self, data: bytes, shape: Shape) -> Array:
        image = libraries().jpeg2k_decode(data, planar=True, numthreads=1)
        return shaped(image, shape).astype(np.float64)

    def _exact(self, q: Array) -> bytes:
        return self._encode(q, reversible=True, level=0)

    def _exact_values(self, data: bytes, shape: Shape) -> Array:
        return shaped(libraries().jpeg2k_decode(data, planar=True, numthreads=1), shape)

    def _encode(self, x: Array, *, reversible: bool, level: float) -> bytes:
        stream = libraries().jpeg2k_encode(
            x, level, codecformat="j2k", planar=True, mct=False, reversible=reversible, numthreads=1
        )
        return bytes(stream)


class Htj2k(ImageCoder):
    """All bands in one codestream at one quantiser step; 9/7 or 5/3 wavelet."""

    library = "OpenJPH"

    def _lossy(self, x: Array, quality: float, peak: float) -> bytes:
        step = step_like_klt(quality, 0.505, 0.045) * peak / (_full(x) + 1)
        return bytes(libraries().htj2k_encode(x, step, planar=True, reversible=False))

    def _lossy_values(self, data: bytes, shape: Shape) -> Array:
        return shaped(libraries().htj2k_decode(data, planar=True), shape).astype(np.float64)

    def _exact(self, q: Array) -> bytes:
        return bytes(libraries().htj2k_encode(q, planar=True, reversible=True))

    def _exact_values(self, data: bytes, shape: Shape) -> Array:
        return shaped(libraries().htj2k_decode(data, planar=True), shape)


class JpegXl(ImageCoder):
    """Lossy: a band a stream, by DCT. Lossless: 64 bands a stream, as channels of one image.

    JPEG XL takes grey pixels for linear light and quantises about its cube root. Pixels are warped so
    that this comes out as a quantiser that is the same for dark and bright ones:

        light = (u + cbrt(bias))^3 - bias        u = 0.4 + (x - lowest) / (4 * peak)
    """

    library = "libjxl"
    _BIAS = 0.0037930732552754493  # of libjxl's opsin absorbance
    _HEAD = struct.Struct("<dd")
    _FLOOR = 0.4
    _GROUP = 64

    def _lossy(self, x: Array, quality: float, peak: float) -> bytes:
        lowest = float(x.min())
        # a quarter first: the difference of the largest floats is none
        u = self._FLOOR + (x.astype(np.float64) / 4 - lowest / 4) / peak
        light = ((u + np.cbrt(self._BIAS)) ** 3 - self._BIAS).astype(np.float32)
        # measured, as everywhere here, against klt-dct on Sentinel-2
        distance = 2 ** (1.67 - 0.532 * (quality - 1) - 0.158 * max(quality - 8, 0.0))
        streams = [
            bytes(libraries().jpegxl_encode(band, distance=distance, effort=5, numthreads=1))
            for band in light
        ]
        return self._HEAD.pack(lowest, peak) + join(streams)

    def _lossy_values(self, data: bytes, shape: Shape) -> Array:
        if len(data) < self._HEAD.size:
            raise PayloadError("the payload ends within its range")
        lowest, peak = self._HEAD.unpack_from(data)
        if not np.isfinite([lowest, peak]).all():
            raise PayloadError(f"the payload gives the range {lowest}, {peak}")
        values = np.empty(shape)
        for band, stream in zip(values, split(data[self._HEAD.size :], shape[0]), strict=True):
            light = libraries().jpegxl_decode(stream, numthreads=1)
            band[...] = shaped(light, (1, *shape[1:]))[0]
        values = np.cbrt(values + self._BIAS) - np.cbrt(self._BIAS)
        with np.errstate(over="ignore"):
            pixels: Floats = ((values - self._FLOOR) * peak + lowest / 4) * 4
        return pixels

    def _exact(self, q: Array) -> bytes:
        groups = [q[i : i + self._GROUP] for i in range(0, len(q), self._GROUP)]
        return join(
            [
                bytes(
                    libraries().jpegxl_encode(
                        group, lossless=True, effort=5, planar=True, numthreads=1
                    )
                )
                for group in groups
            ]
        )

    def _exact_values(self, data: bytes, shape: Shape) -> Array:
        starts = range(0, shape[0], self._GROUP)
        groups = [
            shaped(
                libraries().jpegxl_decode(stream, numthreads=1),
                (min(self._GROUP, shape[0] - start), *shape[1:]),
            )
            for start, stream in zip(starts, split(data, len(starts)), strict=True)
        ]
        return np.concatenate(groups)


def _full(x: Array) -> float:
    """Largest value of as many bits as a pixel has."""
    return float(2 ** (8 * x.itemsize) - 1)
