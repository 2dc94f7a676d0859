"""The payload container against its own layout, written down again with struct."""

from __future__ import annotations

import dataclasses
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.base import MAX_ELEMENTS, Latents
from openeo_nc.codecs.bitstream import Header, content_digest, decode_mask, encode_mask
from openeo_nc.errors import (
    DataTypeUnsupportedError,
    InvalidParameterError,
    PayloadError,
    PayloadModelError,
    PayloadVersionError,
)

TAG = b"12345678"
HEADER = Header(
    tag=TAG, quality=4.5, shape=(3, 20, 30), dtype=np.dtype("int16"), nodata=-7.0, masked=True
)
SECTIONS = [b"side", b"", b"integers" * 9]


def payload() -> bytes:
    return bitstream.write(HEADER, SECTIONS, 99)


def test_round_trip():
    assert bitstream.read(payload(), tag=TAG) == (HEADER, SECTIONS, 99)
    assert bitstream.read(payload(), tag=None) == (HEADER, SECTIONS, 99)


@pytest.mark.parametrize("name", [*"bBhHiIqQefd"])
def test_every_dtype(name):
    header = dataclasses.replace(HEADER, dtype=np.dtype(name), masked=False, nodata=None)
    assert bitstream.read(bitstream.write(header, [], 0), tag=TAG)[0] == header


@pytest.mark.parametrize(
    "changes",
    [
        {"basis": "card"},
        {"empty": True, "masked": False},
        {"masked": False, "nodata": None},
        {"quality": 0.0},
        {"quality": 65535 / 256},
        {"shape": (65535, 1, 2048)},
    ],
)
def test_every_flag_and_extreme(changes):
    header = dataclasses.replace(HEADER, **changes)
    assert bitstream.read(bitstream.write(header, SECTIONS, 0), tag=TAG)[0] == header


def test_layout_is_the_documented_one():
    head = struct.pack("<4sBBBB8sHHHHd", b"ONC1", 1, 2 | 4, 3, 3, TAG, 1152, 3, 20, 30, -7.0)
    head += struct.pack("<3I", 4, 0, 72)
    head += struct.pack("<I", zlib.crc32(head))
    body = head + b"side" + b"integers" * 9 + struct.pack("<I", 99)
    assert payload() == body + struct.pack("<I", zlib.crc32(body))


def test_header_of_latents():
    mask = np.zeros((2, 4, 5), bool)
    latents = Latents(
        y=np.zeros((2, 1, 1), np.int32),
        quality=2.0,
        shape=(2, 4, 5),
        dtype=np.dtype("float32"),
        mask=mask,
        nodata=float("nan"),
    )
    assert Header.of(latents, TAG) == Header(
        tag=TAG, quality=2.0, shape=(2, 4, 5), dtype=np.dtype("float32")
    )
    mask[0, 0, 0] = True
    assert Header.of(latents, TAG).masked
    mask[:] = True
    assert Header.of(latents, TAG).empty
    assert not Header.of(latents, TAG).masked


def test_every_truncation_is_an_error():
    whole = payload()
    for n in range(len(whole)):
        with pytest.raises(PayloadError):
            bitstream.read(whole[:n], tag=TAG)
        with pytest.raises(PayloadError):
            bitstream.read(bitstream.reseal(whole[:n]), tag=TAG)
    for more in (b"\0", b"ONC1", whole):
        with pytest.raises(PayloadError):
            bitstream.read(whole + more, tag=TAG)
        with pytest.raises(PayloadError):
            bitstream.read(bitstream.reseal(whole + more), tag=TAG)


@pytest.mark.parametrize("view", [bytearray, memoryview, lambda data: np.frombuffer(data, "u1")])
def test_any_buffer_of_bytes_is_read(view):
    assert bitstream.read(view(payload()), tag=TAG) == bitstream.read(payload(), tag=TAG)


@pytest.mark.parametrize("given", [None, "ONC1", 5, [1, 2]])
def test_what_is_no_bytes_is_told(given):
    with pytest.raises(PayloadError, match=type(given).__name__):
        bitstream.read(given, tag=TAG)


def test_every_bit_flip_is_an_error():
    whole = payload()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PayloadError):
            bitstream.read(bytes(changed), tag=TAG)


def test_a_resealed_header_is_an_error_and_resealed_sections_are_told_by_the_digest():
    whole = payload()
    start = whole.index(b"side")
    digest = content_digest(HEADER, *SECTIONS)
    for byte in range(len(whole) - 4):
        changed = bytearray(whole)
        changed[byte] ^= 0x10
        if byte < start:
            with pytest.raises(PayloadError):
                bitstream.read(bitstream.reseal(bytes(changed)), tag=TAG)
        else:
            header, sections, stored = bitstream.read(bitstream.reseal(bytes(changed)), tag=TAG)
            assert stored != 99 or content_digest(header, *sections) != digest


