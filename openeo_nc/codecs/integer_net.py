"""Convolutions over integers, exact on every machine: what entropy models must be made of.

A float network that chooses code tables is not reproducible: another thread count, instruction set
or memory layout flips an index now and then, and one flip ruins a stream. Here weights, activations
and sums are integers held in float64, whose products BLAS adds exactly in any order as long as no
sum can reach 2^53; `Convolution` refuses weights whose sums could.

Fixed point: weights in units of 2^-12, activations of 2^-8, sums and biases of 2^-20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import WeightsInvalidError

WEIGHT_BITS, ACTIVATION_BITS = 12, 8
SUM_BITS = WEIGHT_BITS + ACTIVATION_BITS
ACTIVATION_LIMIT = 65535
"""Largest activation in its units; also the bound on any input's magnitude."""
EXACT = 2**53

Array = npt.NDArray[np.float64]
"""Integers in float64, `(channels, y, x)`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A convolution of odd kernel with zero padding and stride 1; sums in units of 2^-20."""

    weight: npt.NDArray[np.float64]
    """`(outputs, inputs, ky, kx)` integers."""
    bias: npt.NDArray[np.float64]
    """`(outputs,)` integers."""

    @classmethod
    def load(cls, arrays: dict[str, npt.NDArray[Any]], name: str) -> Convolution:
        """From `name.weight` and, if there is one, `name.bias`; WeightsInvalidError if inexact."""
        weight = arrays[f"{name}.weight"]
        bias = arrays.get(f"{name}.bias", np.zeros(weight.shape[0], np.int32))
        if weight.dtype.kind != "i" or bias.dtype.kind != "i" or weight.ndim != 4:
            raise WeightsInvalidError(f"'{name}' must have 4-D integer weights and integer bias")
        largest = np.abs(weight.astype(np.float64)).sum(axis=(1, 2, 3)) * ACTIVATION_LIMIT
        if (largest + np.abs(bias.astype(np.float64))).max() >= EXACT:
            raise WeightsInvalidError(f"sums of '{name}' could reach 2^53 and become inexact")
        return cls(weight=weight.astype(np.float64), bias=bias.astype(np.float64))

    def __call__(self, x: Array) -> Array:
        """Sums of `(inputs, y, x)` integers, one matrix product a kernel tap."""
        outputs, inputs, ky, kx = self.weight.shape
        height, width = x.shape[1:]
        pad_y, pad_x = ky // 2, kx // 2
        padded = np.zeros((inputs, height + 2 * pad_y, width + 2 * pad_x))
        padded[:, pad_y : pad_y + height, pad_x : pad_x + width] = x
        total = np.repeat(self.bias[:, None], height * width, axis=1)
        for i in range(ky):
            for j in range(kx):
                window = padded[:, i : i + height, j : j + width].reshape(inputs, -1)
                total += self.weight[:, :, i, j] @ window
        return total.reshape(outputs, height, width)


def activate(total: Array) -> Array:
    """Sums to activations: rounded to 2^-8 and clipped to 0..65535."""
    return np.asarray(np.clip(shift(total, WEIGHT_BITS), 0, ACTIVATION_LIMIT))


def shift(total: Array, bits: int) -> Array:
    """total / 2^bits, rounded half up; exact, since a power of two only moves the exponent."""
    return np.asarray(np.floor(total * 2.0**-bits + 0.5))


def upsample(x: Array) -> Array:
    """Every value twice in y and in x."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def depthwise(x: Array, kernel: npt.NDArray[np.float64]) -> Array:
    """3 x 3 correlation of every channel with its own `(channels, 3, 3)` integer kernel."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            total += kernel[:, i, j, None, None] * padded[:, i : i + height, j : j + width]
    return total
