"""Which codec wrote a payload, and tiles of payloads of several codecs and of groups of dates.

A store's payloads need not all be of its own codec: under a bound a tile takes whichever codec
codes it smallest, and several dates of a tile may be one payload. Date i of such a group is

    i zero bytes, then the group's payload

which no payload starts with, so that every date's bytes decode without knowing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.base import Codec, CodecCard
from openeo_nc.codecs.bitstream import Header
from openeo_nc.codecs.group_memo import memo
from openeo_nc.codecs.registry import list_codecs
from openeo_nc.errors import PayloadError

Tile = npt.NDArray[Any]
MOST_DATES = 0xFFFF
"""No group has more dates, and no payload more leading zeros."""


def split(payload: bytes) -> tuple[int, bytes]:
    """The date within its group, from 0, and the group's payload; 0 and all of it otherwise."""
    if payload[:1] != b"\0":
        return 0, payload
    body = payload[: MOST_DATES + 1].lstrip(b"\0")
    date = min(len(payload), MOST_DATES + 1) - len(body)
    return (date, payload[date:]) if body.startswith(bitstream.MAGIC[:1]) else (0, payload)


def codec_of(payload: bytes, cards: Sequence[CodecCard] | None = None) -> CodecCard | None:
    """The card among `cards`, default the registered ones, whose codec wrote a payload.

    None if none did, or if the bytes are of another format; nothing is checked but the tag.
    """
    written = tag(payload)
    known = list_codecs() if cards is None else cards
    return next((card for card in known if bitstream.codec_tag(card) == written), None)


def tag(payload: bytes) -> bytes | None:
    """`bitstream.codec_tag` of the codec that wrote a payload; None if it is of another format."""
    body = split(payload)[1]
    return body[8 : 8 + bitstream.TAG_BYTES] if body.startswith(bitstream.MAGIC) else None


def reader_of(
    payload: bytes,
    primary: Codec,
    open_: Callable[[CodecCard], Codec],
    cards: Sequence[CodecCard] | None = None,
) -> Codec:
    """The codec that reads a payload: `primary`, unless another one of `cards` wrote it."""
    if codec_of(payload, [primary.card]) is not None:
        return primary
    card = codec_of(payload, cards)
    return primary if card is None else open_(card)


def decode_batch(
    payloads: Sequence[bytes],
    primary: Codec,
    open_: Callable[[CodecCard], Codec],
    cards: Sequence[CodecCard] | None = None,
) -> list[Tile]:
    """Tiles `(bands, y, x)` of payloads, each decoded by the codec that wrote it.

    Parameters
    ----------
    payloads
        Of one date each; those of dates of one group decode the group once.
    primary
        The codec that most are of; gets what no other card claims, and raises its errors.
    open_
        Opens the codec of a card.
    cards
        Codecs that payloads may be of, default the registered ones.

    Raises
    ------
    PayloadError, PayloadVersionError, PayloadModelError
    """
    parts = [split(payload) for payload in payloads]
    by_codec: dict[int, tuple[Codec, list[bytes]]] = {}
    for body in dict.fromkeys(body for _, body in parts):
        codec = reader_of(body, primary, open_, cards)
        by_codec.setdefault(id(codec), (codec, []))[1].append(body)
    tiles: dict[bytes, Tile] = {}
    for codec, bodies in by_codec.values():
        groups = [body for body in bodies if bitstream.holds_dates(body)]
        single = [body for body in bodies if not bitstream.holds_dates(body)]
        if single:
            tiles.update(zip(single, codec.decode_batch(single), strict=True))
        tiles.update((body, memo.decode(body, codec)) for body in groups)
    return [date_of(tiles[body], body, date) for date, body in parts]


def decode(
    payload: bytes,
    primary: Codec,
    open_: Callable[[CodecCard], Codec],
    cards: Sequence[CodecCard] | None = None,
) -> Tile:
    """The tile of one payload, as `decode_batch` gives it."""
    return decode_batch([payload], primary, open_, cards)[0]


def date_of(tile: Tile, payload: bytes, date: int) -> Tile:
    """The bands of one date of a decoded group; PayloadError if the group has no such date."""
    dates = _header(payload).dates if payload.startswith(bitstream.MAGIC) else 1
    if date >= dates:
        raise PayloadError(f"date {date} of a payload that holds {dates}")
    bands = len(tile) // dates
    return tile if dates == 1 else tile[date * bands : (date + 1) * bands].copy()


def describe(payload: bytes, cards: Sequence[CodecCard] | None = None) -> Mapping[str, Any]:
    """What a payload says of itself, for people: codec, quality, shape and what it carries.

    Raises
    ------
    PayloadError, PayloadVersionError
    """
    date, body = split(payload)
    header, card = _header(body), codec_of(body, cards)
    return {
        "codec": None if card is None else card.codec_id,
        "bytes": len(body),
        "quality": header.quality,
        "shape": header.shape,
        "dtype": np.dtype(header.dtype).name,
        "bounded": header.bounded,
        "masked": header.masked,
        "empty": header.empty,
        "dates": header.dates,
        "date": date,
    }


def _header(payload: bytes) -> Header:
    return bitstream.read(payload, tag=None)[0]
