"""Fits the guard: where training places lie, the usual range of every feature, and what leaving it counts.

Places are few, so nothing is judged by what it was fitted on: distances of a place's tiles are taken
to the other places, and the threshold is set on scores of places that the weights have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from openeo_nc.codecs.guard import Reference, Scorer
from openeo_nc.codecs.guard_measures import Measures, compress

FloatArray = npt.NDArray[np.float64]
FALSE_ALARMS = 0.05
"""Share of clean tiles of a place left out that may be flagged."""
REACH = 0.25
"""Share of the clean tiles, places counted alike, that may lie beyond either end of a range."""
SHRINK = 0.2
"""Share of the diagonal in a covariance."""
PENALTY = 3e-3
"""Of the squared weights, against the mean log-likelihood."""
ANY = "unusual"
"""The detector of everything that is not clean."""
EXTREMES = (0.001, 0.999)
"""Quantiles of the training pixels between which the trained range lies."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One measured tile."""

    place: str
    """Place that it is of, corrupted or not; for foreign tiles a name of its own."""
    kind: str | None
    """What is wrong with it; None for clean tiles."""
    measures: Measures
    """What was measured."""


def fit_reference(examples: Sequence[Example]) -> Reference:
    """Centres and covariances of the clean tiles, places counted alike."""
    clean = [e for e in examples if e.kind is None]
    weights = _by_place(clean)
    centre, whiten = {}, {}
    for name in clean[0].measures.spectra:
        spectra = np.stack([e.measures.spectra[name] for e in clean])
        centre[name], whiten[name] = _gaussian(spectra, weights)
    pixels = np.concatenate([e.measures.sample for e in clean])
    counts = [len(e.measures.sample) for e in clean]
    by_pixel = np.repeat(weights / counts, counts)
    centre["pixel"], whiten["pixel"] = _gaussian(compress(pixels), by_pixel)
    low, high = np.stack([_quantiles(band, by_pixel, EXTREMES) for band in pixels.T], axis=1)
    return Reference(centre=centre, whiten=whiten, low=low, high=high)


def features_left_out(examples: Sequence[Example]) -> list[dict[str, float]]:
    """Features of every example, its distances to the places other than its own."""
    known = {e.place for e in examples if e.kind is None}
    references = {
        place: fit_reference([e for e in examples if e.place != place])
        for place in {e.place for e in examples} & known
    }
    everywhere = fit_reference(examples)
    return [references.get(e.place, everywhere).features(e.measures) for e in examples]


def fit_scorer(
    features: Sequence[Mapping[str, float]],
    labels: Sequence[tuple[str, str | None]],
    rate: float = FALSE_ALARMS,
) -> tuple[Scorer, FloatArray]:
    """The scorer, and the score of every tile by detectors that have not seen its place.

    A detector weighs clean tiles as much as those of its kind; within each, places weigh alike.

    Parameters
    ----------
    features
        Of every tile, the same names.
    labels
        Place and kind of every tile; the kind of clean ones is None.
    rate
        Share of clean tiles of a place left out that may be flagged.
    """
    names = tuple(sorted(features[0]))
    values = np.array([[f[name] for name in names] for f in features])
    places = np.array([place for place, _ in labels])
    kinds = np.array([kind or "" for _, kind in labels])
    clean = kinds == ""
    at_places = np.isin(places, places[clean]) & ~clean
    looked_for = (ANY, *dict.fromkeys(map(str, kinds[at_places])))
    left_out = np.empty((len(labels), len(looked_for)))
    for place in dict.fromkeys(places[clean]):
        mine = places == place
        left_out[mine] = _detectors(
            names, looked_for, values[~mine], kinds[~mine], places[~mine]
        ).scores(values[mine])
    fitted = _detectors(names, looked_for, values, kinds, places)
    elsewhere = ~clean & ~at_places
    left_out[elsewhere] = fitted.scores(values[elsewhere])
    weights = _shares(places[clean])
    few = np.array([_quantiles(s, weights, (0.5, 1 - rate)) for s in left_out[clean].T])
    centre, spread = few[:, 1], np.maximum(few[:, 1] - few[:, 0], 0.1)
    highest = ((left_out - centre) / spread).max(axis=1)
    (threshold,) = _quantiles(highest[clean], weights, (1 - rate,))
    scorer = replace(
        fitted, centre=fitted.centre + centre, spread=spread, threshold=float(threshold)
    )
    return scorer, highest - threshold


