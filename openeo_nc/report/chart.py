"""A rate-distortion chart as inline SVG, in the page's own colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 18, 16, 58
_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One codec's line in the chart."""

    title: str
    """Name in the legend."""
    points: Sequence[tuple[float, float]]
    """(bpppb, PSNR in dB) pairs, lowest rate first."""
    own: bool
    """True for a codec of this package, drawn solid; others are dashed."""
    line: bool = True
    """False for points that are no curve."""


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers that cover a range."""
    rough = (high - low or 1.0) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first = math.floor(low / step)
    return [step * i for i in range(first, math.ceil(high / step) + 1)]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    ticks: list[float]
    start: float
    end: float

    def at(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _marks(curves: Iterable[Curve], x: _Axis, y: _Axis) -> str:
    parts = []
    for number, curve in enumerate(curves):
        spots = [(x.at(rate), y.at(quality)) for rate, quality in curve.points]
        dots = "".join(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5"><title>{escape(curve.title)}: '
            f"{rate:.3f} bpppb, {quality:.2f} dB</title></circle>"
            for (a, b), (rate, quality) in zip(spots, curve.points, strict=True)
        )
        kind = "curve" if curve.line else "curve cloud"
        line = _line(spots, curve) if curve.line else ""
        parts.append(f'<g class="{kind} c{number % _COLOURS}">{line}{dots}</g>')
    return "".join(parts)


def _line(spots: Sequence[tuple[float, float]], curve: Curve) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
    dash = "" if curve.own else ' stroke-dasharray="5 4"'
    return f'<polyline points="{points}"{dash}/>'


def _grid(x: _Axis, y: _Axis) -> str:
    parts = [
        f'<line class="grid" x1="{x.at(v):.1f}" x2="{x.at(v):.1f}" y1="{y.start}" y2="{y.end}"/>'
        f'<text x="{x.at(v):.1f}" y="{y.start + 22}" text-anchor="middle">{v:g}</text>'
        for v in x.ticks
    ]
    parts += [
        f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y.at(v):.1f}" y2="{y.at(v):.1f}"/>'
        f'<text x="{x.start - 8}" y="{y.at(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in y.ticks
    ]
    parts.append(
        f'<text x="{(x.start + x.end) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        "bits per pixel per band (bpppb)</text>"
        f'<text transform="translate(18 {(y.start + y.end) / 2}) rotate(-90)" '
        'text-anchor="middle">PSNR in dB</text>'
    )
    return "".join(parts)


def chart(curves: Sequence[Curve]) -> str:
    """SVG of the curves and, below it, their legend as HTML."""
    rates = [rate for curve in curves for rate, _ in curve.points]
    qualities = [quality for curve in curves for _, quality in curve.points]
    x = _Axis(ticks=_ticks(0, max(rates), 6), start=_LEFT, end=_WIDTH - _RIGHT)
    y = _Axis(ticks=_ticks(min(qualities), max(qualities), 6), start=_HEIGHT - _BOTTOM, end=_TOP)
    kinds = [("" if c.own else " other") if c.line else " cloud" for c in curves]
    legend = "".join(
        f'<li class="c{n % _COLOURS}{kind}">{escape(c.title)}</li>'
        for n, (c, kind) in enumerate(zip(curves, kinds, strict=True))
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Rate-distortion curves">{_grid(x, y)}{_marks(curves, x, y)}</svg>'
        f'<ul class="legend">{legend}</ul>'
    )
