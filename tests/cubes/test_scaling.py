"""Cube numbers to card numbers and back, against plain arithmetic."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from openeo_nc.codecs.base import CodecCard
from openeo_nc.cubes.scaling import factor, from_card, to_card
from openeo_nc.errors import DataTypeUnsupportedError, InvalidParameterError


def card(scale=0.0001, dtypes=("int16", "uint16", "float32")):
    return CodecCard(
        codec_id="some", title="", description="", architecture="some", version="1",
        bands=None, dtypes=dtypes, units="", scale=scale, peak=None, tile=16, stride=8,
        latent_channels=None, embedding=False, quality=(1, 8, 5), resolution=None,
        weights=None, weights_sha256=None, decode_tolerance=0, licence="Apache-2.0",
    )  # fmt: skip


def cube(values, dtype, **attrs):
    data = np.asarray(values, dtype).reshape(1, 1, 1, -1)
    return xr.DataArray(da.from_array(data), dims=("t", "bands", "y", "x"), attrs=attrs)


def raises_on_compute(*args, **kwargs):
    raise AssertionError("building a cube computed something")


def test_physical_values_become_card_numbers():
    source = cube([0.1234, -0.01, np.nan, 1.5], "float32", **{"nc:scale": 1.0})
    with dask.config.set(scheduler=raises_on_compute):
        converted = to_card(source, card())
    assert converted.dtype == np.float32
    assert converted.attrs["nc:scale"] == 0.0001
    assert source.attrs["nc:scale"] == 1.0
    np.testing.assert_allclose(converted.values.ravel(), [1234, -100, np.nan, 15000], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_numbers_without_a_scale_are_taken_as_the_cards(dtype):
    source = cube([1, 2, 3], dtype)
    assert factor(source, card()) == 1.0
    assert to_card(source, card()).data.name == source.data.name


def test_a_scale_argument_wins_over_the_attribute():
    source = cube([100, 0], "uint16", **{"nc:scale": 1.0})
    assert factor(source, card(), scale=0.0002) == pytest.approx(2)
    assert factor(source, card(), scale=0.0001) == 1.0
    assert factor(source, card(scale=None), scale=0.0002) == 1.0


def test_integer_nodata_becomes_nan_when_the_numbers_change():
    source = cube([5, 0, 7], "uint16", _FillValue=0)
    converted = to_card(source, card(), scale=0.001)
    np.testing.assert_array_equal(converted.values.ravel(), np.float32([50, np.nan, 70]))
    assert "_FillValue" not in converted.attrs


@pytest.mark.parametrize(
    ("given", "takes", "expected"),
    [
        ("uint8", ("int16", "uint16", "float32"), "int16"),
        ("int8", ("uint16", "int32"), "int32"),
        ("int32", ("int16", "float32"), "float32"),
        ("float64", ("float32",), "float32"),
        ("float64", ("float64", "float32"), "float64"),
    ],
)
def test_dtypes_are_widened(given, takes, expected):
    source = cube([1, 2, 3], given)
    converted = to_card(source, card(dtypes=takes))
    assert converted.dtype == expected
    np.testing.assert_array_equal(converted.values, source.values)


@pytest.mark.parametrize("given", ["bool", "complex64", "int32"])
def test_an_unsuitable_dtype_is_a_typed_error(given):
    with pytest.raises(DataTypeUnsupportedError, match=given):
        to_card(cube([0, 1], given), card(dtypes=("int16",)))


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(InvalidParameterError, match="above 0"):
        factor(cube([1], "uint16"), card(), scale=scale)


def test_from_card_undoes_to_card():
    source = cube([0.1234, -0.01, np.nan, 1.5], "float32", **{"nc:scale": 1.0})
    ratio = factor(source, card())
    back = from_card(to_card(source, card()).values, ratio, "float32")
    np.testing.assert_allclose(back, source.values, rtol=1e-6)
    ints = cube([5, 65535, 7], "uint16", _FillValue=65535)
    numbers = to_card(ints, card(), scale=0.001).values
    np.testing.assert_array_equal(from_card(numbers, 10.0, "uint16", 65535), ints.values)
    clipped = from_card(np.float32([-3, 1e9]), 1.0, "uint16")
    np.testing.assert_array_equal(clipped, [0, 65535])
