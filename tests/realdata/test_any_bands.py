"""`auto` takes any cube, and gives back what it was: real data of many kinds, and odd ones."""

from __future__ import annotations

import warnings

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr

from openeo_nc.codecs import payloads
from openeo_nc.codecs.alternatives import encode_freely
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import psnr
from openeo_nc.codecs.registry import choose, open_card, open_codec
from openeo_nc.cubes import rates
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.sentinel2 import BANDS

pytestmark = pytest.mark.realdata

SUBSETS = {
    "10 m": ("B02", "B03", "B04", "B08"),
    "10 and 20 m": tuple(b for b in BANDS if b not in ("B01", "B09")),
    "RGB": ("B04", "B03", "B02"),
    "another order": BANDS[::-1],
    "one": ("B08",),
}


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(), file.nodata


def first(folder, pattern):
    return min(folder.glob(pattern))


@pytest.fixture(scope="module")
def twelve(shared_data):
    """A left-out place, `(12, 120, 120)` uint16."""
    return read(first(shared_data, "s2/ssl4eos12/*0080717_0.tif"))[0][:, :120, :120]


def cube(x, names, nodata=None, start=0):
    count, height, width = x.shape
    data = xr.DataArray(
        x,
        dims=("bands", "y", "x"),
        coords={
            "bands": list(names),
            "y": 5e6 - 10 * (np.arange(height) + 0.5 + start),
            "x": 5e5 + 10 * (np.arange(width) + 0.5 + start),
        },
    )
    if nodata is not None:
        data.attrs["_FillValue"] = nodata
    return data.rio.write_crs(32633)


def round_trip(x, names=None, nodata=None, rate=None):
    """What `auto` gives back of a tile, and the id of the codec that wrote its payload."""
    names = names or [f"b{i}" for i in range(len(x))]
    card = choose("auto", names)
    codec = open_card(card)
    others = [open_card(other) for other in rates.fallbacks(card, x.dtype)]
    asked = rate or Rate(quality=card.quality[2])
    payload = encode_freely(codec, x, asked, nodata=nodata, others=others)
    cards = [other.card for other in others]
    wrote = payloads.codec_of(payload, cards)
    out = payloads.decode(payload, codec, open_card, cards)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    missing = np.isnan(x) if x.dtype.kind == "f" else x == nodata
    np.testing.assert_array_equal(np.isnan(out) if x.dtype.kind == "f" else out == nodata, missing)
    return out, (card if wrote is None else wrote).codec_id, len(payload)


def decibel(x, out, nodata=None):
    return psnr(x, out, open_codec("klt-dct").card, nodata)


@pytest.mark.parametrize("subset", SUBSETS)
def test_bands_of_sentinel_2_in_any_number_and_order(subset, twelve):
    names = SUBSETS[subset]
    x = twelve[[BANDS.index(name) for name in names]]
    out, codec, size = round_trip(x, names)
    assert codec == "klt-dct"
    assert decibel(x, out) > 40
    assert size < x.nbytes / 12
    with dask.config.set(scheduler="synchronous"):
        restored = compress_cube(cube(x, names, start=70))
        np.testing.assert_allclose(restored.values, x, atol=1500)
        assert decibel(x, restored.values) > 36


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("s2/majortom_l1c/*.tif", 45),
        ("s2/eurosat_l1c/*.tif", 45),
        ("s2/sen1floods11_l1c/*.tif", 42),
        ("s2/t29unu_l2a_60m/*.tif", 40),
        ("s2/chesapeake_l1c/*.tif", 40),
    ],
)
def test_other_multispectral_products(pattern, least, shared_data):
    paths = sorted(shared_data.glob(pattern))
    if not paths:
        pytest.skip(f"no {pattern}")
    x, nodata = read(paths[0])
    x = x[:, :192, :192]
    out, codec, _ = round_trip(x, nodata=nodata)
    assert codec == "klt-dct"
    assert decibel(x, out, nodata) > least


def test_backscatter_in_decibel_with_gaps(shared_data):
    x = read(first(shared_data, "s1/majortom_rtc/*.tif"))[0].astype(np.float32)
    x[:, 30:50, :70] = np.nan
    out, codec, _ = round_trip(x, ["VV", "VH"])
    assert codec == "klt-dct"
    assert decibel(x, out) > 38
    high, codec, _ = round_trip(x, ["VV", "VH"], rate=Rate(target_psnr=65.0))
    assert decibel(x, high) > 64.7
    with dask.config.set(scheduler="synchronous"):
        restored = compress_cube(cube(x[:, :60, :60], ["VV", "VH"])).values
    np.testing.assert_array_equal(np.isnan(restored), np.isnan(x[:, :60, :60]))


