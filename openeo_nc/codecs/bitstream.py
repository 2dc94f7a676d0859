"""The payload of one tile, versions 1 and 2: header, sections, digests and checksum around coded bytes.

All numbers are little endian:

    magic            4s  b"ONC1"
    version          u8  1, or 2 with a flag that 1 does not know
    flags            u8  1 basis of the card, 2 nodata given, 4 mask present, 8 empty;
                         since version 2: 16 residual present, 32 several dates
    dtype            u8  code of the pixels' dtype
    sections         u8  number of sections
    tag              8s  first bytes of sha256(codec id + sha256 of the weights)
    quality          u16 quality * 256
    bands            u16
    height, width    u16, u16
    nodata           f8  only with flag 2
    dates            u16 only with flag 32: bands are those of the first date, of the second, ...
    lengths          u32 of each section
    header digest    u32 crc32 of all bytes before it
    section bytes
    content digest   u32 crc32 of the header digest and of what the sections decode to
    checksum         u32 crc32 of all bytes before it

The checksum finds damage in storage. The digests bind header, bytes and decoded integers to each
other: when somebody changes bytes and makes the checksum right again, a changed header is refused
before anything is allocated, and changed sections after entropy decoding, before a network runs.
They are no signature: whoever recomputes all three has written a payload of their own.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.base import MAX_ELEMENTS, Basis, CodecCard, Latents
from openeo_nc.errors import (
    DataTypeUnsupportedError,
    InvalidParameterError,
    PayloadError,
    PayloadModelError,
    PayloadVersionError,
)

MAGIC = b"ONC1"
VERSION = 2
"""Newest version that is written; payloads that need nothing of it are version 1."""
TAG_BYTES = 8
QUALITY_STEP = 1 / 256
"""Qualities are stored as multiples of this."""

_FIXED = struct.Struct("<4sBBBB8sHHHH")
PEEK = _FIXED.size
"""Bytes of a payload that `peek` looks at."""
_CARD_BASIS, _NODATA, _MASK, _EMPTY, _RESIDUAL, _DATES = 1, 2, 4, 8, 16, 32
_FLAGS = {1: 15, 2: 63}
_DTYPES: tuple[np.dtype[Any], ...] = (
    *map(np.dtype, ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")),
)
_MASK_RAW, _MASK_ZLIB, _MASK_SHARED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a payload says of its tile before anything is decoded."""

    tag: bytes
    """8 bytes that name codec and weights, see `codec_tag`."""
    quality: float
    """Multiple of 1/256 in 0..255."""
    shape: tuple[int, int, int]
    """`(bands, height, width)` of the pixels, each 1..65535."""
    dtype: np.dtype[Any]
    """dtype of the pixels."""
    basis: Basis = "tile"
    """Whose spectral basis the latents are in."""
    nodata: float | None = None
    """Value of masked pixels; None means NaN."""
    masked: bool = False
    """True if a mask section is there; the codec knows which one it is."""
    empty: bool = False
    """True if every pixel is masked; then no mask section is needed."""
    bounded: bool = False
    """True if the last section is a residual, which bounds the error."""
    dates: int = 1
    """Dates that the bands belong to, as many bands each."""

    @classmethod
    def of(cls, latents: Latents, tag: bytes) -> Header:
        """The header that goes with latents of the codec named by tag."""
        masked = latents.mask is not None and bool(latents.mask.any())
        nodata = latents.nodata
        return cls(
            tag=tag,
            quality=latents.quality,
            shape=latents.shape,
            dtype=latents.dtype,
            basis=latents.basis,
            nodata=None if nodata is None or math.isnan(nodata) else float(nodata),
            masked=masked and not latents.empty,
            empty=latents.empty,
            bounded=latents.residual is not None and not latents.empty,
            dates=latents.dates,
        )

    @property
    def fault(self) -> str | None:
        """What keeps this header from being a payload's, or None."""
        if any(not 1 <= n <= 0xFFFF for n in self.shape):
            return f"shape {self.shape} has a side outside 1..65535"
        if math.prod(self.shape) > MAX_ELEMENTS:
            return f"shape {self.shape} has more than {MAX_ELEMENTS} elements"
        if self.masked and self.empty:
            return "a tile without valid pixels needs no mask"
        if (self.masked or self.empty) and self.nodata is None and self.dtype.kind != "f":
            return f"masked {self.dtype} pixels need a nodata value"
        if not 1 <= self.dates <= self.shape[0] or self.shape[0] % self.dates:
            return f"{self.shape[0]} bands are not those of {self.dates} dates"
        if self.bounded and self.empty:
            return "a tile without valid pixels needs no residual"
        return None


