"""Classical codecs: bounds that hold, levels that compare with klt-dct's, any number of bands."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.base import with_latents
from openeo_nc.codecs.classical import CODERS, load
from openeo_nc.codecs.classical_coder import join, split
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.errors import (
    CardInvalidError,
    DataTypeUnsupportedError,
    InvalidParameterError,
    PayloadError,
)

FIELDS = ("sperr", "sz3", "zfp", "pcodec")
IMAGES = ("jpeg2000", "htj2k", "jpegxl")
LOSSLESS_FLOATS = ("zfp", "pcodec")


@pytest.fixture(scope="module", params=CODERS)
def codec(request):
    return open_codec(request.param)


def scene(bands=4, height=72, width=96, seed=0, noise=60):
    """Textured correlated bands `(bands, height, width)` float64 about 500 to 6000."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    fields = np.cumsum(np.cumsum(rng.normal(0, 1, (3, height, width)), 1), 2)
    fields = fields / np.abs(fields).max((1, 2), keepdims=True)
    edges = 800 * ((x // 17 + y // 13) % 2)
    mix = rng.uniform(200, 1200, (bands, 3))
    values = (
        2500 + np.tensordot(mix, fields, 1) + edges + rng.normal(0, noise, (bands, height, width))
    )
    return np.clip(values, 0, 10000)


def largest_errors(x, out):
    """`(bands,)`, in whole numbers of any size for integers."""
    if x.dtype.kind == "f":
        return np.nanmax(np.abs(x.astype(np.float64) - out.astype(np.float64)), axis=(1, 2))
    pairs = zip(x.reshape(len(x), -1).tolist(), out.reshape(len(x), -1).tolist(), strict=True)
    return np.array([max(abs(a - b) for a, b in zip(*bands, strict=True)) for bands in pairs])


def psnr(x, out):
    return 10 * np.log10(1e8 / max(np.mean((x.astype(float) - out.astype(float)) ** 2), 1e-9))


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [0, 1, 2, 5, 20, 300])
def test_whole_numbers_stay_within_their_bound(codec, bound):
    for dtype in ("uint16", "int16"):
        x = (scene() - (3000 if dtype == "int16" else 0)).astype(dtype)
        out = codec.decode(codec.encode_bounded(x, [bound] * 4))
        assert largest_errors(x, out).max() <= bound
        assert out.dtype == x.dtype


def test_wider_bounds_take_fewer_bytes_and_are_used(codec):
    x = scene().astype(np.uint16)
    payloads = [codec.encode_bounded(x, [bound] * 4) for bound in (0, 2, 10, 50)]
    sizes = [len(payload) for payload in payloads]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.5 * sizes[0]
    assert largest_errors(x, codec.decode(payloads[-1])).min() > 20


def test_each_band_has_its_own_bound(codec):
    x = scene().astype(np.int16)
    bounds = [0, 3, 30, 7.9]
    errors = largest_errors(x, codec.decode(codec.encode_bounded(x, bounds)))
    assert (errors <= np.floor(bounds)).all()
    assert errors[2] > 10


@pytest.mark.parametrize("name", [*FIELDS, "jpegxl"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bound", [1e-2, 0.5, 40])
def test_floats_stay_within_their_bound_around_gaps(name, dtype, bound):
    codec = open_codec(name)
    x = (scene() / 100 + (0 if dtype == "float16" else 250)).astype(dtype)
    x[:, 20:40, 30:50] = np.nan
    x[1, ::7, ::5] = np.nan
    if dtype == "float16" and bound < 0.1 and name != "pcodec":
        bound = 0.1  # neighbouring values lie 0.06 apart
    out = codec.decode(codec.encode_bounded(x, [bound] * 4))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(x))
    assert largest_errors(x, out).max() <= bound


@pytest.mark.parametrize("name", [*FIELDS, "jpegxl"])
def test_floats_without_loss_or_an_error_that_says_so(name):
    codec, x = open_codec(name), scene().astype(np.float32)
    if name in LOSSLESS_FLOATS:
        np.testing.assert_array_equal(codec.decode(codec.encode_bounded(x, [0] * 4)), x)
        np.testing.assert_array_equal(codec.decode(codec.encode_bounded(x, [0, 1, 1, 1]))[0], x[0])
    else:
        with pytest.raises(InvalidParameterError, match=r"without loss|larger"):
            codec.encode_bounded(x, [0] * 4)


@pytest.mark.parametrize("name", ["sperr", "sz3"])
def test_a_bound_that_cannot_be_kept_is_an_error(name):
    x = scene() * 1e14  # neighbouring float64 values lie 16 apart and more
    with pytest.raises(InvalidParameterError, match=r"cannot keep a bound of 0\.001"):
        open_codec(name).encode_bounded(x, [1e-3] * 4)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64"])
def test_wide_integers(name, dtype):
    codec, limits = open_codec(name), np.iinfo(dtype)
    x = scene().astype(dtype) * dtype_step(dtype)
    out = codec.decode(codec.encode_bounded(x, [5 * dtype_step(dtype)] * 4))
    assert largest_errors(x, out).max() <= 5 * dtype_step(dtype)
    if name == "pcodec":
        x = np.random.default_rng(0).integers(
            limits.min, limits.max, (2, 9, 11), dtype, endpoint=True
        )
        x[0, 0, :2] = limits.min, limits.max
        np.testing.assert_array_equal(codec.decode(codec.encode(x)), x)
        out = codec.decode(codec.encode_bounded(x, [1000, 2.0**31]))
        assert (largest_errors(x, out) <= [1000, 2**31]).all()


def dtype_step(dtype):
    return 1000 if np.dtype(dtype).itemsize == 4 else 10**6


small_tiles = st.sampled_from(["uint8", "int8", "uint16", "int16"]).flatmap(
    lambda dtype: arrays.arrays(
        dtype, arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)
    )
)


@pytest.mark.parametrize("name", CODERS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(x=small_tiles, bound=st.integers(0, 40), data=st.data())
def test_any_whole_numbers_of_any_shape_keep_any_bound(name, x, bound, data):
    codec = open_codec(name)
    nodata = data.draw(st.sampled_from([None, int(x.flat[0]), int(np.iinfo(x.dtype).max)]))
    out = codec.decode(codec.encode_bounded(x, [bound] * len(x), nodata=nodata))
    assert out.shape == x.shape
    assert largest_errors(x, out).max() <= bound
    if nodata is not None:
        np.testing.assert_array_equal(out == nodata, x == nodata)


def test_a_bound_holds_beside_the_nodata_value(codec):
    """Pixels that would decode to nodata are moved off it: not beyond their bound."""
    x = np.tile(np.array([98, 99, 101, 102], np.int16), (2, 16, 16))
    x[:, :, ::9] = 100
    for bound in (1, 2, 5):
        out = codec.decode(codec.encode_bounded(x, [bound] * 2, nodata=100))
        np.testing.assert_array_equal(out == 100, x == 100)
        assert largest_errors(x, out).max() <= bound


def test_bounds_that_are_none_are_refused(codec):
    x = scene().astype(np.uint16)
    for bounds in ([1, 2], [-1] * 4, [np.nan] * 4, [np.inf] * 4, []):
        with pytest.raises(InvalidParameterError, match="max_error"):
            codec.encode_bounded(x, bounds)


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*IMAGES, "sperr", "sz3", "zfp"])
def test_bytes_and_psnr_rise_with_quality(name):
    codec, x = open_codec(name), scene(3, 120, 120, noise=150).astype(np.uint16)
    low, high, _ = codec.card.quality
    levels = np.arange(low, min(high, 10) + 0.1, 0.5)
    payloads = [codec.encode(x, float(level)) for level in levels]
    sizes = [len(payload) for payload in payloads]
    found = [psnr(x, codec.decode(payload)) for payload in payloads]
    assert sizes == sorted(sizes)
    assert found == sorted(found)
    assert len(set(sizes)) == len(sizes)


