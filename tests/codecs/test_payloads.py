"""Payloads of several codecs and dates are read by who wrote them."""

from __future__ import annotations

import numpy as np
import pytest
from tiles import tile

from openeo_nc.codecs import payloads
from openeo_nc.codecs.base import Codec, CodecCard
from openeo_nc.codecs.registry import get_card, list_codecs, open_card, open_codec
from openeo_nc.errors import PayloadError, PayloadModelError

CARD = get_card("klt-dct")


@pytest.fixture(scope="module")
def klt() -> Codec:
    return open_codec("klt-dct")


class Foreign(Codec):
    """A codec of another format: its payloads are the pixels, without our header."""

    def __init__(self, card: CodecCard) -> None:
        self.card = card
        self.seen: list[int] = []

    def encode(self, x, quality=None, *, nodata=None, basis="tile"):
        return b"RAW" + bytes([len(x)]) + x.astype("<i2").tobytes()

    def decode(self, payload):
        if not payload.startswith(b"RAW"):
            raise PayloadError("not raw")
        return np.frombuffer(payload, "<i2", offset=4).reshape(payload[3], 8, -1)

    def decode_batch(self, payloads):
        self.seen.append(len(payloads))
        return super().decode_batch(payloads)


def test_each_codec_decodes_its_own(klt):
    x = tile(CARD, 16, 24)
    other = open_codec("s2l2a-hyperprior")
    twelve = tile(other.card, 16, 24)
    mixed = [klt.encode(x), other.encode(twelve), klt.encode(x, 2)]
    expected = [klt.decode(mixed[0]), other.decode(mixed[1]), klt.decode(mixed[2])]
    for primary in (klt, other):
        out = payloads.decode_batch(mixed, primary, open_card)
        for a, b in zip(out, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert payloads.codec_of(mixed[1]) == other.card
    assert payloads.codec_of(mixed[1], [CARD]) is None


def test_what_is_not_ours_goes_to_the_primary_codec(klt):
    x = tile(CARD, 8, 8)
    foreign = Foreign(CARD)
    np.testing.assert_array_equal(
        payloads.decode(foreign.encode(x), foreign, open_card), x.astype("<i2")
    )
    assert payloads.codec_of(foreign.encode(x)) is None
    with pytest.raises(PayloadError):
        payloads.decode(b"something else entirely, but not too short", klt, open_card)
    with pytest.raises(PayloadError):
        payloads.decode(b"", klt, open_card)


def test_payloads_of_a_codec_that_is_not_allowed_are_refused(klt):
    other = open_codec("s2l2a-hyperprior")
    payload = other.encode(tile(other.card, 8, 8))
    with pytest.raises(PayloadModelError):
        payloads.decode(payload, klt, open_card, cards=[CARD])


def test_equal_payloads_of_a_batch_are_decoded_once():
    foreign = Foreign(CARD)
    x = foreign.encode(tile(CARD, 8, 8))
    out = payloads.decode_batch([x, x, x], foreign, open_card)
    assert foreign.seen[0] == 1
    assert len(out) == 3


@pytest.mark.parametrize("zeros", [0, 1, 5, 300])
def test_leading_zeros_are_dates(zeros, klt):
    body = klt.encode(tile(CARD, 8, 8))
    assert payloads.split(bytes(zeros) + body) == (zeros, body)
    assert payloads.describe(bytes(zeros) + body)["date"] == zeros
    if zeros:
        with pytest.raises(PayloadError, match="date"):
            payloads.decode(bytes(zeros) + body, klt, open_card)


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(80), bytes(100_000), b"\0\0x"])
def test_zeros_alone_are_no_payload(payload, klt):
    with pytest.raises(PayloadError):
        payloads.decode(payload, klt, open_card)


def test_a_payload_says_what_it_is(klt):
    x = tile(CARD, 16, 24)
    told = payloads.describe(klt.encode(x, 3))
    assert (told["codec"], told["bounded"], told["quality"]) == ("klt-dct", False, 3)
    assert (told["shape"], told["dtype"], told["dates"]) == ((5, 16, 24), "int16", 1)
    told = payloads.describe(klt.encode_bounded(x, [2.0] * 5))
    assert (told["codec"], told["bounded"]) == ("klt-dct", True)
    with pytest.raises(PayloadError):
        payloads.describe(b"nothing")


def test_tags_name_one_codec():
    tags = {payloads.bitstream.codec_tag(card) for card in list_codecs()}
    assert len(tags) == len(list_codecs())
