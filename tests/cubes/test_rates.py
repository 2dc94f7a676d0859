"""What may be asked of a cube: one thing at a time, numbers that make sense, kept as it was asked."""

from __future__ import annotations

from dataclasses import replace

import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.codecs import registry
from openeo_nc.codecs.rate import Rate
from openeo_nc.cubes import rates
from openeo_nc.cubes.rates import Asked, asked, of_tile, reference_dtype

NAN = float("nan")


@pytest.fixture
def card(codecs):
    return replace(registry.get_card("fake-rgb"), guard="g.safetensors", guard_sha256="ab" * 32)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quality": 5, "max_error": 1}, "quality and max_error.*guard"),
        ({"target_psnr": 40, "target_ratio": 10}, "target_psnr and target_ratio"),
        ({"quality": 5, "target_psnr": 40, "target_ratio": 9}, "At most one"),
        ({"quality": 0.5}, "from 1 to 8; given 0.5"),
        ({"quality": NAN}, "quality must be a finite number"),
        ({"quality": True}, "quality must be a number; given True"),
        ({"target_psnr": "40"}, "target_psnr must be a number; given '40'"),
        ({"target_psnr": 0}, "target_psnr must be a finite number above 0; given 0"),
        ({"target_psnr": float("inf")}, "finite"),
        ({"target_ratio": -3}, "target_ratio must be a finite number above 0; given -3"),
        ({"max_error": -1}, "max_error must be a finite number not below 0; given -1"),
        ({"max_error": NAN}, "not below 0; given nan"),
        ({"max_error": "5"}, "max_error must be a number; given '5'"),
        ({"max_error": False}, "given False"),
        ({"max_error": [1, 2]}, "one for each of the 3 bands B02, B03, B04; given a list of 2"),
        ({"max_error": []}, "given a list of 0"),
        ({"max_error": [1, -2, 3]}, "max_error of band B03.*given -2"),
        ({"max_error": [1, 2, "3"]}, "max_error of band B04 must be a number; given '3'"),
        ({"max_error": [1, None, 3]}, "max_error of band B03 must be a number; given None"),
        ({"max_error": np.array([1.0, NAN, 3.0])}, "band B03"),
        ({"max_error": {"B02": 1}}, "must be a number; given {'B02': 1}"),
        ({"guard": "maybe"}, "'off', 'report' or 'bounded'; given 'maybe'"),
        ({"guard": "bounded"}, "needs max_error"),
        ({"guard": "bounded", "max_error": 3, "quality": 5, "target_psnr": 40}, "At most one"),
        ({"guard": "report", "max_error": 3, "quality": 5}, "quality and max_error"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_was_given(card, given, says):
    with pytest.raises(errors.InvalidParameterError, match=says):
        asked(card, fakes.RGB, **given)


@pytest.mark.parametrize(
    ("given", "document"),
    [
        ({}, {"quality": 8.0}),
        ({"quality": 5.001}, {"quality": 5.0}),
        ({"target_psnr": 41}, {"target_psnr": 41.0}),
        ({"target_ratio": np.float32(12.5)}, {"target_ratio": 12.5}),
        ({"max_error": 0}, {"max_error": 0.0}),
        ({"max_error": (1, 2, 3)}, {"max_error": [1.0, 2.0, 3.0]}),
        ({"max_error": [2, 2, 2]}, {"max_error": 2.0}),
        ({"guard": "report", "quality": 3}, {"quality": 3.0, "guard": "report"}),
        ({"guard": "report", "max_error": 3}, {"max_error": 3.0, "guard": "report"}),
        ({"guard": "bounded", "max_error": 3}, {"quality": 8.0, "max_error": 3.0, "guard": "bounded"}),
        (
            {"guard": "bounded", "max_error": [3, 4, 5], "target_psnr": 40},
            {"target_psnr": 40.0, "max_error": [3.0, 4.0, 5.0], "guard": "bounded"},
        ),
    ],
)  # fmt: skip
def test_what_was_asked_is_kept_in_a_document_and_comes_back(card, given, document):
    found = asked(card, fakes.RGB, **given)
    assert found.document() == document
    assert Asked.of_document(document, 3) == found


def test_only_one_quality_for_all_tiles_counts_as_one(card):
    assert asked(card, fakes.RGB).quality == 8.0
    assert asked(card, fakes.RGB, target_psnr=40).quality is None
    assert asked(card, fakes.RGB, quality=5, max_error=1, guard="bounded").quality is None
    assert asked(card, fakes.RGB, quality=5, guard="report").quality == 5.0


def tile_rate(rate, x, **form):
    form = {"ratio": 1.0, "dtype": x.dtype, "reference": np.dtype("uint16"), "nodata": None,
            "cube_nodata": None} | form  # fmt: skip
    return of_tile(rate, x, **form)


def test_a_ratio_counts_valid_pixels_of_16_bits():
    x = np.ones((3, 8, 8), np.float32)
    rate = Rate(target_ratio=10.0)
    wanted = 3 * 8 * 8 * 2 / 10
    assert x.nbytes / tile_rate(rate, x).target_ratio == pytest.approx(wanted)
    x[:, :, 4:] = np.nan
    assert x.nbytes / tile_rate(rate, x).target_ratio == pytest.approx(wanted / 2)
    integers = np.where(np.isnan(x), -9, x).astype(np.int16)
    found = tile_rate(rate, integers, nodata=-9.0).target_ratio
    assert integers.nbytes / found == pytest.approx(wanted / 2)
    x[:] = np.nan
    assert tile_rate(rate, x).target_ratio > 0


def test_a_bound_is_converted_band_by_band_with_how_large_its_pixels_are():
    x = np.stack([np.full((4, 4), 10.0), np.full((4, 4), 30_000.0), np.full((4, 4), np.nan)])
    rate = Rate(max_error=(0.01, 0.01, 0.01))
    found = tile_rate(rate, x.astype(np.float32), ratio=1e4, dtype=np.dtype("float32")).max_error
    small, large, empty = (100 - np.array(found)).tolist()
    assert 0 < small < large < 0.05
    assert empty == pytest.approx(small, rel=0.1)


def test_the_dtype_that_ratios_compare_with(card):
    klt = registry.get_card("klt-dct")
    dtypes = [
        reference_dtype(np.dtype(d), klt).name for d in ("uint8", "int16", "int32", "float32")
    ]
    assert dtypes == ["uint16", "uint16", "int32", "float32"]
    assert reference_dtype(np.dtype("float32"), card).name == "uint16"


def test_other_codecs_take_the_dtype_and_are_not_the_codec_itself(card):
    for dtype in map(np.dtype, ("uint8", "int16", "float32")):
        for other in rates.fallbacks(card, dtype):
            assert other.codec_id in rates.FALLBACKS
            assert other.bands is None
            assert dtype.name in other.dtypes
            assert other not in rates.fallbacks(other, dtype)


def test_a_guard_needs_a_codec_that_has_one(codecs):
    with pytest.raises(errors.InvalidParameterError, match="'fake-any' has no guard"):
        asked(registry.get_card("fake-any"), fakes.RGB, guard="report")