@pytest.fixture(scope="module")
def reference(shared_data):
    """Parts of left-out Sentinel-2 tiles, and klt-dct's mean PSNR on them by quality."""
    from openeo_nc.benchmarks.tiles import from_split

    klt = open_codec("klt-dct")
    parts = [t.pixels[::2, :144, :144] for t in from_split(shared_data, "s2l2a")[::2]]
    levels = (1.0, 3.0, 5.0, 8.0, 12.0)
    return parts, {
        q: np.mean([psnr(x, klt.decode(klt.encode(x, q))) for x in parts]) for q in levels
    }


@pytest.mark.realdata
@pytest.mark.parametrize("name", [*IMAGES, "sperr", "sz3", "zfp"])
def test_a_quality_gives_about_the_psnr_of_klt_dct_on_sentinel_2(name, reference):
    codec = open_codec(name)
    parts, expected = reference
    for quality, aimed in expected.items():
        found = np.mean([psnr(x, codec.decode(codec.encode(x, quality))) for x in parts])
        assert abs(found - aimed) < 1.5


def test_floats_and_eight_bits_have_levels_of_their_own_range(codec):
    for dtype in set(codec.card.dtypes) & {"uint8", "float32", "float64", "int32"}:
        scale = 255 / 10000 if dtype == "uint8" else 1e-4 if dtype[0] == "f" else 1000
        x = (scene() * scale).astype(dtype)
        peak = 255 if dtype == "uint8" else float(np.ptp(x))
        errors = [
            np.sqrt(np.mean((x.astype(float) - codec.decode(codec.encode(x, q))) ** 2)) / peak
            for q in (2, 5, 8)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] < 0.03
        assert errors[2] < 0.006


