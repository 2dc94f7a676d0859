"""20,000 mutated payloads: each gives the right array or a typed error, in bounded time and memory.

Half of the mutated payloads get their checksum made right again, so that what lies behind it is
tried too. Each learned and each classical codec gets a share of them, the universal codec the rest.
"""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiles import dtypes, tile, usual

from openeo_nc.codecs import bitstream
from openeo_nc.codecs import payloads as group
from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.registry import UNIVERSAL, list_codecs, open_codec
from openeo_nc.errors import InvalidParameterError, PayloadError

TOTAL = 20_000
SHARES = {True: 500, False: 2500}
"""Of a classical codec, and of a learned one."""
HOSTILE = 400
SECONDS = 2.0
"""Most processor time that one payload may take."""
MEMORY = 64 << 20
"""Most bytes of arrays at one time; a tile here has some kB."""
HEADER = {"magic": (0, 4), "version": (4, 1), "flags": (5, 1), "dtype": (6, 1), "count": (7, 1)}
HEADER |= {"tag": (8, 8), "quality": (16, 2), "bands": (18, 2), "height": (20, 2), "width": (22, 2)}
HEADER |= {"first length": (24, 4), "second length": (28, 4), "third length": (32, 4)}


def classical(card) -> bool:
    """Whether a library decodes the payload's bytes, which trusts them once the digest is right."""
    return card.architecture == "classical"


def share(card) -> int:
    """How many of the mutations go to this card's codec."""
    others = [SHARES[classical(c)] for c in list_codecs() if c.codec_id != UNIVERSAL]
    return TOTAL - sum(others) if card.codec_id == UNIVERSAL else SHARES[classical(card)]


def hostile(card) -> int:
    """How many forged payloads go to this card's codec."""
    return HOSTILE if card.codec_id == UNIVERSAL else HOSTILE // 10


@pytest.fixture(scope="module", params=list_codecs(), ids=lambda card: card.codec_id)
def corpus(request):
    """A codec, payloads of small tiles of every kind, and the array that each decodes to."""
    codec = open_codec(request.param.codec_id)
    card = codec.card
    exact = usual(card)
    hole = tile(card, 16, 19, exact)
    hole[:, 2:7, 3:9] = 0
    tiles = [
        (tile(card, 16, 16, exact), {}),
        (tile(card, 9, 25, exact, seed=1, noise=300), {"quality": card.quality[1]}),
        (tile(card, 24, 17, exact, seed=2), {"quality": card.quality[0]}),
        (hole, {"nodata": 0}),
        (np.zeros_like(hole), {"nodata": 0}),
        (np.full_like(hole, 77), {}),
    ]
    for dtype in dtypes(card, "f")[:1]:
        holes = tile(card, 17, 16, dtype, seed=3)
        holes[np.random.default_rng(0).random(holes.shape) < 0.2] = np.nan
        tiles.append((holes, {}))
    try:
        payloads = [codec.encode(x, **options) for x, options in tiles]
        payloads.append(codec.encode(tiles[0][0], basis="card"))
    except InvalidParameterError:
        assert not card.embedding
    if codec.keeps_bounds:
        bounds = [0.0, *range(1, len(hole))]
        payloads.append(codec.encode_bounded(tiles[0][0], bounds))
        payloads.append(codec.encode_bounded(hole, bounds, nodata=0))
    if isinstance(codec, LatentCodec) and codec.joins_dates:
        dates = [tiles[0][0], tiles[0][0] + 9]
        payloads.append(codec.pack(replace(codec.analyse(np.concatenate(dates)), dates=2)))
        rate = Rate(max_error=tuple(bounds))
        together = [group.split(p)[1] for p in encode_dates(codec, dates, [rate] * 2)]
        assert together[0] == together[1]
        payloads.append(together[0])
    return codec, [(payload, codec.decode(payload)) for payload in payloads]


