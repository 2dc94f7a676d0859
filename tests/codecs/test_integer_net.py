"""Integer convolutions agree with int64 arithmetic to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs.integer_net import Convolution, _parts, activate, depthwise, shift, upsample
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


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (3, 5)])
def test_positions_and_channels_of_zeros_change_no_sum(kernel):
    rng = np.random.default_rng(1)
    weight = rng.integers(-900, 900, (4, 6, *kernel)).astype(np.int16)
    convolution = Convolution.load({"c.weight": weight}, "c")
    x = rng.integers(0, 65536, (6, 7, 5)).astype(float)
    x[[0, 3]] = 0
    total = convolution(x)
    pads = [(0, 0), *((n // 2, n // 2) for n in kernel)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), kernel, (1, 2))
    np.testing.assert_array_equal(total, np.einsum("oiuv,iyxuv->oyx", weight, windows))
    at = rng.random((7, 5)) < 0.4
    np.testing.assert_array_equal(convolution(x, at)[:, 0], total[:, at])
    assert not convolution(np.zeros_like(x)).any()


@pytest.mark.parametrize("largest", [0, 3, 400, 6000, 65535])
@pytest.mark.parametrize("signed", [False, True])
def test_sums_are_exact_whatever_floats_they_are_taken_in(largest, signed):
    """Values up to where float32 holds all sums, parts of them, and none."""
    rng = np.random.default_rng(largest)
    for limit in (30, 1000, 32768):
        weight = rng.integers(-limit, limit, (4, 37, 3, 3)).astype(np.int16)
        x = rng.integers(-largest if signed else 0, largest + 1, (37, 6, 5)).astype(float)
        x[5] = np.sign(x[5])
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((0, 0), (1, 1), (1, 1))).astype(np.int64), (3, 3), (1, 2)
        )
        expected = np.einsum("oiuv,iyxuv->oyx", weight.astype(np.int64), windows)
        total = Convolution.load({"c.weight": weight}, "c")(x)
        np.testing.assert_array_equal(total, expected)


def test_a_sum_just_below_2_to_24_is_taken_in_float32_and_one_at_it_is_not():
    for last, expected in ((255, [np.float32]), (256, [np.float32, np.float32])):
        tap = np.array([[65535.0, 1.0]])
        least, most = np.zeros(2), np.array([256.0, float(last)])
        parts = list(_parts(tap, least, most, slice(0, 2)))
        assert [of for _, of in parts] == expected
        assert sum(part.stop - part.start for part, _ in parts) == 2
        assert sum(float(tap[0, p] @ most[p]) for p, _ in parts) == 65535 * 256 + last
    alone = list(_parts(np.array([[65536.0]]), np.array([-256.0]), np.zeros(1), slice(0, 1)))
    assert alone == [(slice(0, 1), np.float64)]


def test_terms_of_one_sign_count_alone():
    """What they cancel does not matter: each order of a sum stays between its two halves."""
    tap, most = np.array([[60000.0, -60000.0]]), np.array([250.0, 250.0])
    assert list(_parts(tap, np.zeros(2), most, slice(0, 2))) == [(slice(0, 2), np.float32)]
    assert len(list(_parts(tap, -most, most, slice(0, 2)))) == 2


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
