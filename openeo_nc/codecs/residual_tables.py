"""The frequency tables of residuals: one shape for every scale and every fraction of a prediction.

A symbol is what a prediction leaves, so it lies around a fraction of an integer, as far as its
context says on average. Its distribution is a Student density, heavier in the tails where residuals
are rare: (1 + (u / a)^2)^-p, summed over each integer. Made of additions, products, quotients and
square roots of float64 one by one, which IEEE 754 rounds the same on every machine, and of integers.
"""

from __future__ import annotations

from functools import cache
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import entropy
from openeo_nc.codecs.entropy import Tables

PHASES = 4
"""Fractions of a prediction, 0 to 1/2."""
FINE = 12
"""Scales are in units of 2^-FINE of a symbol."""
SCALES = 64
_FIRST, _MIDDLE, _LAST = 14, 40, 10
"""Scales by half octaves from 2^-11, by quarters from 2^-4, by halves from 2^6 on."""
_END = 4 * (FINE + 11)
_REACH = 1023
_PARTS = 8
"""Points of the density for each integer."""
_POWER, _WIDTH = 24, 3.75
"""4 p, and a as a multiple of the scale."""
_SPARSE = 17
"""Scales below this, to 0.1, hold 0 and few others."""
_OTHERS, _ABOVE = (197, 197, 243, 410), (146, 223, 243, 251)
"""Of 256, by phase: share of symbols that are not 0 as a multiple of the scale; those above 0 of them."""

Floats = npt.NDArray[np.float64]


@cache
def levels() -> Floats:
    """`(SCALES,)` integers: mean magnitudes, in units of 2^-FINE, at which each scale begins."""
    return np.array([_root(quarter) for quarter in _quarters()], np.float64)


@cache
def tables() -> Tables:
    """Table `scale * PHASES + phase`."""
    rows = np.zeros((SCALES * PHASES, 2 * _REACH + 2), np.uint32)
    begins = [_root(quarter) for quarter in (*_quarters(), _END)]
    for scale in range(SCALES):
        mean = (begins[scale] + begins[scale + 1]) / 2 ** (FINE + 1)
        for phase in range(PHASES):
            row = rows[scale * PHASES + phase]
            freq = _sparse(mean, phase) if scale < _SPARSE else _student(mean, phase)
            reach = len(freq) // 2
            row[_REACH - reach : _REACH + reach + 1] = freq
            row[-1] = entropy.TOTAL - int(freq.sum())
    return Tables(freq=rows, offset=np.full(len(rows), -_REACH, np.int32))


@cache
def bits() -> npt.NDArray[np.float32]:
    """`(tables, 2 * reach + 1)` bits of every symbol; for choices of the encoder only."""
    freq = tables().freq.astype(np.float32)
    escaped = -np.log2(freq[:, -1:] / entropy.TOTAL) + 8
    return np.where(freq > 0, -np.log2(np.maximum(freq, 1) / entropy.TOTAL), escaped)[:, :-1]


def cost(symbols: npt.NDArray[Any], index: npt.NDArray[np.uint8]) -> float:
    """About the bits of symbols, each coded by its table."""
    column = np.clip(symbols, -_REACH, _REACH).astype(np.intp) + _REACH
    return float(bits()[index, column].sum(dtype=np.float64))


def _quarters() -> list[int]:
    """Where each scale begins, in quarter octaves of units of 2^-FINE."""
    first = [4 * (FINE - 11) + 2 * i for i in range(_FIRST)]
    middle = [4 * (FINE - 4) + i for i in range(_MIDDLE)]
    return first + middle + [4 * (FINE + 6) + 2 * i for i in range(_LAST)]


def _root(quarter: int) -> int:
    """2^(quarter / 4), rounded down."""
    return isqrt(isqrt(1 << quarter))


def _sparse(mean: float, phase: int) -> npt.NDArray[np.int64]:
    """Frequencies of -8..8: 0, 1 and -1, one in 128 of the others 2 and -2, and hardly any beyond."""
    others = entropy.TOTAL * min(mean * _OTHERS[phase] / 256, 0.5)
    above = others * _ABOVE[phase] / 256
    freq = np.ones(17, np.int64)
    freq[6:11] += np.array([others / 256, others - above, 0, above, others / 256]).astype(np.int64)
    freq[8] += entropy.TOTAL - 1 - freq.sum()
    return freq


def _student(mean: float, phase: int) -> npt.NDArray[np.int64]:
    """Frequencies around 0 that leave the escape the tails, and at least 1."""
    reach = min(int(10 * mean) + 8, _REACH)
    centre, width = (2 * phase + 1) / (4 * PHASES), _WIDTH * mean
    points = (np.arange(-reach * _PARTS - _PARTS // 2, reach * _PARTS + _PARTS // 2) + 0.5) / _PARTS
    ratio = (points - centre) / width
    root = np.sqrt(np.sqrt(1 / (1 + ratio * ratio)))
    density = root
    for _ in range(_POWER - 1):
        density = density * root
    weights = np.floor(density * 2.0**40).astype(np.int64).reshape(-1, _PARTS).sum(1)
    tail = int(weights[0] + weights[-1]) * reach // 2
    spare = entropy.TOTAL - 1 - len(weights)
    total = int(weights.sum()) + tail
    freq = np.array([1 + int(w) * spare // total for w in weights.tolist()], np.int64)
    freq[reach] += entropy.TOTAL - 1 - int(freq.sum()) - tail * spare // total
    return freq
