"""What the guard measures of a tile: spectra, and how detail is distributed over scale and direction.

Detail is that of an unnormalised Haar pyramid of 2 x 2 cells, three levels: differences of rows, of
columns, and of both, in the tile's numbers. Every value here is a plain statistic of one tile; what
is usual is `guard`'s affair. Bands of 20 and 60 m are expected on the 10 m grid, repeated or
interpolated, so fine detail in them is telling. NumPy only, and cheap: about a pass of the tile each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Valid = npt.NDArray[np.bool_]
LEAST_SIDE = 64
"""Tiles with a shorter side, or with fewer valid pixels than its square, are not measured."""
LEVELS = 3
SAMPLE = 1024
"""About as many pixels stand for a tile's spectra."""
COMPRESS = 500.0
"""Values are compared as asinh(value / COMPRESS): about linear in shadow, about logarithmic above."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Statistics of one tile."""

    scalars: Mapping[str, float]
    """By name; all finite."""
    spectra: Mapping[str, npt.NDArray[np.float64]]
    """`(bands,)` by name: `mean`, `dark` and `spread`, compressed."""
    sample: npt.NDArray[np.float32]
    """`(pixels, bands)` of valid pixels on a coarse grid, in the tile's numbers."""


def measure(
    x: npt.NDArray[Any], valid: Valid | None, resolutions: Sequence[float]
) -> Measures | None:
    """Measures of `(bands, y, x)`; None where too little of the tile is valid.

    Parameters
    ----------
    valid
        `(y, x)`, True where all bands have data; None if all have everywhere.
    resolutions
        Pixel size of every band in m; the finest is the grid's.
    """
    height, width = (n - n % 2**LEVELS for n in x.shape[1:])
    if min(height, width) < LEAST_SIDE:
        return None
    a = x[:, :height, :width].astype(np.float32)
    seen = None if valid is None else valid[:height, :width]
    if seen is not None:
        if seen.sum() < LEAST_SIDE**2:
            return None
        a[:, ~seen] = 0
    by_resolution = _groups(resolutions)
    sample = _sample(a, seen)
    pyramid = _pyramid(a, seen)
    if pyramid is None:
        return None
    scalars = {
        **_detail(pyramid, by_resolution),
        **_direction(pyramid, by_resolution[0]),
        **_stripes(pyramid),
        **_registration(pyramid[0], by_resolution[:2]),
        **_blocks(a[by_resolution[0]], seen),
        **_numbers(sample),
    }
    return Measures(scalars=scalars, spectra=_spectra(sample), sample=sample)


