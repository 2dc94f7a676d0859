"""The encoder's choice of weights for a pass of a residual; a poor one costs rate and nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import residual_tables as tables
from openeo_nc.codecs.residual_context import (
    LIMIT,
    UNIT,
    Context,
    Floats,
    Neighbourhood,
    Pass,
    Scale,
    Term,
    Weights,
    usual_scale,
)

SAMPLE = 8192
"""Pixels of a pass that weights are fitted to, at least where there are as many."""
_WEIGHT_BITS = 5.0
"""About what a weight costs."""
_RIDGE = 1e-4
_ROUNDS = 3

Mask = npt.NDArray[np.bool_]


def choose(
    where: Pass, known: Neighbourhood, exact: Floats, valid: Mask | None, before: Scale | None
) -> Weights:
    """The cheapest weights found for a pass.

    Parameters
    ----------
    exact
        The integers of the pass, `(rows, columns)`.
    valid
        Those that are coded; None for all.
    before
        Weights of the scale of the same pass of the band before, which cost nothing.
    """
    every = max(1, where.size // SAMPLE)
    part = where.every(every)
    sample = exact[::every]
    chosen = slice(None) if valid is None else valid[::every]
    if not sample[chosen].size:
        return Weights()

    def cost(weights: Weights, numbers: int) -> float:
        context = Context.of(part, known, weights)
        symbols, index = context.symbols(sample)[chosen], context.index[chosen]
        return every * tables.cost(symbols, index) + numbers * _WEIGHT_BITS

    usual, terms = usual_scale(part, known), known.errors(part)
    trials: list[tuple[float, Weights]] = []
    errors: dict[Scale | None, Floats] = {}
    for mean in dict.fromkeys((None, _mean_weights(known.values(part), sample, chosen))):
        errors[mean] = Context.of(part, known, Weights(mean=mean)).errors(sample)
        weights = Weights(mean=mean, scale=_scale_weights(terms, errors[mean], chosen))
        trials.append((cost(weights, len(mean or ()) + len(usual)), weights))
    mean = min(trials, key=_first)[1].mean
    least = _least(terms, usual, errors[mean], chosen)
    scales: list[tuple[Scale | None, int]] = [(None, 0), ((*usual[:-1], least), 1)]
    if before is not None and len(before) == len(usual):
        scales.append((before, 0))
    for scale, numbers in scales:
        weights = Weights(mean=mean, scale=scale)
        trials.append((cost(weights, len(mean or ()) + numbers), weights))
    return min(trials, key=_first)[1]


def _first(trial: tuple[float, Weights]) -> float:
    return trial[0]


def _mean_weights(terms: list[Term], exact: Floats, chosen: slice | Mask) -> tuple[int, ...] | None:
    """Least squares in 1 / UNIT; None if nothing predicts."""
    target = exact[chosen].ravel()
    if not terms or not target.any():
        return None
    features = np.stack([np.asarray(sum(term))[chosen].ravel() for term in terms])
    power = features @ features.T
    power[np.diag_indices_from(power)] += _RIDGE * np.trace(power) / len(power) + 1e-9
    weights = np.linalg.solve(power, features @ target)
    rounded = np.rint(weights * UNIT).clip(-LIMIT, LIMIT).astype(int)
    return tuple(rounded.tolist()) if rounded.any() else None


def _scale_weights(terms: list[Term], errors: Floats, chosen: slice | Mask) -> tuple[int, ...]:
    """Weights of the errors around that are not negative and tell the errors of the pass best.

    Least squares, each pixel weighted by the inverse of its scale, as the cost of a symbol is.
    """
    target = errors[chosen].ravel() / UNIT
    features = np.stack(
        [*(np.asarray(sum(term))[chosen].ravel() / UNIT for term in terms), np.ones(target.size)]
    )
    least = max(0.02 * float(target.mean()), 2.0 ** (1 - tables.FINE))
    confidence = np.ones(target.size)
    weights = np.zeros(len(features))
    for _ in range(_ROUNDS):
        weights = _not_negative(features * confidence, target * confidence)
        confidence = 1 / np.maximum(weights @ features, least)
    factors = np.rint(weights[:-1] * UNIT).clip(0, LIMIT).astype(int)
    return (*factors.tolist(), _level(float(weights[-1])))


def _least(terms: list[Term], usual: Scale, errors: Floats, chosen: slice | Mask) -> int:
    """The least scale with which usual weights tell the errors of a pass on average."""
    told = sum(
        (
            w * float(np.asarray(sum(term))[chosen].mean())
            for term, w in zip(terms, usual, strict=False)
        ),
        0.0,
    )
    return _level(float(errors[chosen].mean()) / UNIT - told / UNIT**2)


def _level(scale: float) -> int:
    """Number of the table for a scale in symbols."""
    level = int(np.searchsorted(tables.levels(), scale * 2.0**tables.FINE))
    return min(level, tables.SCALES - 1)


def _not_negative(features: Floats, target: Floats) -> Floats:
    """Least squares `(n,)`, leaving out what would get a negative weight."""
    power, moment = features @ features.T, features @ target
    power[np.diag_indices_from(power)] += _RIDGE * np.trace(power) / len(power) + 1e-12
    kept = np.arange(len(features))
    weights = np.zeros(len(features))
    while kept.size:
        found = np.linalg.solve(power[np.ix_(kept, kept)], moment[kept])
        if (found >= 0).all():
            weights[kept] = found
            break
        kept = kept[found >= 0]
    return weights
