"""Cube numbers to card numbers and back, against plain arithmetic."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_nc.codecs.base import CodecCard
from openeo_nc.cubes.scaling import card_bound, factor, from_card, multiply, to_card
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


# --- bounds ---------------------------------------------------------------------------------------

RATIOS = st.sampled_from([1.0, 1e4, 10.0, 0.1, 1 / 3, 7.25])
BOUNDS = st.one_of(
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0]), st.floats(0, 1e3, allow_subnormal=False)
)


def moved(numbers, bound, rng):
    """Decoded card numbers: each within the bound of the given, some at its very end."""
    share = rng.choice([-1.0, 1.0, 0.0, rng.uniform(-1, 1)], numbers.shape)
    wanted = (numbers.astype(np.float64) + share * bound).astype(numbers.dtype)
    exact = np.abs(wanted.astype(np.float64) - numbers.astype(np.float64)) <= bound
    return np.where(exact, wanted, numbers)


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float16", "float32", "float64"]),
    ratio=RATIOS,
    bound=BOUNDS,
    seed=st.integers(0, 2**32 - 1),
    with_nodata=st.booleans(),
)
def test_a_bound_on_card_numbers_keeps_that_of_the_cube(dtype, ratio, bound, seed, with_nodata):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    reach = 10 ** rng.uniform(0, 4.5)
    if dtype.kind == "f":
        values, nodata = rng.uniform(-reach, reach, 400).astype(dtype), None
    else:
        info = np.iinfo(dtype)
        values = rng.uniform(max(info.min, -reach), min(info.max, reach), 400).astype(dtype)
        nodata = float(rng.choice([info.min, info.max, values[0]])) if with_nodata else None
    # as to_card does it, and a codec that takes float32 alone
    valid = values != nodata
    numbers = multiply(values[valid], ratio, "float32")
    largest = float(np.abs(numbers).max(initial=0))
    try:
        allowed = card_bound(bound, largest, ratio, dtype, "float32", nodata)
    except InvalidParameterError:
        assert bound < 4e-3 * max(reach, 1) + (dtype == "int32")
        return
    assert allowed >= 0
    decoded = moved(numbers, allowed, rng)
    back = from_card(decoded, ratio, dtype, nodata)
    error = np.abs(back.astype(np.float64) - values[valid].astype(np.float64))
    assert error.max(initial=0) <= bound
    if nodata is not None:
        assert not (back == nodata).any()
    # CF: what plain xarray makes of the same numbers, before anything rounds
    plain = np.abs(decoded * np.float64(1 / ratio) - values[valid].astype(np.float64))
    assert plain.max(initial=0) <= bound + 1e-6 * max(reach, 1)


def test_nothing_is_lost_where_nothing_is_converted():
    assert card_bound(0.25, 1e9, 1.0, "float32", "float32") == 0.25
    assert card_bound(3.0, 1e9, 1.0, "uint8", "int16", 255.0) == 3.0


def test_a_bound_that_rounding_alone_breaks_is_refused():
    with pytest.raises(InvalidParameterError, match=r"1e-08.*may cost"):
        card_bound(1e-8, 9800.0, 1e4, "float32", "float32")
    with pytest.raises(InvalidParameterError, match="klt-dct"):
        card_bound(0, 3e8, 1.0, "int32", "float32")
    assert card_bound(0, 3e6, 1.0, "int32", "float32") == 0


def test_valid_pixels_do_not_become_no_data():
    numbers = np.float32([0.4, -0.4, np.nan, 9.0])
    np.testing.assert_array_equal(from_card(numbers, 1.0, "int16", 0.0), [1, -1, 0, 9])
    np.testing.assert_array_equal(from_card(np.int16([-3, 300, 254]), 1.0, "uint8", 0.0),
                                  [1, 255, 254])  # fmt: skip
    np.testing.assert_array_equal(from_card(np.int16([256, 255, 7]), 1.0, "uint8", 255.0),
                                  [254, 255, 7])  # fmt: skip
