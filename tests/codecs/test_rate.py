"""What may be asked of a tile, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from dask.base import tokenize

from openeo_nc.codecs.rate import Rate
from openeo_nc.errors import InvalidParameterError


def test_nothing_asked_is_a_rate():
    assert Rate.of(bands=3) == Rate()


def test_one_number_bounds_every_band():
    assert Rate.of(max_error=5, bands=3).max_error == (5.0, 5.0, 5.0)
    assert Rate.of(max_error=0, bands=1).max_error == (0.0,)
    assert Rate.of(max_error=np.float32(0.5), bands=2).max_error == (0.5, 0.5)
    assert Rate.of(max_error=[1, 2.5, 0], bands=3).max_error == (1.0, 2.5, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 5, "target_psnr": 40},
        {"target_ratio": 3, "max_error": 1},
        {"quality": float("nan")},
        {"target_psnr": float("inf")},
        {"target_psnr": -1},
        {"target_ratio": 0},
        {"max_error": -1},
        {"max_error": float("nan")},
        {"max_error": [1, 2]},
        {"max_error": [1, 2, -3]},
        {"max_error": "5"},
        {"max_error": [1, 2, "x"]},
        {"quality": "high"},
        {"max_error": {"B02": 1}},
    ],
    ids=str,
)
def test_what_no_rate_is(wrong):
    with pytest.raises(InvalidParameterError):
        Rate.of(**wrong, bands=3)


def test_rates_travel_to_workers():
    rate = Rate.of(max_error=[1, 2], bands=2)
    assert pickle.loads(pickle.dumps(rate)) == rate
    assert len({rate, Rate(max_error=(1.0, 2.0))}) == 1
    assert tokenize(rate) == tokenize(Rate(max_error=(1.0, 2.0)))
    assert tokenize(rate) != tokenize(Rate(max_error=(1.0, 3.0)))
