"""Integer convolutions agree with int64 arithmetic to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs.integer_net import Convolution, activate, depthwise, shift, upsample
from openeo_nc.errors import WeightsInvalidError


def test_sums_are_those_of_int64():
    rng = np.random.default_rng(0)
    weight = rng.integers(-32768, 32768, (5, 7, 3, 3)).astype(np.int16)
    bias = rng.integers(-(2**31), 2**31, 5).astype(np.int32)
    x = rng.integers(0, 65536, (7, 6, 9))
    total = Convolution.load({"c.weight": weight, "c.bias": bias}, "c")(x.astype(float))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1))).astype(np.int64)
    for r in range(6):
        for c in range(9):
            exact = np.tensordot(weight.astype(np.int64), padded[:, r : r + 3, c : c + 3], 3) + bias
            np.testing.assert_array_equal(total[:, r, c].astype(np.int64), exact)


def test_rounding_is_half_up_and_clipped():
    total = np.array([-5000.0, 2047.0, 2048.0, 4096.0 * 70000])
    assert activate(total).tolist() == [0, 0, 1, 65535]
    assert shift(np.array([-6.0, -2.0, 2.0, 6.0]), 2).tolist() == [-1, 0, 1, 2]


def test_upsampling_and_neighbours():
    x = np.arange(4.0).reshape(1, 2, 2)
    assert upsample(x)[0, 0].tolist() == [0, 0, 1, 1]
    kernel = np.zeros((1, 3, 3))
    kernel[0, 0, 0] = 1
    assert depthwise(x, kernel).tolist() == [[[0, 0], [0, 0]]]
    kernel[0, 0, 0], kernel[0, 0, 1] = 0, 2
    assert depthwise(x, kernel).tolist() == [[[0, 0], [0, 2]]]


def test_float_or_oversized_weights_are_refused():
    with pytest.raises(WeightsInvalidError, match="integer"):
        Convolution.load({"c.weight": np.ones((1, 1, 1, 1))}, "c")
    with pytest.raises(WeightsInvalidError, match="inexact"):
        Convolution.load({"c.weight": np.full((1, 1, 1, 1), 2**40)}, "c")
