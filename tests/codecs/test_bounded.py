"""A bound holds for every valid pixel, on every machine whose values differ as little as they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import tile

from openeo_nc.codecs import bounded
from openeo_nc.codecs.base import restored
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.errors import InvalidParameterError

CARD = get_card("klt-dct")


@pytest.fixture(scope="module")
def klt():
    return open_codec("klt-dct")


def worst(x, out, mask=None):
    error = np.abs(x.astype(np.longdouble) - out.astype(np.longdouble))
    return (error if mask is None else np.where(mask, 0, error)).max(axis=(1, 2))


@pytest.mark.parametrize("bound", [0, 1, 3, 20, 400, 1e5])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint64"])
def test_integers_stay_within_the_bound(bound, dtype, klt):
    x = tile(CARD, 30, 41, dtype, noise=200)
    out = klt.decode(klt.encode_bounded(x, [bound] * len(x)))
    assert worst(x, out).max() <= bound


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    bound=st.integers(0, 60),
    height=st.integers(bounded.CROP + 25, 170),
    width=st.integers(bounded.CROP + 25, 170),
    seed=st.integers(0, 99),
)
def test_tiles_beyond_the_part_that_is_searched_stay_within_it(bound, height, width, seed):
    """A quality is searched on a part of the tile; what lies outside keeps the bound as well."""
    codec = open_codec("klt-dct")
    x = tile(codec.card, height, width, "uint16", seed=seed, noise=30)[:3]
    x[:, -8:] = np.random.default_rng(seed).integers(0, 10000, (3, 8, width))
    out = codec.decode(codec.encode_bounded(x, [bound] * 3))
    assert worst(x, out).max() <= bound


def test_a_large_tile_of_the_default_codec_stays_within_it():
    codec = open_codec("s2l2a-restoration")
    x = tile(codec.card, 150, 160, "uint16", noise=30)
    out = codec.decode(codec.encode_bounded(x, [25] * 12))
    assert 0 < worst(x, out).max() <= 25


@pytest.mark.parametrize("bound", [1e-3, 0.02, 0.7, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_stay_within_the_bound(bound, dtype, klt):
    x = tile(CARD, 30, 41, dtype) / 700
    x[:, 3:9, 4:7] = np.nan
    payload = klt.encode_bounded(x, [bound] * len(x))
    out = klt.decode(payload)
    mask = np.isnan(x)
    np.testing.assert_array_equal(np.isnan(out), mask)
    assert worst(x, out, mask).max() <= bound


def test_each_band_has_its_bound(klt):
    x = tile(CARD, 48, 48, noise=300)
    bounds = [0, 2, 10, 100, 5000]
    payload = klt.encode_bounded(x, bounds)
    error = worst(x, klt.decode(payload))
    assert (error <= bounds).all()
    assert (error[1:4] >= np.array(bounds[1:4]) - 1).all()
    assert len(payload) < 0.8 * len(klt.encode_bounded(x, [0] * 5))


def test_larger_bounds_take_fewer_bytes(klt):
    x = tile(CARD, 72, 72, noise=120)
    sizes = [len(klt.encode_bounded(x, [bound] * 5)) for bound in (0, 1, 5, 25, 125, 625)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 20


@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior"])
def test_it_holds_where_values_are_a_little_off(codec_id):
    codec = open_codec(codec_id)
    x = tile(codec.card, 40, 40, "int16", noise=200)
    latents = codec.unpack(codec.encode_bounded(x, [2.0] * len(x)))
    values = codec.reconstruct(latents)
    rng = np.random.default_rng(0)
    for _ in range(3):
        moved = values + rng.uniform(-1, 1, values.shape) * bounded.tolerance(values)
        assert worst(x, restored(latents, moved)).max() <= 2


@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior"])
def test_it_holds_in_batches(codec_id):
    codec = open_codec(codec_id)
    xs = [tile(codec.card, 24, 33, "int16", seed=seed, noise=200) for seed in range(3)]
    payloads = [codec.encode_bounded(x, [1.0] * len(x)) for x in xs]
    for x, out in zip(xs, codec.decode_batch(payloads), strict=True):
        assert worst(x, out).max() <= 1


@pytest.mark.parametrize(("nodata", "bound"), [(500, 3), (500, 1), (500, 40), (32767, 5), (0, 2)])
def test_valid_pixels_beside_the_nodata_value_keep_the_bound(nodata, bound, klt):
    """Valid pixels are moved off the nodata value, which must not move them out of the bound."""
    rng = np.random.default_rng(3)
    x = np.clip(nodata + rng.integers(-3 * bound, 3 * bound + 1, (2, 40, 40)), -32768, 32767)
    x = x.astype(np.int16)
    out = klt.decode(klt.encode_bounded(x, [bound] * 2, nodata=nodata))
    np.testing.assert_array_equal(out == nodata, x == nodata)
    assert worst(x, out, x == nodata).max() <= bound


def test_integers_beyond_float64_are_lossless_or_refused(klt):
    x = (2**60 + np.arange(400).reshape(1, 20, 20)).astype(np.int64)
    with pytest.raises(InvalidParameterError, match="bound"):
        klt.encode_bounded(x, [0.0])
    out = klt.decode(klt.encode_bounded(x, [2.0**45]))
    assert worst(x, out).max() <= 2.0**45


def test_bounds_that_floats_cannot_keep_are_refused(klt):
    x = tile(CARD, 20, 20, "float32")
    for bound in (0, 1e-9):
        with pytest.raises(InvalidParameterError, match="band 0"):
            klt.encode_bounded(x, [bound] * 5)


@pytest.mark.parametrize("wrong", [[1.0], [1.0] * 4 + [-1.0], [np.nan] * 5, [np.inf] * 5])
def test_bounds_that_are_none(wrong, klt):
    with pytest.raises(InvalidParameterError, match="max_error"):
        klt.encode_bounded(tile(CARD, 9, 9), wrong)


def test_what_the_base_keeps_needs_no_residual(klt):
    x = np.full((3, 50, 50), 700, np.int16)
    payload = klt.encode_bounded(x, [300.0] * 3)
    assert klt.unpack(payload).residual is None
    assert len(payload) < 120


def test_a_payload_that_breaks_the_bound_is_never_given(klt, monkeypatch):
    """The check at encode time is what makes it sure, whatever the steps before it get wrong."""
    x = tile(CARD, 20, 20)
    monkeypatch.setattr(bounded, "residual_of", lambda *args: None)
    with pytest.raises(InvalidParameterError, match="cannot keep"):
        klt.encode_bounded(x, [0.0] * 5)


def test_latents_of_bounded_payloads_pack_to_the_same_bytes(klt):
    payload = klt.encode_bounded(tile(CARD, 30, 30), [2.0] * 5)
    latents = klt.unpack(payload)
    assert klt.pack(latents) == payload
    assert klt.pack(replace(latents, residual=None)) != payload


REAL = [
    "s2/ssl4eos12/ssl4eos12_val_0080717_0.tif",
    "s2/bigearthnet_l2a/S2A_MSIL2A_20170617T113321_36_85.tif",
]


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("bound", "rival", "limit"),
    [(0, "jpegxl", 0.97), (0, "pcodec", 0.97), (5, "sperr", 0.8), (20, "sperr", 0.75)],
)
def test_real_tiles_take_fewer_bytes_than_with_classical_codecs(
    bound, rival, limit, shared_data, klt
):
    import rasterio

    ours = theirs = 0
    for name in REAL:
        with rasterio.open(shared_data / name) as file:
            x = file.read()[:, :120, :120]
        payload = klt.encode_bounded(x, [float(bound)] * 12)
        assert worst(x, klt.decode(payload)).max() <= bound
        ours += len(payload)
        theirs += len(open_codec(rival).encode_bounded(x, [float(bound)] * 12))
    assert ours < limit * theirs