def compress(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values as they are compared."""
    return np.arcsinh(values.astype(np.float64) / COMPRESS)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Level:
    """Details of one level of the pyramid, zero in cells that are not all valid."""

    mean: Floats
    """`(bands, y, x)`: the cells' means."""
    rows: Floats
    """Lower minus upper."""
    columns: Floats
    """Right minus left."""
    both: Floats
    """The difference of the differences."""
    valid: Valid | None
    """`(y, x)`: cells with four valid pixels; None for all."""

    @property
    def count(self) -> int:
        return int(np.prod(self.mean.shape[1:]) if self.valid is None else self.valid.sum())


def _pyramid(a: Floats, valid: Valid | None) -> list[_Level] | None:
    """The levels, finest first; None where one has no whole cell."""
    levels = []
    for _ in range(LEVELS):
        sums, differences = a[:, 0::2] + a[:, 1::2], a[:, 1::2] - a[:, 0::2]
        parts: list[Floats] = [
            0.25 * (sums[:, :, 0::2] + sums[:, :, 1::2]),
            0.5 * (differences[:, :, 0::2] + differences[:, :, 1::2]),
            0.5 * (sums[:, :, 1::2] - sums[:, :, 0::2]),
            0.5 * (differences[:, :, 1::2] - differences[:, :, 0::2]),
        ]
        if valid is not None:
            pairs = valid[0::2] & valid[1::2]
            valid = pairs[:, 0::2] & pairs[:, 1::2]
            if not valid.any():
                return None
            for part in parts:
                part[:, ~valid] = 0
        mean, rows, columns, both = parts
        levels.append(_Level(mean=mean, rows=rows, columns=columns, both=both, valid=valid))
        a = mean
    return levels


def _groups(resolutions: Sequence[float]) -> list[list[int]]:
    """Indexes of the bands of each pixel size, finest first."""
    return [[i for i, r in enumerate(resolutions) if r == size] for size in sorted({*resolutions})]


def _detail(levels: list[_Level], groups: list[list[int]]) -> dict[str, float]:
    """How strong detail is against that of the next level, and how sparse; by pixel size."""
    strengths, sparsities = [], []
    for level in levels:
        absolute = np.stack(
            [_mean(np.abs(d), level) for d in (level.rows, level.columns, level.both)]
        )
        strengths.append(np.log(absolute.mean(axis=0) + 0.25))
        squares = _mean(level.both**2, level)
        sparsities.append(np.log((squares + 0.5) / (absolute[2] + 0.5) ** 2))
    found = {}
    for g, bands in enumerate(groups):
        for i in range(LEVELS - 1):
            slope = (strengths[i] - strengths[i + 1])[bands]
            found[f"slope{i}_mean{g}"] = slope.mean()
            found[f"slope{i}_most{g}"] = slope.max()
            found[f"slope{i}_least{g}"] = slope.min()
        found[f"detail_most{g}"] = strengths[0][bands].max()
        found[f"detail_least{g}"] = strengths[0][bands].min()
        found[f"sparse_mean{g}"] = sparsities[0][bands].mean()
        found[f"sparse_most{g}"] = sparsities[0][bands].max()
        found[f"sparse_next{g}"] = sparsities[1][bands].mean()
    return {name: float(value) for name, value in found.items()}


def _direction(levels: list[_Level], bands: list[int]) -> dict[str, float]:
    """How much stronger detail is in one direction than across it, in bands of the grid's size."""
    found = {}
    for i, level in enumerate(levels[:2]):
        rows, columns, both = level.rows[bands], level.columns[bands], level.both[bands]
        rr, cc, bb = (_mean(d**2, level) + 0.5 for d in (rows, columns, both))
        across = _mean(rows * columns, level)
        coherence = np.hypot(rr - cc, 2 * across) / (rr + cc)
        found[f"coherence{i}"] = float(coherence.mean())
        found[f"diagonal{i}"] = float(np.log(bb / np.sqrt(rr * cc)).mean())
    return found


def _stripes(levels: list[_Level]) -> dict[str, float]:
    """Columns, or rows, that differ from their neighbours alike in both halves of the tile."""
    found: dict[str, float] = {}
    for i, level in enumerate(levels[:2]):
        across = [
            _persistence(level.columns),
            _persistence(np.swapaxes(level.rows, 1, 2)),
        ]
        found[f"columns{i}"], found[f"lines{i}"] = (float(a.max()) for a in across)
        found[f"columns{i}_mean"] = float(across[0].mean())
    return found


def _persistence(differences: Floats) -> npt.NDArray[np.float64]:
    """`(bands,)`: correlation of the columns' mean differences in the upper and the lower half."""
    reach = 3 * np.abs(differences).mean(axis=(1, 2), keepdims=True)
    clipped = np.clip(differences, -reach, reach)
    half = clipped.shape[1] // 2
    upper, lower = (
        part.mean(axis=1, dtype=np.float64) for part in (clipped[:, :half], clipped[:, half:])
    )
    together = (upper * lower).sum(axis=1)
    floor = 1e-3 * upper.shape[1]
    return np.asarray(together / (np.sqrt((upper**2).sum(axis=1) * (lower**2).sum(axis=1)) + floor))


def _registration(level: _Level, groups: list[list[int]]) -> dict[str, float]:
    """Shifts between neighbouring bands of a pixel size by least squares (Lucas and Kanade, 1981)."""
    m = level.mean
    edges = 4 * m[:, 1:-1, 1:-1]
    edges -= m[:, :-2, 1:-1] + m[:, 2:, 1:-1] + m[:, 1:-1, :-2] + m[:, 1:-1, 2:]
    if level.valid is not None:
        edges[:, ~_inner(level.valid)] = 0
    down = 0.5 * (edges[:, 2:, 1:-1] - edges[:, :-2, 1:-1])
    right = 0.5 * (edges[:, 1:-1, 2:] - edges[:, 1:-1, :-2])
    here = edges[:, 1:-1, 1:-1]
    shifts, likeness = [], []
    for bands in groups:
        for a, b in pairwise(bands):
            base = np.stack([d[b].ravel() for d in (here, down, right)]).astype(np.float64)
            target = here[a].ravel().astype(np.float64)
            gram, cross = base @ base.T, base @ target
            energy = float(target @ target) + len(target)
            gram += np.eye(3) * (len(target) + 1e-6 * np.trace(gram))
            gain, *shift = np.linalg.solve(gram, cross)
            explained = float(np.clip(cross @ np.array([gain, *shift]) / energy, 0, 1))
            likeness.append(explained)
            shifts.append(explained * np.hypot(*shift) / (abs(gain) + np.hypot(*shift) + 1e-3))
    if not shifts:
        return {}
    return {
        "shift_most": float(max(shifts)),
        "shift_mean": float(np.mean(shifts)),
        "likeness_mean": float(np.mean(likeness)),
        "likeness_least": float(min(likeness)),
    }


def _inner(valid: Valid) -> Valid:
    """Cells with their four neighbours valid, without the border."""
    return np.asarray(
        valid[1:-1, 1:-1] & valid[:-2, 1:-1] & valid[2:, 1:-1] & valid[1:-1, :-2] & valid[1:-1, 2:]
    )


def _blocks(a: Floats, valid: Valid | None) -> dict[str, float]:
    """How far one of the eight phases of columns, and of rows, stands out by its steps."""
    ratios = []
    for b, seen in ((a, valid), (np.swapaxes(a, 1, 2), None if valid is None else valid.T)):
        steps = np.abs(b[:, :, 1:] - b[:, :, :-1])
        if seen is not None:
            steps[:, ~(seen[:, 1:] & seen[:, :-1])] = 0
        profile = steps.mean(axis=1, dtype=np.float64)
        profile = (profile / (profile.mean(axis=1, keepdims=True) + 0.25)).mean(axis=0)
        smooth = np.convolve(np.pad(profile, 4, mode="reflect"), np.ones(9) / 9, mode="valid")
        excess = (profile - smooth)[: len(profile) // 8 * 8].reshape(-1, 8)
        phases = np.median(excess, axis=0)
        ratios.append(float(phases.max() - np.sort(phases)[-3]))
    return {"blocks": min(ratios)}


def _numbers(sample: npt.NDArray[np.float32]) -> dict[str, float]:
    """Bands of one value, and how few values the others take."""
    spread = sample.std(axis=0)
    distinct = [len(np.unique(band)) for band in sample.T[spread > 0]]
    return {
        "constant_bands": float((spread == 0).mean()),
        "distinct_least": float(np.log(min(distinct, default=1) / len(sample))),
        "distinct_mean": float(np.mean(np.log(np.array(distinct or [1]) / len(sample)))),
    }


def _sample(a: Floats, valid: Valid | None) -> npt.NDArray[np.float32]:
    pixels = a.shape[1] * a.shape[2] if valid is None else int(valid.sum())
    step = max(1, int(np.sqrt(pixels / SAMPLE)))
    chosen = a[:, ::step, ::step]
    seen = chosen.reshape(len(a), -1) if valid is None else chosen[:, valid[::step, ::step]]
    return np.asarray(seen.T, np.float32)


def _spectra(sample: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
    values = compress(sample)
    low, high = np.quantile(sample, [0.05, 0.95], axis=0)
    return {"mean": values.mean(axis=0), "dark": compress(low), "spread": compress(high - low)}


def _mean(values: Floats, level: _Level) -> npt.NDArray[np.float64]:
    return np.asarray(values.sum(axis=(1, 2), dtype=np.float64) / level.count)