def codec_tag(card: CodecCard) -> bytes:
    """The 8 bytes by which a payload names the codec and the weights that wrote it."""
    return tag_of(card.codec_id, card.weights_sha256)


def tag_of(codec_id: str, weights_sha256: str | None) -> bytes:
    """`codec_tag` of the card that has this id and these weights."""
    return hashlib.sha256(f"{codec_id}{weights_sha256 or ''}".encode()).digest()[:TAG_BYTES]


def round_quality(quality: float) -> float:
    """The nearest quality that a payload can store."""
    return round(quality / QUALITY_STEP) * QUALITY_STEP


def content_digest(header: Header, *parts: npt.NDArray[Any] | bytes | None) -> int:
    """crc32 over header fields and what the sections decode to: integers, side data, mask.

    Each part counts with its length; arrays in C order, little endian; None is an absent part.
    """
    digest = zlib.crc32(_fields(header, 0))
    for part in parts:
        if part is None:
            digest = zlib.crc32(b"\xff", digest)
            continue
        if isinstance(part, np.ndarray):
            part = np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes()
        digest = zlib.crc32(part, zlib.crc32(struct.pack("<Q", len(part)), digest))
    return digest


def check_digest(header: Header, expected: int, *parts: npt.NDArray[Any] | bytes | None) -> None:
    """Raise PayloadError unless the decoded parts are those that the payload was written from."""
    if content_digest(header, *parts) != expected:
        raise PayloadError("the payload's sections do not decode to what was written in it")


def write(header: Header, sections: Sequence[bytes], digest: int) -> bytes:
    """One payload.

    Raises
    ------
    InvalidParameterError
        The tile is too large for one payload, or the quality cannot be stored.
    DataTypeUnsupportedError
    """
    if header.fault:
        raise InvalidParameterError(f"cannot write a payload: {header.fault}")
    head = _fields(header, len(sections))
    head += struct.pack(f"<{len(sections)}I", *map(len, sections))
    head += struct.pack("<I", zlib.crc32(head))
    body = b"".join([head, *sections, struct.pack("<I", digest)])
    return body + struct.pack("<I", zlib.crc32(body))


def peek(start: bytes) -> tuple[bytes | None, str]:
    """Tag and form of a payload from its first `PEEK` bytes, unchecked, for counting.

    The form is `plain`, `residual`, `empty` or `dates`. Bytes of another format have no tag.
    """
    if len(start) < PEEK or not start.startswith(MAGIC):
        return None, "plain"
    _, _, flags, _, _, tag, *_ = _FIXED.unpack_from(start)
    forms = {_DATES: "dates", _EMPTY: "empty", _RESIDUAL: "residual"}
    return tag, next((form for flag, form in forms.items() if flags & flag), "plain")


def holds_dates(start: bytes) -> bool:
    """Whether a payload says that it is one of several dates; unchecked, as in `peek`."""
    return peek(start)[1] == "dates"


def read(payload: bytes, *, tag: bytes | None) -> tuple[Header, list[bytes], int]:
    """Header, sections and content digest of a payload that the codec named by tag wrote.

    Parameters
    ----------
    payload
        The bytes of `write`, all of them and nothing else.
    tag
        `codec_tag` of the reader's card; None takes any codec's payload, for inspection.

    Raises
    ------
    PayloadError, PayloadVersionError, PayloadModelError
    """
    try:
        payload = bytes(memoryview(payload))
    except TypeError as error:
        raise PayloadError(f"a payload is bytes, got {type(payload).__name__}") from error
    if len(payload) < _FIXED.size + 12:
        raise PayloadError(f"a payload has at least {_FIXED.size + 12} bytes, got {len(payload)}")
    magic, version, flags, code, count, written_tag, quality, *shape = _FIXED.unpack_from(payload)
    if magic != MAGIC:
        raise PayloadError(f"not a payload: it starts with {magic!r}, expected {MAGIC!r}")
    if version not in _FLAGS:
        raise PayloadVersionError(
            f"payload of bitstream version {version}, this reads versions up to {VERSION}"
        )
    if zlib.crc32(payload[:-4]) != _u32(payload, len(payload) - 4):
        raise PayloadError("the payload's checksum is wrong: it was truncated or changed")
    if flags & ~_FLAGS[version] or code >= len(_DTYPES):
        raise PayloadError(f"the payload's header has unknown flags {flags} or dtype {code}")
    at_dates = _FIXED.size + (8 if flags & _NODATA else 0)
    at = at_dates + (2 if flags & _DATES else 0)
    start = at + 4 * count + 4
    if len(payload) < start + 8 or zlib.crc32(payload[: start - 4]) != _u32(payload, start - 4):
        raise PayloadError("the payload's header was changed")
    header = Header(
        tag=written_tag,
        quality=quality * QUALITY_STEP,
        shape=(shape[0], shape[1], shape[2]),
        dtype=_DTYPES[code],
        basis="card" if flags & _CARD_BASIS else "tile",
        nodata=struct.unpack_from("<d", payload, _FIXED.size)[0] if flags & _NODATA else None,
        masked=bool(flags & _MASK),
        empty=bool(flags & _EMPTY),
        bounded=bool(flags & _RESIDUAL),
        dates=int.from_bytes(payload[at_dates:at], "little") if flags & _DATES else 1,
    )
    if header.fault:
        raise PayloadError(f"the payload's header is not valid: {header.fault}")
    if tag is not None and written_tag != tag:
        raise PayloadModelError(
            f"the payload was written by codec and weights {written_tag.hex()}, "
            f"this codec and its weights are {tag.hex()}"
        )
    sections, end = [], start
    for length in struct.unpack_from(f"<{count}I", payload, at):
        sections.append(payload[end : end + length])
        end += length
    if end != len(payload) - 8:
        raise PayloadError("the payload's sections do not fill it")
    return header, sections, _u32(payload, end)