# --- shapes and numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 2, 65, 300, 1024])
def test_any_number_of_bands(codec, bands):
    x = scene(bands, 9, 8).astype(np.uint16)
    out = codec.decode(codec.encode(x))
    assert out.shape == x.shape
    assert psnr(x, out) > 35
    np.testing.assert_array_equal(codec.decode(codec.encode_bounded(x, [0] * bands)), x)


def test_jpeg_xl_keeps_what_fits_sixteen_bits():
    codec, x = open_codec("jpegxl"), scene().astype(np.int32) + 10**9
    np.testing.assert_array_equal(codec.decode(codec.encode_bounded(x, [0] * 4)), x)
    wide = x.astype(np.float64) * 100
    assert largest_errors(wide, codec.decode(codec.encode_bounded(wide, [50] * 4))).max() <= 50
    with pytest.raises(InvalidParameterError, match="16 bits"):
        codec.encode_bounded(wide, [0.5] * 4)


@pytest.mark.parametrize("name", ["jpeg2000", "htj2k"])
def test_images_are_whole_numbers(name):
    for dtype in ("float32", "int32", "uint64"):
        with pytest.raises(DataTypeUnsupportedError, match=f"{dtype}.*{name}.*uint16"):
            open_codec(name).encode(scene().astype(dtype))


def test_numbers_of_other_byte_order_come_back(codec):
    x = scene().astype(">u2")
    np.testing.assert_array_equal(codec.decode(codec.encode_bounded(x, [0] * 4)), x)


def test_a_band_without_data_beside_others(codec):
    x = scene().astype(np.int16)
    x[2] = -999
    for payload in (codec.encode(x, nodata=-999), codec.encode_bounded(x, [2] * 4, nodata=-999)):
        out = codec.decode(payload)
        np.testing.assert_array_equal(out == -999, x == -999)
    assert largest_errors(x, out).max() <= 2


def test_gaps_cost_little(codec):
    """A corner of data in a large tile: flat gaps are a small part of what the data take."""
    x = np.full((3, 200, 200), -1, np.int16)
    x[:, :64, :64] = scene(3, 64, 64)
    alone = len(codec.encode(np.ascontiguousarray(x[:, :64, :64])))
    assert len(codec.encode(x, nodata=-1)) < 2 * alone


# --- payloads ------------------------------------------------------------------------------------


def test_a_payload_says_whether_it_was_coded_to_a_bound(codec):
    x = scene().astype(np.uint16)
    assert bitstream.read(codec.encode(x), tag=None)[0].quality == codec.card.quality[2]
    assert bitstream.read(codec.encode_bounded(x, [9] * 4), tag=None)[0].quality == 0


def test_payloads_of_other_libraries_are_refused_by_name(codec):
    other = open_codec("zfp" if codec.card.codec_id != "zfp" else "sz3")
    with pytest.raises(PayloadError, match=r"was written by codec"):
        codec.decode(other.encode(scene().astype(np.uint16)))


@pytest.mark.parametrize("junk", [b"", b"\0", b"\7abc", b"\1" + bytes(40), b"\2" + b"\xff" * 60])
def test_a_payload_written_by_somebody_else_is_a_typed_error(codec, junk):
    """With every digest right: what is no stream of a library's fails before the library."""
    header = bitstream.read(codec.encode(scene().astype(np.uint16)), tag=None)[0]
    forged = bitstream.write(header, [junk], bitstream.content_digest(header, junk))
    with pytest.raises(PayloadError):
        codec.decode(forged)


def test_streams_are_split_where_they_were_joined():
    streams = [b"ab", b"", b"cde"]
    assert split(join(streams), 3) == streams
    for data, count in ((join(streams)[:-1], 3), (join(streams), 2), (b"\0" * 3, 1)):
        with pytest.raises(PayloadError):
            split(data, count)


def test_a_jpeg_2000_payload_holds_a_codestream_that_gdal_reads(tmp_path):
    """The section of a lossy payload is an ordinary codestream, for whoever lacks this package."""
    rasterio = pytest.importorskip("rasterio")
    codec, x = open_codec("jpeg2000"), scene().astype(np.uint16)
    payload = codec.encode(x, 8.0)
    _, sections, _ = bitstream.read(payload, tag=None)
    (tmp_path / "tile.j2k").write_bytes(sections[-1][1:])
    unplaced = pytest.warns(rasterio.errors.NotGeoreferencedWarning)
    with unplaced, rasterio.open(tmp_path / "tile.j2k") as file:
        pixels = file.read()
    assert np.abs(pixels.astype(int) - codec.decode(payload)).max() <= 1


def test_no_latents_and_no_unknown_library(codec):
    with pytest.raises(InvalidParameterError, match="no latents"):
        with_latents(codec)
    with pytest.raises(CardInvalidError, match="zfp"):
        load(dataclasses.replace(get_card("zfp"), codec_id="gzip"))
