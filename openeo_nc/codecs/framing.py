"""What the codecs here do alike: check a quality, frame a payload, leave out tiles without data.

        sections of a payload: side data, mask if there is one, what the architecture codes, and
                               the residual if there is one

An architecture says how its integers become bytes and back; the digest over them, side data and mask
is checked before anyone computes with what was decoded.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.base import CodecCard, IntArray, LatentCodec, Latents
from openeo_nc.codecs.bitstream import Header
from openeo_nc.codecs.residual import Residual
from openeo_nc.errors import InvalidParameterError, OpenEONCError, PayloadError


class FramedCodec(LatentCodec):
    """A codec whose payloads are `bitstream`'s."""

    def __init__(self, card: CodecCard, coded_sections: int) -> None:
        self.card = card
        self._coded_sections = coded_sections
        self._tag = bitstream.codec_tag(card)

    @abstractmethod
    def _latent_shape(
        self, shape: tuple[int, ...], error: type[OpenEONCError]
    ) -> tuple[int, int, int]:
        """Shape of y for pixels `(bands, y, x)`; raises `error` for pixels it does not take."""

    @abstractmethod
    def _check_side(self, header: Header, side: bytes) -> None:
        """Raise PayloadError unless side data are those of such a tile."""

    @abstractmethod
    def _code(self, latents: Latents) -> tuple[list[bytes], list[IntArray]]:
        """The coded sections, and the integers that decoding them gives."""

    @abstractmethod
    def _decode(self, header: Header, sections: list[bytes]) -> list[IntArray]:
        """The integers of coded sections, the ones of y first."""

    def _latents_of(self, coded: IntArray, shape: tuple[int, int, int]) -> IntArray:
        """y from the first integers of `_decode`; they may be less than y where the rest is zero."""
        y = np.zeros(shape, np.int32)
        y[: math.prod(coded.shape[:-2])] = coded.reshape(-1, *shape[1:])
        return y

    def pack(self, latents: Latents) -> bytes:
        header = Header.of(latents, self._tag)
        if latents.empty:
            return bitstream.write(header, [], bitstream.content_digest(header))
        mask = latents.mask if header.masked else None
        coded, integers = self._code(latents)
        masks = [] if mask is None else [bitstream.encode_mask(mask)]
        parts, residuals = [*integers, latents.side, mask], []
        if latents.residual is not None:
            residuals = [latents.residual.to_bytes(latents.mask)]
            parts += latents.residual.parts
        digest = bitstream.content_digest(header, *parts)
        return bitstream.write(header, [latents.side, *masks, *coded, *residuals], digest)

    def unpack(self, payload: bytes) -> Latents:
        header, sections, digest = bitstream.read(payload, tag=self._tag)
        shape = self._latent_shape(header.shape, PayloadError)
        low, high, _ = self.card.quality
        expected = 0 if header.empty else 1 + header.masked + self._coded_sections + header.bounded
        if len(sections) != expected or not low <= header.quality <= high:
            raise PayloadError(
                f"the payload has {len(sections)} sections and quality {header.quality}; "
                f"expected {expected}, and {low} to {high}"
            )
        y, side, mask, residual = np.zeros(shape, np.int32), b"", None, None
        if header.empty:
            mask = np.ones(header.shape, bool)
            bitstream.check_digest(header, digest)
        else:
            side = sections[0]
            self._check_side(header, side)
            if header.masked:
                mask = bitstream.decode_mask(sections[1], header.shape)
            if header.bounded:
                residual = Residual.from_bytes(sections.pop(), header.shape, mask)
            integers = self._decode(header, sections[-self._coded_sections :])
            parts = [] if residual is None else residual.parts
            bitstream.check_digest(header, digest, *integers, side, mask, *parts)
            y = self._latents_of(integers[0], shape)
        return Latents(
            y=y,
            quality=header.quality,
            shape=header.shape,
            dtype=header.dtype,
            basis=header.basis,
            side=side,
            mask=mask,
            nodata=header.nodata,
            residual=residual,
            dates=header.dates,
        )

    def channels(self, payload: bytes) -> int:
        header, _, _ = bitstream.read(payload, tag=self._tag)
        return self._latent_shape(header.shape, PayloadError)[0]

    def _checked_quality(self, quality: float | None) -> float:
        return checked_quality(self.card, quality)


def checked_quality(card: CodecCard, quality: float | None) -> float:
    """The quality that a payload can store; InvalidParameterError outside the card's range."""
    low, high, default = card.quality
    level = default if quality is None else float(quality)
    if not low <= level <= high:
        raise InvalidParameterError(f"quality {level}: expected a number from {low} to {high}")
    return bitstream.round_quality(level)


def stored_nodata(nodata: float | None) -> float | None:
    """The nodata value of latents: None for NaN."""
    return None if nodata is None or math.isnan(nodata) else float(nodata)


def pixels_shape(x: npt.NDArray[Any]) -> tuple[int, int, int]:
    """`(bands, height, width)` of an array of three dimensions."""
    return x.shape[0], x.shape[1], x.shape[2]