def _detectors(
    names: tuple[str, ...],
    looked_for: tuple[str, ...],
    values: FloatArray,
    kinds: npt.NDArray[np.str_],
    places: npt.NDArray[np.str_],
) -> Scorer:
    """Ranges of the clean examples, and the weights of a detector of each kind.

    While weights are fitted, the examples of a place are measured by the ranges of the others:
    features by which places merely differ then count little. Margins are log-odds, not normalised.
    """
    clean = kinds == ""
    scorer = _ranges(names, values[clean], places[clean])
    inputs = np.concatenate(scorer.excess(values), axis=1)
    for place in dict.fromkeys(places[clean]):
        mine, others = places == place, clean & (places != place)
        apart = _ranges(names, values[others], places[others])
        inputs[mine] = np.concatenate(apart.excess(values[mine]), axis=1)
    found = []
    for kind in looked_for:
        shown = clean | (kinds == kind) | (kind == ANY)
        found.append(_logistic(inputs[shown], clean[shown], places[shown]))
    fitted = np.stack(found)
    below, above = np.split(fitted[:, 1:], 2, axis=1)
    one = np.ones(len(looked_for))
    return replace(
        scorer, kinds=looked_for, below=below, above=above, centre=-fitted[:, 0], spread=one
    )


def _logistic(
    inputs: FloatArray, clean: npt.NDArray[np.bool_], places: npt.NDArray[np.str_]
) -> FloatArray:
    """Bias, then weights of penalised logistic regression; weights are not negative."""
    weight = np.empty(len(inputs))
    weight[clean], weight[~clean] = 0.5 * _shares(places[clean]), 0.5 * _shares(places[~clean])
    sign = np.where(clean, -1.0, 1.0)

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (inputs @ w[1:] + w[0])
        slope = -weight * sign * expit(-margin)
        value = float(weight @ np.logaddexp(0, -margin) + PENALTY * (w[1:] @ w[1:]))
        return value, np.concatenate([[slope.sum()], inputs.T @ slope + 2 * PENALTY * w[1:]])

    bounds = [(None, None), *[(0, None)] * inputs.shape[1]]
    start = np.zeros(1 + inputs.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _ranges(names: tuple[str, ...], values: FloatArray, places: npt.NDArray[np.str_]) -> Scorer:
    """A scorer with the ranges of clean values, and no weights yet."""
    inside = _shares(places)
    low, high = np.stack([_quantiles(v, inside, (REACH, 1 - REACH)) for v in values.T], axis=1)
    usual = np.sqrt(np.average((values - (low + high) / 2) ** 2, axis=0, weights=inside))
    none = np.zeros((0, len(names)))
    return Scorer(
        names=names,
        kinds=(),
        low=low,
        high=high,
        scale=0.5 * usual + 0.02,
        below=none,
        above=none,
        centre=none[:, 0],
        spread=none[:, 0],
        threshold=0.0,
    )


def _gaussian(spectra: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centre and whitening of `(n, bands)`; the covariance shrunk towards its diagonal."""
    centre = np.average(spectra, axis=0, weights=weights)
    deviation = spectra - centre
    covariance = (deviation * weights[:, None]).T @ deviation / weights.sum()
    diagonal = np.diag(np.diag(covariance))
    shrunk = (1 - SHRINK) * covariance + SHRINK * diagonal + 1e-3 * np.eye(len(centre))
    values, vectors = np.linalg.eigh(shrunk)
    return centre, vectors.T / np.sqrt(values)[:, None]


def _by_place(examples: Sequence[Example]) -> FloatArray:
    return _shares(np.array([e.place for e in examples]))


def _shares(places: npt.NDArray[np.str_]) -> FloatArray:
    """Weights that sum to 1, and to the same for every place."""
    names, index, counts = np.unique(places, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (counts[index] * len(names)))


def _quantiles(values: FloatArray, weights: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Weighted quantiles."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - 0.5 * weights[order]
    return np.interp(levels, reached / weights.sum(), values[order])