def test_fields_of_weather(shared_data):
    with xr.open_dataset(first(shared_data, "era5/eraint_month01*.nc")) as file:
        x = file["u"].values.reshape(-1, *file["u"].shape[-2:])[:3, :200, :200].astype(np.float32)
    out, codec, size = round_trip(x)
    assert codec == "sperr"
    assert decibel(x, out) > 45
    assert size < len(open_codec("klt-dct").encode(x, 5.0))


def test_temperatures_in_kelvin(shared_data):
    with xr.open_dataset(first(shared_data, "era5/*t850*.nc")) as file:
        name = next(n for n in file.data_vars if file[n].ndim >= 2)
        x = np.squeeze(file[name].values).astype(np.float32)[None, :256, :256]
    out, _, size = round_trip(x)
    assert decibel(x, out) > 44
    assert size < x.nbytes / 100


def test_classes_come_back_exactly(shared_data):
    for pattern in ("labels/majortom_lulc/*.tif", "labels/t29unu_scl_60m/*.tif"):
        x = read(first(shared_data, pattern))[0][:1, :200, :200]
        for dtype in ("uint8", "float32"):
            out, _, size = round_trip(x.astype(dtype))
            np.testing.assert_array_equal(out, x)
            assert size < x.size / 4
    with dask.config.set(scheduler="synchronous"):
        restored = compress_cube(cube(x[:, :50, :50], ["SCL"], nodata=0))
        np.testing.assert_array_equal(restored.values, x[:, :50, :50])
        record = payloads_of(restored)
        assert {spec.codec_id for spec in record.coding.others} == set(rates.FALLBACKS)


def test_elevations(shared_data):
    for path in sorted(shared_data.glob("labels/majortom_dem/*.tif")):
        x = read(path)[0]
        out, _, _ = round_trip(x)
        assert np.sqrt(np.mean((out.astype(float) - x) ** 2)) < 25  # 16 bits are of 10000
        exact, _, size = round_trip(x, rate=Rate(max_error=(0.0,)))
        np.testing.assert_array_equal(exact, x)
        assert size < x.nbytes / 2


def test_a_hyperspectral_cube(twelve):
    rng = np.random.default_rng(0)
    at = (443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1610, 2190)
    flat = twelve[:, :64, :64].reshape(12, -1).astype(float)
    spectra = np.array([np.interp(np.linspace(443, 2190, 200), at, pixel) for pixel in flat.T])
    x = (spectra.T * rng.normal(1, 0.01, (200, 1)) + rng.normal(0, 8, (200, 4096))).clip(0)
    x = x.round().astype(np.uint16).reshape(200, 64, 64)
    out, codec, size = round_trip(x)
    assert codec == "klt-dct"
    assert decibel(x, out) > 44
    assert size < x.nbytes / 100


def test_landsat_like_scaled_reflectance(twelve):
    x = (twelve[[1, 2, 3, 8, 10, 11, 9]] * 3.6 + 7273).round().astype(np.uint16)
    x[:, :9, :40] = 0
    out, codec, _ = round_trip(x, nodata=0)
    assert codec == "klt-dct"
    assert np.sqrt(np.mean((out.astype(float) - x) ** 2)) < 100


@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
     "float16", "float32", "float64"],
)  # fmt: skip
def test_any_dtype_and_odd_shapes(dtype, twelve):
    top = 100 if np.dtype(dtype).itemsize == 1 else 4000
    x = (twelve[[2, 7]].astype(float) / 4000 * top).clip(0, top).astype(dtype)
    out, _, _ = round_trip(x)
    assert decibel(x, out) > (36 if np.dtype(dtype).itemsize == 1 else 38)
    for odd in (x[:, :1, :1], x[:, :1], x[:, :, :7], np.full_like(x, 3), np.zeros_like(x)):
        round_trip(odd)
    constant, _, _ = round_trip(np.full_like(x, 77))
    np.testing.assert_array_equal(constant, np.full_like(x, 77))


def test_no_data_only_and_extreme_floats():
    gone = np.full((2, 30, 30), np.nan, np.float32)
    round_trip(gone)
    empty, _, _ = round_trip(np.full((3, 25, 40), 7, np.uint16), nodata=7)
    assert (empty == 7).all()
    rng = np.random.default_rng(1)
    wild = (10.0 ** rng.uniform(-30, 30, (2, 40, 40))).astype(np.float32)
    out, _, _ = round_trip(wild)
    assert decibel(wild, out) > 35
    tiny = rng.normal(0, 1e-300, (1, 30, 30))
    assert decibel(tiny, round_trip(tiny)[0]) > 35


@pytest.mark.parametrize("bands", [600, 1100])
def test_more_bands_than_a_large_tile_could_hold(bands):
    rng = np.random.default_rng(2)
    mixed = rng.normal(size=(bands, 4)) @ rng.normal(size=(4, 24 * 24))
    x = mixed.reshape(bands, 24, 24).astype(np.float32)
    out, codec, size = round_trip(x)
    assert codec == "klt-dct-spectra"
    assert decibel(x, out) > 40
    assert size < x.nbytes / 20
