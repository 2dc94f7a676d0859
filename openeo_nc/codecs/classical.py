"""The classical codecs: libraries of `imagecodecs` as codecs of this package, with cards of their own.

        x --fill what is missing--> Coder --bytes--> payload = header | mask | bytes | checksums

They have no latents. A payload coded to a bound has the quality 0 in its header. The content digest
is over the bytes that the library wrote, and is checked before the library sees them: its decoder
may read beyond its input, or end the process, where a byte of it was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import bitstream
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import MAX_ELEMENTS, Basis, Codec, CodecCard
from openeo_nc.codecs.bitstream import Header
from openeo_nc.codecs.bounded import kept
from openeo_nc.codecs.classical_coder import Array, Coder, Floats
from openeo_nc.codecs.classical_fields import Sperr, Sz3, Zfp
from openeo_nc.codecs.classical_images import Htj2k, Jpeg2000, JpegXl
from openeo_nc.codecs.classical_pcodec import Pcodec
from openeo_nc.codecs.framing import checked_quality, pixels_shape, stored_nodata
from openeo_nc.codecs.klt_dct_side import fixed_peak
from openeo_nc.errors import (
    CardInvalidError,
    DataTypeUnsupportedError,
    InvalidParameterError,
    InvalidValuesError,
    PayloadError,
)

CODERS: Mapping[str, Callable[[], Coder]] = MappingProxyType(
    {
        "jpeg2000": Jpeg2000,
        "htj2k": Htj2k,
        "jpegxl": JpegXl,
        "sperr": Sperr,
        "sz3": Sz3,
        "zfp": Zfp,
        "pcodec": Pcodec,
    }
)
"""What codes for the card of an id."""
_TO_A_BOUND = 0.0
"""Quality in the header of a payload that was coded to a bound."""
_ATTEMPTS = 6
_SLACK = 0.999
"""Of the bound, that a library is asked for; a few of them are above it by parts in a million."""


def load(card: CodecCard, *, device: str | None = None) -> ClassicalCodec:
    """The codec of a card; `device` is of no consequence.

    Raises
    ------
    CardInvalidError
        No library goes by the card's id.
    """
    if card.codec_id not in CODERS:
        raise CardInvalidError(
            f"no classical codec '{card.codec_id}'; there are {', '.join(CODERS)}"
        )
    return ClassicalCodec(card, CODERS[card.codec_id]())


class ClassicalCodec(Codec):
    """A library as a codec of this package."""

    keeps_bounds = True

    def __init__(self, card: CodecCard, coder: Coder) -> None:
        self.card = card
        self._coder = coder
        self._tag = bitstream.codec_tag(card)

    def encode(
        self,
        x: npt.NDArray[Any],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> bytes:
        level = checked_quality(self.card, quality)
        if basis not in get_args(Basis) or basis == "card":
            raise InvalidParameterError(
                f"basis {basis!r}: {self.card.codec_id} has none, expected 'tile'"
            )
        tile = self._tile(x, nodata)
        if tile.empty:
            return self._payload(tile, level, None)
        filled = tile.filled(self._coder.fade)
        return self._payload(tile, level, self._coder.at_quality(filled, level, tile.peak))

    def encode_bounded(
        self, x: npt.NDArray[Any], max_error: Sequence[float], *, nodata: float | None = None
    ) -> bytes:
        tile = self._tile(x, nodata)
        bounds = np.asarray(max_error, np.float64)
        if bounds.shape != (len(x),) or not (np.isfinite(bounds) & (bounds >= 0)).all():
            raise InvalidParameterError(
                f"max_error {max_error}: expected {len(x)} numbers from 0, one a band"
            )
        if tile.empty:
            return self._payload(tile, _TO_A_BOUND, None)
        data = self._within(tile, bounds)
        if data is None:
            raise InvalidParameterError(
                f"{self.card.codec_id} cannot keep a bound of {bounds.min()} on these {x.dtype} pixels"
            )
        return self._payload(tile, _TO_A_BOUND, data)

    def _within(self, tile: _Tile, bounds: Floats) -> bytes | None:
        """What the library wrote that decodes within bounds `(bands,)`; None if nothing does."""
        exact = tile.x.dtype.kind != "f"
        targets = np.floor(bounds) + 0.5 if exact else bounds
        tolerances = _SLACK * targets
        filled = tile.filled(self._coder.fade)
        for attempt in range(_ATTEMPTS):
            if exact and attempt == _ATTEMPTS - 1:
                tolerances = np.full(len(bounds), _SLACK / 2)  # whole numbers come back exactly
            try:
                data = self._coder.within(filled, tolerances)
            except InvalidValuesError:  # too many steps for the library
                return None
            out = self._restored(tile.header, data, tile.mask)
            if kept(tile.x, out, tile.mask, bounds):
                return data
            tolerances = tolerances * _tightening(tile, out, targets)
        return None

    def decode(self, payload: bytes) -> npt.NDArray[Any]:
        header, sections, digest = bitstream.read(payload, tag=self._tag)
        bitstream.check_digest(header, digest, *sections)
        low, high, _ = self.card.quality
        expected = 0 if header.empty else 1 + header.masked
        if len(sections) != expected or not (
            header.quality == _TO_A_BOUND or low <= header.quality <= high
        ):
            raise PayloadError(
                f"the payload has {len(sections)} sections and quality {header.quality}; "
                f"expected {expected}, and 0 or {low} to {high}"
            )
        if header.dtype.name not in self.card.dtypes:
            raise PayloadError(f"the payload holds {header.dtype} pixels, which no such codec has")
        if header.empty:
            return np.full(header.shape, _missing_value(header), header.dtype)
        mask = bitstream.decode_mask(sections[0], header.shape) if header.masked else None
        return self._restored(header, sections[-1], mask)

    def _tile(self, x: npt.NDArray[Any], nodata: float | None) -> _Tile:
        if x.dtype.name not in self.card.dtypes:
            raise DataTypeUnsupportedError(
                f"dtype {x.dtype}: {self.card.codec_id} takes {', '.join(self.card.dtypes)}"
            )
        if x.ndim != 3 or not 0 < x.size <= MAX_ELEMENTS:
            raise InvalidParameterError(
                f"array of shape {x.shape}: expected (bands, y, x), 1 to {MAX_ELEMENTS} values"
            )
        mask = missing.find(x, nodata)
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
        header = Header(
            tag=self._tag,
            quality=_TO_A_BOUND,
            shape=pixels_shape(x),
            dtype=x.dtype,
            nodata=stored_nodata(nodata),
            masked=mask is not None and not mask.all(),
            empty=mask is not None and bool(mask.all()),
        )
        return _Tile(x=x, mask=mask, header=header)

    def _payload(self, tile: _Tile, quality: float, data: bytes | None) -> bytes:
        header = replace(tile.header, quality=quality)
        sections = [] if data is None else [data]
        if header.masked and tile.mask is not None:
            sections.insert(0, bitstream.encode_mask(tile.mask))
        return bitstream.write(header, sections, bitstream.content_digest(header, *sections))

    def _restored(self, header: Header, data: bytes, mask: missing.Mask | None) -> npt.NDArray[Any]:
        values = self._coder.pixels(data, header.shape, header.dtype)
        return missing.restore(values, header.dtype, mask, header.nodata)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tile:
    """What is to be coded."""

    x: Array
    """`(bands, y, x)` in the machine's byte order."""
    mask: missing.Mask | None
    """Where it is missing."""
    header: Header
    """What a payload says of it; the quality is left to be filled in."""

    @property
    def empty(self) -> bool:
        """True if every pixel is missing."""
        return self.header.empty

    def filled(self, fade: float) -> Array:
        """The pixels without gaps; a band that has none takes the smallest of the others."""
        if self.mask is None:
            return self.x
        filled = missing.fill(self.x, self.mask, fade=fade)
        filled[self.mask.all(axis=(1, 2))] = self.x[~self.mask].min()
        return filled

    @property
    def peak(self) -> float:
        """What the quality refers to: that of the dtype, or the range of valid values."""
        fixed = fixed_peak(self.x.dtype)
        if fixed is not None:
            return fixed
        valid = self.x if self.mask is None else self.x[~self.mask]
        lowest, highest = float(valid.min()), float(valid.max())
        limit = float(np.finfo(np.float64).max)
        return min(highest / 2 - lowest / 2, limit / 2) * 2 or 1.0


def _tightening(tile: _Tile, out: Array, targets: Floats) -> Floats:
    """`(bands,)` what to multiply tolerances with, for a payload that left the bound."""
    error = np.abs(tile.x.astype(np.float64) - out.astype(np.float64))
    if tile.mask is not None:
        error[tile.mask] = 0
    ratio = targets / np.maximum(error.max(axis=(1, 2)), targets + np.finfo(np.float64).tiny)
    return np.where(ratio < 1, 0.95 * ratio, 1.0)


def _missing_value(header: Header) -> float:
    return np.nan if header.nodata is None else header.nodata
