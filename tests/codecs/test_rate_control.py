"""A PSNR, a ratio or a bound that is asked of a tile is what it gets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import tile

from openeo_nc.codecs import payloads
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile, psnr
from openeo_nc.codecs.registry import get_card, open_card, open_codec
from openeo_nc.cubes import metrics
from openeo_nc.errors import InvalidParameterError

CARD = get_card("klt-dct")
LEARNED = "s2l2a-hyperprior"


@pytest.fixture(scope="module")
def klt():
    return open_codec("klt-dct")


@pytest.fixture(scope="module")
def learned():
    return open_codec(LEARNED)


def reached(codec, x, rate, nodata=None):
    """PSNR by the package's metrics, and the payload."""
    payload = encode_tile(codec, x, rate, nodata=nodata)
    out = payloads.decode(payload, codec, open_card)
    peak = codec.card.peak or (10000 if x.dtype.itemsize == 2 and x.dtype.kind != "f" else None)
    return metrics.psnr(x, out, peak=peak, nodata=nodata), payload


def textured(card=CARD, height=96, width=72, dtype="int16", noise=150):
    return tile(card, height, width, dtype, seed=5, noise=noise)


@pytest.mark.parametrize("wanted", [41.5, 48, 57, 70, 82, 95])
@pytest.mark.parametrize("name", ["klt", "learned"])
def test_a_psnr_is_met(name, wanted, request):
    codec = request.getfixturevalue(name)
    found, _ = reached(codec, textured(codec.card), Rate(target_psnr=wanted))
    assert abs(found - wanted) <= 0.3


@pytest.mark.parametrize("wanted", [40, 52, 75])
def test_a_psnr_is_met_with_holes_and_floats(wanted, klt):
    x = textured()
    x[:, 20:50, 10:40] = -7
    assert abs(reached(klt, x, Rate(target_psnr=wanted), nodata=-7)[0] - wanted) <= 0.3
    floats = textured(dtype="float32") / np.float32(7)
    floats[:, :9] = np.nan
    assert abs(reached(klt, floats, Rate(target_psnr=wanted))[0] - wanted) <= 0.3


@pytest.mark.parametrize("shape", [(1, 1), (7, 5)])
@pytest.mark.parametrize("wanted", [40, 60, 90])
def test_tiny_tiles_are_near_it_or_better(shape, wanted, klt):
    x = tile(CARD, *shape, "int16", noise=300)
    found, _ = reached(klt, x, Rate(target_psnr=wanted))
    assert found >= wanted - (0.3 if shape == (7, 5) else 6)


def test_a_psnr_below_every_quality_gives_the_lowest(klt):
    x = textured(noise=1)
    payload = encode_tile(klt, x, Rate(target_psnr=3))
    assert klt.unpack(payload).quality == CARD.quality[0]
    flat = np.full_like(x, 1234)
    assert reached(klt, flat, Rate(target_psnr=30))[0] > 60


def test_a_psnr_beyond_every_pixel_is_lossless(klt):
    x = textured(height=24, width=24)
    np.testing.assert_array_equal(klt.decode(encode_tile(klt, x, Rate(target_psnr=200))), x)


def test_psnr_is_that_of_the_metrics(klt):
    for x, peak in (
        (textured(), 10000),
        (textured(dtype="float32"), None),
        (textured(dtype="uint8"), 255),
    ):
        out = klt.decode(klt.encode(x, 3))
        assert psnr(x, out, CARD, None) == pytest.approx(metrics.psnr(x, out, peak=peak))
    assert psnr(x, x, CARD, None) == math.inf


@pytest.mark.parametrize("ratio", [8, 14, 20])
def test_a_ratio_is_kept_and_used(ratio, klt):
    x = textured()
    payload = encode_tile(klt, x, Rate(target_ratio=ratio))
    assert 0.95 < len(payload) * ratio / x.nbytes <= 1