def only(wanted):
    """Parametrises `corpus` with the wanted cards' codecs."""
    cards = [card for card in list_codecs() if wanted(card)]
    return pytest.mark.parametrize("corpus", cards, indirect=True, ids=lambda c: c.codec_id)


def flip_bits(rng, data, other):
    for bit in rng.integers(0, 8 * len(data), rng.integers(1, 9)):
        data[bit // 8] ^= 1 << bit % 8


def replace_bytes(rng, data, other):
    at = int(rng.integers(len(data)))
    data[at : at + 4] = rng.bytes(len(data[at : at + int(rng.integers(1, 5))]))


def truncate(rng, data, other):
    del data[int(rng.integers(len(data))) :]


def extend(rng, data, other):
    data += rng.choice([rng.bytes(int(rng.integers(1, 40))), bytes(data), bytes(4)])


def insert_or_drop(rng, data, other):
    at = int(rng.integers(len(data)))
    if rng.random() < 0.5:
        data[at:at] = rng.bytes(int(rng.integers(1, 5)))
    else:
        del data[at : at + int(rng.integers(1, 5))]


def swap(rng, data, other):
    a, b, n = (int(rng.integers(len(data))), int(rng.integers(len(data))), int(rng.integers(1, 9)))
    n = min(n, len(data) - max(a, b))
    data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def blank(rng, data, other):
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 64))
    data[at : at + n] = bytes([int(rng.choice([0, 255]))]) * len(data[at : at + n])


def change_header(rng, data, other):
    at, size = HEADER[str(rng.choice(list(HEADER)))]
    edge = int(rng.choice([0, 1, 2, 255, 256, 65535, 2**31, 2**32 - 1]))
    value = edge.to_bytes(9, "little")[:size] if rng.random() < 0.5 else rng.bytes(size)
    data[at : at + size] = value


def splice(rng, data, other):
    at = int(rng.integers(len(data)))
    data[at:] = other[at:]


MUTATORS = [flip_bits, replace_bytes, swap, blank, truncate, extend, insert_or_drop, splice]
MUTATORS += [change_header, change_header]


def mutate(rng, payload: bytes, other: bytes) -> bytes:
    """One to three mutations, of the whole payload or, keeping its length, of its coded bytes."""
    start, mutators = (0, MUTATORS) if rng.random() < 0.5 else (36, MUTATORS[:4])
    data = bytearray(payload[start:])
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if data:
            mutators[int(rng.integers(len(mutators)))](rng, data, other)
    return payload[:start] + bytes(data)


def reseal_header_too(payload: bytes) -> bytes:
    """All checksums that need no decoding made right: the content digest alone is left."""
    data = bytearray(payload)
    if len(data) < 36:
        return bitstream.reseal(payload)
    start = 24 + (8 if data[5] & 2 else 0) + (2 if data[5] & 32 else 0) + 4 * data[7]
    data[start : start + 4] = struct.pack("<I", zlib.crc32(data[:start]))
    return bitstream.reseal(bytes(data))


def is_framed(payload: bytes) -> bool:
    """Whether the container has no objection, so that the codec has to decode the sections."""
    try:
        bitstream.read(payload, tag=None)
    except PayloadError:
        return False
    return True


def outcome(codec, payload: bytes, expected) -> str:
    """Decode; the name of the error, or "same" for the right array. Anything else fails."""
    try:
        out = codec.decode(payload)
    except PayloadError as error:
        return type(error).__name__
    assert out.dtype == expected.dtype
    np.testing.assert_array_equal(out, expected)
    return "same"