def test_version_and_model_have_errors_of_their_own():
    other = payload()
    with pytest.raises(PayloadVersionError, match="version 3"):
        bitstream.read(other[:4] + b"\3" + other[5:], tag=TAG)
    with pytest.raises(PayloadModelError, match=TAG.hex()):
        bitstream.read(other, tag=b"87654321")
    with pytest.raises(PayloadError, match="ONC1"):
        bitstream.read(b"\x89PNG" + other[4:], tag=TAG)


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": 0.001},
        {"quality": 256.0},
        {"quality": -1.0},
        {"shape": (0, 5, 5)},
        {"shape": (1, 65536, 1)},
        {"shape": (1024, 1024, 1024)},
        {"masked": True, "empty": True},
        {"nodata": None},
    ],
)
def test_headers_that_no_payload_can_have(changes):
    with pytest.raises(InvalidParameterError):
        bitstream.write(dataclasses.replace(HEADER, **changes), [], 0)


def test_other_dtypes_are_refused():
    for name in ("complex64", "bool", ">i2", "datetime64[s]"):
        header = dataclasses.replace(HEADER, dtype=np.dtype(name), masked=False)
        with pytest.raises(DataTypeUnsupportedError):
            bitstream.write(header, [], 0)


def test_a_hostile_size_is_refused_even_with_all_checksums_right():
    head = struct.pack("<4sBBBB8sHHHH", b"ONC1", 1, 0, 3, 0, TAG, 256, 1024, 60000, 60000)
    head += struct.pack("<I", zlib.crc32(head))
    body = head + struct.pack("<I", 0)
    with pytest.raises(PayloadError, match=str(MAX_ELEMENTS)):
        bitstream.read(body + struct.pack("<I", zlib.crc32(body)), tag=TAG)


def test_digest_tells_parts_apart():
    a, b = np.arange(6, dtype=np.int32), np.arange(6, dtype=np.int32).reshape(2, 3)
    digests = {
        content_digest(HEADER),
        content_digest(HEADER, None),
        content_digest(HEADER, b""),
        content_digest(HEADER, b"", b""),
        content_digest(HEADER, b"ab", b"c"),
        content_digest(HEADER, b"a", b"bc"),
        content_digest(HEADER, a),
        content_digest(HEADER, a[::-1]),
        content_digest(dataclasses.replace(HEADER, quality=1.0), a),
        content_digest(dataclasses.replace(HEADER, nodata=0.0), a),
    }
    assert len(digests) == 10
    assert content_digest(HEADER, b.T) == content_digest(HEADER, np.ascontiguousarray(b.T))
    assert content_digest(HEADER, a.astype(">i4")) == content_digest(HEADER, a)
    bitstream.check_digest(HEADER, content_digest(HEADER, a), a)
    with pytest.raises(PayloadError, match="do not decode"):
        bitstream.check_digest(HEADER, content_digest(HEADER, a), b + 1)


def test_masks():
    rng = np.random.default_rng(0)
    shape = (3, 37, 21)
    noise, plane = rng.random(shape) < 0.5, rng.random(shape[1:]) < 0.1
    edge = np.zeros(shape, bool)
    edge[:, :, :9] = True
    shared = np.broadcast_to(plane, shape)
    for mask in (noise, shared, edge, ~edge, np.ones(shape, bool), noise[:, ::-1, ::2]):
        np.testing.assert_array_equal(decode_mask(encode_mask(mask), mask.shape), mask)
    assert len(encode_mask(noise)) == 1 + -(-noise.size // 8)
    assert len(encode_mask(edge)) < 40
    assert len(encode_mask(shared)) <= 1 + -(-plane.size // 8)


def test_damaged_masks_are_errors_in_bounded_memory():
    shape = (2, 40, 40)
    whole = encode_mask(np.indices(shape).sum(0) % 7 < 3)
    for n in range(len(whole)):
        with pytest.raises(PayloadError):
            decode_mask(whole[:n], shape)
    for wrong in (whole + b"x", b"\7" + whole[1:], b"\0" + whole[1:]):
        with pytest.raises(PayloadError):
            decode_mask(wrong, shape)
    bomb = b"\1" + zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    with pytest.raises(PayloadError):
        decode_mask(bomb, shape)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_round_quality():
    assert bitstream.round_quality(5.0) == 5.0
    assert bitstream.round_quality(4.7) == 1203 / 256