def test_a_ratio_out_of_reach_gives_the_end_of_the_range(klt):
    x = textured()
    low, high, _ = CARD.quality
    assert klt.unpack(encode_tile(klt, x, Rate(target_ratio=1e6))).quality == low
    assert klt.unpack(encode_tile(klt, x, Rate(target_ratio=1))).quality == high


def test_a_bound_takes_the_smallest_payload_that_keeps_it(klt):
    x = np.zeros((5, 64, 64), np.int16)
    x[:, ::7, ::5] = np.random.default_rng(0).integers(0, 9000, x[:, ::7, ::5].shape)
    others = [open_codec("jpegxl"), open_codec("pcodec")]
    rate = Rate.of(max_error=0, bands=5)
    payload = encode_tile(klt, x, rate, others=others)
    sizes = {c.card.codec_id: len(c.encode_bounded(x, rate.max_error)) for c in [klt, *others]}
    assert len(payload) == min(sizes.values())
    assert payloads.describe(payload)["codec"] == min(sizes, key=sizes.__getitem__)
    np.testing.assert_array_equal(payloads.decode(payload, klt, open_card), x)


def test_a_bound_that_one_codec_cannot_keep_is_kept_by_another(klt):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(2, 20, 20)) * np.exp(rng.normal(0, 9, (2, 20, 20)))).astype(np.float32)
    rate = Rate.of(max_error=0, bands=2)
    with pytest.raises(InvalidParameterError, match="bound"):
        encode_tile(klt, x, rate)
    payload = encode_tile(klt, x, rate, others=[open_codec("pcodec")])
    np.testing.assert_array_equal(payloads.decode(payload, klt, open_card), x)


def test_a_tile_without_data_is_a_tile_without_data(klt):
    x = np.full((3, 20, 20), -1, np.int16)
    for rate in (
        Rate(target_psnr=40),
        Rate(target_ratio=10),
        Rate.of(max_error=1, bands=3),
        Rate(quality=4),
    ):
        payload = encode_tile(klt, x, rate, nodata=-1)
        assert len(payload) < 80
        np.testing.assert_array_equal(klt.decode(payload), x)


@pytest.mark.parametrize("name", ["klt", "learned"])
def test_quality_is_monotone_on_a_textured_tile(name, request):
    codec = request.getfixturevalue(name)
    check_monotone(codec, land(len(codec.card.bands or range(5))))


def land(bands, side=96):
    """`(bands, side, side)` uint16 whose power falls with frequency, as that of imagery does."""
    rng = np.random.default_rng(4)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 0.5 / side
    scene = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(4, side, side))) / f**1.2, (side, side))
    scene /= scene.std(axis=(1, 2), keepdims=True)
    values = np.tensordot(rng.uniform(0, 1, (bands, 4)), scene, 1)
    return np.clip(2500 + 500 * values, 1, 10000).astype(np.uint16)


def check_monotone(codec, x, highest=math.inf):
    low, high, _ = codec.card.quality
    sizes, found = [], []
    for quality in np.arange(low, min(high, highest) + 0.1, 0.5):
        payload = codec.encode(x, float(quality))
        sizes.append(len(payload))
        found.append(psnr(x, codec.decode(payload), codec.card, None))
    assert (np.diff(sizes) > 0).all(), sizes
    assert (np.diff(found) > 0).all(), found


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["klt-dct", "s2l2a-restoration"]),
    half=st.integers(2, 23),
    seed=st.integers(0, 999),
    slope=st.floats(0.6, 1.6),
    contrast=st.floats(150, 900),
    sides=st.tuples(st.integers(48, 80), st.integers(48, 80)),
)
def test_half_a_quality_more_is_better_and_larger(name, half, seed, slope, contrast, sides):
    """Up to 12; of 200 steps above, two lost up to 0.3 dB, and one 4% of its bytes."""
    codec, x = open_codec(name), texture(12, max(sides), seed, slope, contrast)
    x = np.ascontiguousarray(x[:, : sides[0], : sides[1]])
    payloads = [codec.encode(x, quality / 2) for quality in (half, half + 1)]
    assert len(payloads[0]) < len(payloads[1])
    below, above = (psnr(x, codec.decode(payload), codec.card, None) for payload in payloads)
    assert below < above


