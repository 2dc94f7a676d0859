"""Compares rate-distortion curves: rates at equal PSNR, and the Bjontegaard mean over a range.

A curve is (bpppb, PSNR in dB) points. Between them log bpppb is a monotone cubic (PCHIP) of PSNR;
nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = Iterable[tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class BDRate:
    """How many bytes one codec takes more than another, over the PSNRs that both reach."""

    percent: float
    """Mean difference of rate; negative is smaller."""
    low: float
    """Lowest PSNR that both reach, in dB."""
    high: float
    """Highest PSNR that both reach, in dB."""


def rate_at(curve: Curve, target: float) -> float | None:
    """bpppb of a curve at a PSNR; None outside the curve."""
    log_rate = _log_rate(curve)
    if log_rate is None or not log_rate.x[0] <= target <= log_rate.x[-1]:
        return None
    return math.exp(log_rate(target))


def bd_rate(curve: Curve, rival: Curve) -> BDRate | None:
    """Bjontegaard delta rate of a curve against a rival's; None if they share no range.

    The mean over PSNR of the difference of log rate (G. Bjontegaard, Calculation of average PSNR
    differences between RD-curves, ITU-T VCEG-M33, 2001), with PCHIP instead of one cubic through
    all points, as ITU-T HSTP-VID-WPOM (2020) has it.
    """
    ours, theirs = _log_rate(curve), _log_rate(rival)
    if ours is None or theirs is None:
        return None
    low, high = max(ours.x[0], theirs.x[0]), min(ours.x[-1], theirs.x[-1])
    if not low < high:
        return None
    mean = (ours.integrate(low, high) - theirs.integrate(low, high)) / (high - low)
    return BDRate(percent=100 * math.expm1(mean), low=float(low), high=float(high))


def _log_rate(curve: Curve) -> PchipInterpolator | None:
    """log bpppb over PSNR, points that came back exactly left out; None of fewer than two."""
    points = sorted({p: r for r, p in curve if p is not None}.items())
    if len(points) < 2:
        return None
    decibels, rates = zip(*points, strict=True)
    return PchipInterpolator(decibels, np.log(rates))