def test_mutated_payloads_give_the_right_array_or_a_typed_error(corpus):
    codec, pairs = corpus
    rng = np.random.default_rng(2024)
    told: Counter[str] = Counter()
    decoded = 0
    for i in range(share(codec.card)):
        payload, expected = pairs[int(rng.integers(len(pairs)))]
        mutated = mutate(rng, payload, pairs[int(rng.integers(len(pairs)))][0])
        if i % 2:
            mutated = bitstream.reseal(mutated)
        if mutated in {other for other, _ in pairs}:
            continue
        decoded += is_framed(mutated)
        watched = i % 50 == 1
        if watched:
            tracemalloc.start()
        began = time.thread_time()
        told[outcome(codec, mutated, expected)] += 1
        assert time.thread_time() - began < SECONDS * (10 if watched else 1)
        if watched:
            assert tracemalloc.get_traced_memory()[1] < MEMORY
            tracemalloc.stop()
    assert told["PayloadError"] > 0.8 * told.total()
    assert decoded > 0.15 * told.total()


def test_headers_with_all_checksums_right_are_told_by_the_content_digest(corpus):
    codec, pairs = corpus
    rng = np.random.default_rng(7)
    for _ in range(hostile(codec.card)):
        payload, expected = pairs[int(rng.integers(len(pairs)))]
        data = bytearray(payload)
        change_header(rng, data, payload)
        bands, height, width = struct.unpack_from("<3H", data, 18)
        if bands * height * width > 1 << 18:  # within MAX_ELEMENTS, but not within a test's time
            data[18:24] = payload[18:24]
        outcome(codec, reseal_header_too(bytes(data)), expected)


@only(lambda card: open_codec(card.codec_id).joins_dates)
def test_mutated_dates_of_a_group_give_their_pixels_or_a_typed_error(corpus):
    """Zeros before a group say which date it is: any number of them, before any bytes."""
    codec, pairs = corpus
    rng = np.random.default_rng(10)
    shared = [pair for pair in pairs if bitstream.holds_dates(pair[0])]
    assert {codec.unpack(payload).residual is None for payload, _ in shared} == {True, False}
    told: Counter[str] = Counter()
    for i in range(hostile(codec.card)):
        payload, expected = shared[i % 2]
        date = int(rng.choice([0, 1, 2, 3, 1 << 16]))
        body = payload if i % 4 < 2 else mutate(rng, payload, shared[i % 2 - 1][0])
        try:
            out = group.decode(bytes(date) + body, codec, lambda _: codec)
        except PayloadError:
            told["error"] += 1
            continue
        if body == payload:
            np.testing.assert_array_equal(out, np.split(expected, 2)[date])
            told["same"] += 1
    assert told["error"] > 2
    assert told["same"] > 2


@only(lambda card: not classical(card))
def test_sections_behind_a_forged_digest_decode_to_something(corpus, monkeypatch):
    """Whoever forges every digest has written a payload: any pixels, but no crash."""
    codec, pairs = corpus
    rng = np.random.default_rng(8)
    monkeypatch.setattr(bitstream, "check_digest", lambda *args: None)
    for _ in range(hostile(codec.card)):
        payload, expected = pairs[int(rng.integers(len(pairs)))]
        data = bytearray(payload)
        at = int(rng.integers(40, len(data)))
        data[at : at + 4] = rng.bytes(len(data[at : at + 4]))
        try:
            out = codec.decode(bitstream.reseal(bytes(data)))
        except PayloadError:
            continue
        assert (out.shape, out.dtype) == (expected.shape, expected.dtype)


@only(classical)
def test_no_library_sees_bytes_that_were_changed(corpus, monkeypatch):
    """The decoders of the classical libraries may crash on them; digests come before."""
    codec, pairs = corpus
    seen = []
    pixels = codec._coder.pixels
    monkeypatch.setattr(codec._coder, "pixels", lambda *args: seen.append(args) or pixels(*args))
    rng = np.random.default_rng(9)
    for payload, _ in pairs:
        for at in rng.integers(24, len(payload) - 4, 40).tolist():
            data = bytearray(payload)
            data[at] ^= 1 << int(rng.integers(8))
            for forged in (bitstream.reseal(bytes(data)), reseal_header_too(bytes(data))):
                if forged != payload:
                    with pytest.raises(PayloadError):
                        codec.decode(forged)
    assert not seen