def reseal(payload: bytes) -> bytes:
    """The same bytes with the final checksum made right, as a test or an attacker would."""
    return payload[:-4] + struct.pack("<I", zlib.crc32(payload[:-4]))


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """`(bands, height, width)` bool to bytes: bits, one plane if all bands agree, deflated."""
    method = _MASK_RAW
    if bool((mask == mask[:1]).all()):
        mask, method = mask[:1], method | _MASK_SHARED
    bits = np.packbits(mask).tobytes()
    deflated = zlib.compress(bits, 9)
    if len(deflated) < len(bits):
        bits, method = deflated, method | _MASK_ZLIB
    return bytes([method]) + bits


def decode_mask(data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """The `(bands, height, width)` bool mask of `encode_mask`; inflates no more than it needs."""
    if not data or data[0] > _MASK_ZLIB | _MASK_SHARED:
        raise PayloadError("the mask is coded in a way that is not known")
    method, bits = data[0], data[1:]
    planes = (1 if method & _MASK_SHARED else shape[0], *shape[1:])
    elements = math.prod(planes)
    size = -(-elements // 8)
    if method & _MASK_ZLIB:
        inflater = zlib.decompressobj()
        try:
            bits = inflater.decompress(bits, size + 1)
        except zlib.error as error:
            raise PayloadError(f"the mask does not inflate: {error}") from error
        if not inflater.eof or inflater.unused_data:
            raise PayloadError("the mask is longer or shorter than its tile")
    if len(bits) != size:
        raise PayloadError(f"the mask has {len(bits)} bytes, its tile needs {size}")
    plane = np.unpackbits(np.frombuffer(bits, np.uint8), count=elements).reshape(planes)
    return np.broadcast_to(plane.view(np.bool_), shape)


def _fields(header: Header, sections: int) -> bytes:
    """The header's bytes up to and with nodata."""
    if header.dtype not in _DTYPES:
        raise DataTypeUnsupportedError(f"no payload holds {header.dtype} pixels")
    quality = header.quality / QUALITY_STEP
    if quality != int(quality) or not 0 <= quality <= 0xFFFF:
        raise InvalidParameterError(f"quality {header.quality} is no multiple of 1/256 in 0..255")
    flags = (
        _CARD_BASIS * (header.basis == "card")
        | _NODATA * (header.nodata is not None)
        | _MASK * header.masked
        | _EMPTY * header.empty
        | _RESIDUAL * header.bounded
        | _DATES * (header.dates > 1)
    )
    version = min(v for v, known in _FLAGS.items() if not flags & ~known)
    code = _DTYPES.index(header.dtype)
    fixed = (MAGIC, version, flags, code, sections, header.tag, int(quality), *header.shape)
    nodata = b"" if header.nodata is None else struct.pack("<d", header.nodata)
    dates = struct.pack("<H", header.dates) if header.dates > 1 else b""
    return _FIXED.pack(*fixed) + nodata + dates


def _u32(payload: bytes, at: int) -> int:
    return int.from_bytes(payload[at : at + 4], "little")
