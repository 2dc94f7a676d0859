"""JPEG 2000 baselines with counted bytes: what a learned codec has to beat, and nothing more.

Each baseline turns an integer tile into one payload that decodes by itself; every header, length
and basis is in the payload, so `len(payload)` is the whole cost. `quality` is OpenJPEG's PSNR
target in dB of a 65535 peak, so a step of 3 halves the squared error, for any tile:
mean squared error aimed at = 65535^2 / 10^(quality / 10).

Baselines know no nodata and have no card: they serve benchmarks, not stores.

Why two KLT baselines: `klt-jpeg2000` codes every spectral component to the same squared error in
a codestream of its own. `klt-jpeg2000-joint` puts all components into one codestream, whose rate
control spends bits where they lower the error most over all components; with a 16-bit basis and
one resolution level fewer it is 10 to 25% smaller at equal PSNR, most so at low rates and on small
or smooth tiles. It is the stronger rival and the one to quote.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import DataTypeUnsupportedError, InvalidParameterError, PayloadError

Array = npt.NDArray[Any]
_SIGNED = 0x80
_MIDDLE = 32768
_COUNT_AND_FLAGS = struct.Struct("<BB")


class Baseline(Protocol):
    """A classical codec of one tile; what the benchmarks ask of it."""

    @property
    def name(self) -> str:
        """Id in tables and options, e.g. `jpeg2000-bands`."""

    @property
    def title(self) -> str:
        """One line for listings."""

    @property
    def qualities(self) -> tuple[float, ...]:
        """Levels that span about 37 to 50 dB on Sentinel-2, lowest first."""

    def encode(self, x: Array, quality: float) -> bytes:
        """`(bands, y, x)` uint16 or int16 to a payload.

        Raises
        ------
        DataTypeUnsupportedError, InvalidParameterError
        """

    def decode(self, payload: bytes) -> Array:
        """The tile of a payload, same shape and dtype.

        Raises
        ------
        PayloadError
        """


def _imagecodecs() -> ModuleType:
    return importlib.import_module("imagecodecs")  # on first use: it loads many libraries


def _checked(x: Array) -> Array:
    if x.ndim != 3 or x.size == 0 or x.shape[0] > 255:
        raise InvalidParameterError(
            f"A tile of shape {x.shape} was given; expected (bands, y, x) with 1 to 255 bands."
        )
    if x.dtype not in (np.dtype(np.uint16), np.dtype(np.int16)):
        raise DataTypeUnsupportedError(
            f"The classical baselines take uint16 and int16; {x.dtype} was given."
        )
    return x


def _j2k(x: Array, quality: float, resolutions: int | None = None) -> bytes:
    """One codestream, 9/7 wavelet, of `(y, x)` or `(components, y, x)`; no colour transform."""
    return bytes(
        _imagecodecs().jpeg2k_encode(
            np.ascontiguousarray(x),
            level=quality,
            codecformat="j2k",
            reversible=False,
            planar=True,
            mct=False,
            resolutions=resolutions,
        )
    )


def _from_j2k(stream: bytes) -> Array:
    """`(components, y, x)` of a codestream."""
    module = _imagecodecs()
    try:
        image: Array = module.jpeg2k_decode(stream, planar=True)
    except (module.Jpeg2kError, ValueError) as error:
        raise PayloadError(f"A JPEG 2000 codestream cannot be decoded: {error}.") from error
    return image[None] if image.ndim == 2 else image


def _join(streams: Sequence[bytes]) -> bytes:
    lengths = np.array([len(stream) for stream in streams], "<u4")
    return bytes([len(streams)]) + lengths.tobytes() + b"".join(streams)


def _split(payload: bytes) -> list[bytes]:
    count = payload[0] if payload else 0
    start = 1 + 4 * count
    if count == 0 or len(payload) < start:
        raise PayloadError("The payload is truncated: its codestreams' lengths are missing.")
    ends = start + np.cumsum(np.frombuffer(payload, "<u4", count, 1), dtype=np.int64)
    if ends[-1] != len(payload):
        raise PayloadError(f"The payload has {len(payload)} bytes; its lengths say {ends[-1]}.")
    return [payload[a:b] for a, b in zip([start, *ends[:-1]], ends, strict=True)]


def _stack(streams: Sequence[bytes]) -> Array:
    images = [_from_j2k(stream) for stream in streams]
    if len({(image.shape, image.dtype) for image in images}) != 1:
        raise PayloadError("The payload's codestreams have different shapes.")
    return np.concatenate(images)


@dataclass(frozen=True, kw_only=True)
class Jpeg2000Bands:
    """Every band a codestream of its own, all at one target."""

    name: str = "jpeg2000-bands"
    """Id in tables and options."""
    title: str = "JPEG 2000 a band"
    """One line for listings."""
    qualities: tuple[float, ...] = (54, 57, 60, 63, 66)
    """PSNR targets of a 65535 peak."""

    def encode(self, x: Array, quality: float) -> bytes:
        """See `Baseline`."""
        return _join([_j2k(band, quality) for band in _checked(x)])

    def decode(self, payload: bytes) -> Array:
        """See `Baseline`."""
        return _stack(_split(payload))


@dataclass(frozen=True, kw_only=True)
class Jpeg2000Components:
    """All bands as the components of one codestream, whose rate control shares bits among them."""

    name: str = "jpeg2000-components"
    """Id in tables and options."""
    title: str = "JPEG 2000, all bands in one codestream"
    """One line for listings."""
    qualities: tuple[float, ...] = (54, 57, 60, 63, 66)
    """PSNR targets of a 65535 peak, over all bands."""

    def encode(self, x: Array, quality: float) -> bytes:
        """See `Baseline`."""
        return _j2k(_checked(x), quality)

    def decode(self, payload: bytes) -> Array:
        """See `Baseline`."""
        return _from_j2k(payload)


@dataclass(frozen=True, kw_only=True)
class KltJpeg2000:
    """Spectral KLT of the tile, components through JPEG 2000, basis and means in the payload.

        count, flags | basis (bands, bands) | means (bands) | codestream(s)

    Components are stored as `round(y / 2^shift) + 32768` in uint16; the shift is 0 unless they
    need more. The encoder projects with the inverse of the rounded basis, so rounding it costs
    nothing in the reconstruction.
    """

    name: str
    """Id in tables and options."""
    title: str
    """One line for listings."""
    qualities: tuple[float, ...]
    """PSNR targets of a 65535 peak: a component, or over all if `joint`."""
    joint: bool
    """All components in one codestream and a 16-bit basis; else one each and a float32 basis."""
    resolutions: int | None = None
    """Resolution levels of the wavelet; None is OpenJPEG's default of 6."""

    @property
    def _basis_format(self) -> tuple[str, str, float]:
        """dtype of the basis, dtype of the means, steps a unit of the basis."""
        return ("<i2", "<u2", 32767.0) if self.joint else ("<f4", "<f4", 1.0)

    def encode(self, x: Array, quality: float) -> bytes:
        """See `Baseline`."""
        signed = _checked(x).dtype.kind == "i"
        pixels = x.reshape(len(x), -1).astype(np.float64) + (_MIDDLE if signed else 0)
        basis_type, mean_type, steps = self._basis_format
        mean = pixels.mean(axis=1, keepdims=True)
        mean = (np.round(mean) if self.joint else mean).astype(mean_type)
        centred = pixels - mean
        basis = np.linalg.eigh(centred @ centred.T / centred.shape[1])[1][:, ::-1] * steps
        basis = (np.round(basis) if self.joint else basis).astype(basis_type)
        y = np.linalg.solve(basis / steps, centred).reshape(x.shape)
        shift = max(0, int(np.ceil(np.log2(max(np.abs(y).max(), 1.0) / (_MIDDLE - 2)))))
        q = (np.round(y / 2**shift) + _MIDDLE).astype(np.uint16)
        level = quality + 20 * np.log10(2.0**shift)
        head = _COUNT_AND_FLAGS.pack(len(x), shift | (_SIGNED if signed else 0))
        body = (
            _j2k(q, level, self.resolutions)
            if self.joint
            else _join([_j2k(component, level, self.resolutions) for component in q])
        )
        return b"".join((head, basis.tobytes(), mean.tobytes(), body))

    def decode(self, payload: bytes) -> Array:
        """See `Baseline`."""
        basis_type, mean_type, steps = self._basis_format
        bands, flags = _COUNT_AND_FLAGS.unpack_from(payload.ljust(_COUNT_AND_FLAGS.size, b"\0"))
        at_mean = _COUNT_AND_FLAGS.size + bands * bands * np.dtype(basis_type).itemsize
        at_body = at_mean + bands * np.dtype(mean_type).itemsize
        if bands == 0 or len(payload) <= at_body:
            raise PayloadError("The payload is truncated: its basis is missing.")
        basis = np.frombuffer(payload, basis_type, bands * bands, _COUNT_AND_FLAGS.size)
        mean = np.frombuffer(payload, mean_type, bands, at_mean).astype(np.float64)
        body = payload[at_body:]
        q = _from_j2k(body) if self.joint else _stack(_split(body))
        if len(q) != bands or q.dtype != np.uint16:
            raise PayloadError(f"The payload's basis has {bands} bands, its pixels {len(q)}.")
        y = (q.reshape(bands, -1).astype(np.float64) - _MIDDLE) * 2.0 ** (flags & ~_SIGNED)
        pixels = basis.reshape(bands, bands) / steps @ y + mean[:, None]
        x: Array = np.clip(np.round(pixels), 0, 65535).reshape(q.shape)
        return (x - _MIDDLE).astype(np.int16) if flags & _SIGNED else x.astype(np.uint16)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Jpeg2000Bands(),
            Jpeg2000Components(),
            KltJpeg2000(
                name="klt-jpeg2000",
                title="Spectral KLT + JPEG 2000 a component",
                qualities=(51, 54, 57, 60, 63, 66),
                joint=False,
            ),
            KltJpeg2000(
                name="klt-jpeg2000-joint",
                title="Spectral KLT + JPEG 2000, all components in one codestream",
                qualities=(54, 57, 60, 63, 66),
                joint=True,
                resolutions=5,
            ),
        )
    }
)
"""The baselines by name."""