def texture(bands, side, seed, slope, contrast):
    """As `land`, of any steepness and contrast."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 0.5 / side
    scene = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(4, side, side))) / f**slope, (side, side))
    scene /= scene.std(axis=(1, 2), keepdims=True)
    values = np.tensordot(rng.uniform(-1, 1, (bands, 4)), scene, 1)
    return np.clip(4000 + contrast * values, 1, 10000).astype(np.uint16)


REAL = [
    "s2/ssl4eos12/ssl4eos12_val_0080717_0.tif",
    "s2/ssl4eos12/ssl4eos12_val_0121563_3.tif",
    "s2/majortom_l2a/433D_629L_3_1.tif",
    "s2/bigearthnet_l2a/S2A_MSIL2A_20170617T113321_36_85.tif",
]


@pytest.fixture(params=REAL)
def real(request, shared_data):
    import rasterio

    with rasterio.open(shared_data / request.param) as file:
        return file.read()[:, :96, :96]


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["klt", "learned"])
def test_quality_is_monotone_on_real_tiles(name, real, request):
    check_monotone(request.getfixturevalue(name), real)


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["klt", "learned"])
@pytest.mark.parametrize("wanted", [44, 62])
def test_a_psnr_is_met_on_real_tiles(name, wanted, real, request):
    found, _ = reached(request.getfixturevalue(name), real, Rate(target_psnr=wanted))
    assert abs(found - wanted) <= 0.3


def outside(kind, side=72):
    """Textured tiles of 16 bits whose valid values leave 0..10000."""
    low, high, dtype = {
        "around 29000": (27800, 30200, "uint16"),
        "dB x 100": (-2600, 300, "int16"),
        "Landsat": (7000, 30000, "uint16"),
        "bright cloud": (9500, 16000, "uint16"),
    }[kind]
    texture = land(4, side).astype(np.float64)
    share = (texture - texture.min()) / np.ptp(texture)
    return np.rint(low + share * (high - low)).astype(dtype)


@pytest.mark.parametrize("kind", ["around 29000", "dB x 100", "Landsat", "bright cloud"])
@pytest.mark.parametrize("wanted", [50, 60])
def test_a_psnr_counts_errors_outside_the_peak(kind, wanted, klt):
    x = outside(kind)
    out = klt.decode(encode_tile(klt, x, Rate(target_psnr=wanted)))
    error = np.sqrt(np.mean((out.astype(float) - x) ** 2))
    assert 20 * math.log10(10000 / error) == pytest.approx(wanted, abs=0.3)
    assert psnr(x, out, CARD, None) == pytest.approx(metrics.psnr(x, out, peak=10000))


def test_the_default_codec_counts_bright_cloud_as_well():
    codec = open_codec("s2l2a-restoration")
    x = np.concatenate([outside("bright cloud")] * 3)
    out = codec.decode(encode_tile(codec, x, Rate(target_psnr=50)))
    error = np.sqrt(np.mean((out.astype(float) - x) ** 2))
    assert 20 * math.log10(10000 / error) == pytest.approx(50, abs=0.3)


def test_decoded_values_are_clipped_where_the_original_lies_within_the_peak():
    x = np.array([[[0, 5000, 10000]]], np.uint16)
    out = np.array([[[0, 5100, 12000]]], np.uint16)
    assert psnr(x, out, CARD, None) == pytest.approx(10 * math.log10(1e8 * 3 / 100**2))
    error = 100**2 + 2000**2
    assert psnr(x + np.uint16(1), out + np.uint16(1), CARD, None) == pytest.approx(
        10 * math.log10(1e8 * 3 / error)
    )
    hole = np.array([[[0, 5000, 10000, 65535]]], np.uint16)
    filled = np.array([[[0, 5100, 12000, 65535]]], np.uint16)
    assert psnr(hole, filled, CARD, 65535) == psnr(x, out, CARD, None)
