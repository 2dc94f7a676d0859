"""What tiles that are not the universal codec's are coded with: classes, constants, smooth fields."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs import payloads
from openeo_nc.codecs.alternatives import encode_freely
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import psnr
from openeo_nc.codecs.registry import get_card, open_codec

OTHERS = ("sperr", "jpegxl", "pcodec")


@pytest.fixture(scope="module")
def codec():
    return open_codec("klt-dct")


def coded(codec, x, rate, nodata=None):
    """Payload, what it decodes to, and the id of its codec."""
    others = [open_codec(name) for name in OTHERS if x.dtype.name in get_card(name).dtypes]
    payload = encode_freely(codec, x, rate, nodata=nodata, others=others)
    cards = [other.card for other in others]
    decoded = payloads.decode(payload, codec, lambda card: open_codec(card.codec_id), cards)
    return payload, decoded


def classes(dtype, bands=1, side=96):
    rng = np.random.default_rng(3)
    coarse = rng.integers(1, 12, (bands, side // 12, side // 12))
    return coarse.repeat(12, 1).repeat(12, 2)[:, 1 : side - 2, 3 : side - 1].astype(dtype)


def scene(bands=3, side=72):
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:side, :side]
    wave = 1500 + 900 * np.sin(x / 6 + np.arange(bands)[:, None, None]) * np.cos(y / 8)
    return (wave + rng.normal(0, 30, wave.shape)).round().astype(np.uint16)


def field(side=96):
    y, x = np.mgrid[:side, :side] / side
    return (280 + 20 * np.sin(5 * x + 2 * y) * np.cos(3 * y) + 3 * x * y)[None].astype(np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("rate", [Rate(quality=2.0), Rate(target_psnr=35.0), Rate()])
def test_classes_come_back_exactly(codec, dtype, rate):
    x = classes(dtype, bands=2)
    payload, decoded = coded(codec, x, rate)
    np.testing.assert_array_equal(decoded, x)
    assert decoded.dtype == x.dtype
    assert len(payload) < x.size


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 5), (1, 30, 30)])
def test_constants_come_back_exactly(codec, dtype, shape):
    x = np.full(shape, 113, dtype)
    np.testing.assert_array_equal(coded(codec, x, Rate(quality=5.0))[1], x)


def test_classes_with_gaps(codec):
    x = classes("uint8")
    x[0, :20] = 0
    np.testing.assert_array_equal(coded(codec, x, Rate(quality=5.0), nodata=0)[1], x)
    x = classes("float32")
    x[0, 5:9, :] = np.nan
    np.testing.assert_array_equal(coded(codec, x, Rate(quality=5.0))[1], x)


def test_a_ratio_that_no_exact_coding_reaches_is_kept(codec):
    x = classes("uint8")
    payload, _ = coded(codec, x, Rate(target_ratio=60.0))
    assert len(payload) * 60 <= x.nbytes
    exact, decoded = coded(codec, x, Rate(target_ratio=4.0))
    assert len(exact) * 4 <= x.nbytes
    np.testing.assert_array_equal(decoded, x)


def test_pixels_are_the_universal_codecs(codec):
    rate = Rate(quality=5.0)
    noise = np.random.default_rng(0).normal(-12, 3, (2, 60, 60)).astype(np.float32)
    repeated = scene()[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    missing = np.full((1, 30, 30), np.nan, np.float32)
    for x in (scene(), noise, repeated, (scene() / 1e4).astype(np.float32), missing):
        assert coded(codec, x, rate)[0] == codec.encode(x, 5.0)


def test_without_others_nothing_else_is_taken(codec):
    x = classes("uint8")
    assert encode_freely(codec, x, Rate(quality=5.0)) == codec.encode(x, 5.0)


@pytest.mark.parametrize("rate", [Rate(quality=6.0), Rate(target_psnr=50.0), Rate(quality=11.0)])
def test_smooth_fields_take_fewer_bytes_at_their_psnr(codec, rate):
    x = field()
    usual = coded(codec, x, rate)[0]
    alone = encode_freely(codec, x, rate)
    decoded = coded(codec, x, rate)[1]
    assert len(usual) < len(alone)
    wanted = rate.target_psnr or psnr(x, codec.decode(alone), codec.card, None)
    assert psnr(x, decoded, codec.card, None) > wanted - 0.3


def test_smooth_fields_at_a_ratio_are_better(codec):
    x, rate = field(), Rate(target_ratio=150.0)
    payload, decoded = coded(codec, x, rate)
    alone = encode_freely(codec, x, rate)
    assert len(payload) * 150 <= x.nbytes
    reached = psnr(x, codec.decode(alone), codec.card, None)
    assert psnr(x, decoded, codec.card, None) >= reached


def test_bounds_are_those_of_rate_control(codec):
    x = scene()
    _, decoded = coded(codec, x, Rate(max_error=(5.0,) * 3))
    assert np.abs(decoded.astype(int) - x.astype(int)).max() <= 5
