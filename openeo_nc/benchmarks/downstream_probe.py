"""Linear probes on samples in folds, and how sure their scores are.

A probe is multinomial logistic regression (scikit-learn, C = 1, classes weighted alike), fitted on all
folds but one and asked about that one. A score is the
mean over classes of the share that is found, in percent: points. A fold is not asked about classes of
which it, or what the probe is fitted on, has fewer than 25 samples.

Intervals are of 95%, by bootstrap over units: places where there are enough, else cells of a scene
or dates of a field, which are alike and make intervals too narrow for other places.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[Any]
ENOUGH = 10
"""Independent places from which on a figure is judged."""
FEWEST = 25
"""Samples of a class that a fold, and what a head is fitted on, must have to be asked about it."""
TRAINED = 4000
"""Most samples that a head is fitted on, drawn at random."""
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """What is asked about, a row a sample."""

    classes: Array
    """`(n,)` integers."""
    folds: Array
    """`(n,)` integers: tested together."""
    units: Array
    """`(n,)` integers: drawn together by the bootstrap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a head answered to each sample."""

    samples: Samples
    """What was asked."""
    guesses: Array
    """`(n,)` classes, -1 where it was not asked."""

    @property
    def any(self) -> bool:
        """Whether anything was asked: no fold may have enough of two classes."""
        return bool((self.guesses >= 0).any())

    @property
    def score(self) -> float:
        """Points."""
        return float(_points(self._counts().sum(axis=0)))

    def over(self, other: Answers) -> tuple[float, float, float]:
        """Points above another head's answers to the same samples; and the interval."""
        mine, others = self._counts(), other._counts()
        drawn = np.random.default_rng(0).multinomial(
            len(mine), np.full(len(mine), 1 / len(mine)), size=_RESAMPLES
        )
        found = [_points(np.tensordot(drawn, c, 1)) for c in (mine, others)]
        low, high = np.nanquantile(found[0] - found[1], (0.025, 0.975))
        return self.score - other.score, float(low), float(high)

    def _counts(self) -> Array:
        """`(units, classes, 2)`: samples of each class, and those of them that were found."""
        asked = self.guesses >= 0
        labels, at = np.unique(self.samples.classes[asked], return_inverse=True)
        units, of = np.unique(self.samples.units[asked], return_inverse=True)
        counts = np.zeros((len(units), len(labels), 2))
        right = self.guesses[asked] == self.samples.classes[asked]
        np.add.at(counts[..., 0], (of, at), 1)
        np.add.at(counts[..., 1], (of, at), right)
        return counts


def _points(counts: Array) -> Array:
    """Of counts `(..., classes, 2)`; classes of which nothing was drawn do not count."""
    asked, right = counts[..., 0], counts[..., 1]
    share = np.where(asked > 0, right / np.maximum(asked, 1), np.nan)
    found: Array = 100 * np.nanmean(share, axis=-1)
    return found


class OneScale(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Centres features and scales all by one number, so that their mean variance is 1."""

    def fit(self, v: Array, y: Any = None) -> OneScale:
        """Learn mean and scale of `(n, d)`."""
        self.mean_ = v.mean(axis=0)
        self.scale_ = float(np.sqrt(v.var(axis=0).mean())) or 1.0
        return self

    def transform(self, v: Array) -> Array:
        """Of `(n, d)` the same."""
        found: Array = (v - self.mean_) / self.scale_
        return found


def linear(*before: Any, scale: type = OneScale) -> Any:
    """A probe to fit, behind other steps."""
    return make_pipeline(
        *before, scale(), LogisticRegression(max_iter=500, class_weight="balanced")
    )


def fit(head: Any, features: Array, classes: Array) -> Any:
    """The head, fitted; one that has not converged is scored as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return head.fit(features, classes)


def better(
    features: Array, samples: Samples, before: Callable[[], Sequence[Any]] = tuple
) -> Answers:
    """Answers of the better of two probes: features share one scale, or have one each."""
    found = [
        answers(features, samples, lambda scale=scale: linear(*before(), scale=scale))  # type: ignore[misc]
        for scale in (OneScale, StandardScaler)
    ]
    return max(found, key=lambda one: one.score)


def answers(features: Array, samples: Samples, head: Callable[[], Any] = linear) -> Answers:
    """Answers to every fold of heads that were fitted on the others; see `answers_of`."""
    return answers_of(features, samples, [features], head)[0]


def answers_of(
    features: Array,
    samples: Samples,
    asked: Sequence[Array],
    head: Callable[[], Any] = linear,
    folds: Collection[int] | None = None,
) -> list[Answers]:
    """As `answers`, to other features of the same samples than heads are fitted on.

    Parameters
    ----------
    features
        `(n, d)`, what heads are fitted on.
    samples
        Classes and folds.
    asked
        `(n, d)` each, what they are asked about.
    head
        Makes a head with `fit` and `predict`.
    folds
        Those that are asked about; default all.
    """
    guesses = np.full((len(asked), len(samples.classes)), -1)
    for fold in np.unique(samples.folds) if folds is None else folds:
        left_out = samples.folds == fold
        rows = np.flatnonzero(~left_out)
        both = np.intersect1d(
            _frequent(samples.classes[rows]), _frequent(samples.classes[left_out])
        )
        tested = np.flatnonzero(left_out & np.isin(samples.classes, both))
        if not len(tested) or len(np.unique(samples.classes[rows])) < 2:
            continue
        rows = np.random.default_rng(int(fold)).permutation(rows)[:TRAINED]
        fitted = fit(head(), features[rows], samples.classes[rows])
        for found, others in zip(guesses, asked, strict=True):
            found[tested] = fitted.predict(others[tested])
    return [Answers(samples=samples, guesses=found) for found in guesses]


def _frequent(classes: Array) -> Array:
    """Those of which there are at least `FEWEST`."""
    named, counts = np.unique(classes, return_counts=True)
    found: Array = named[counts >= FEWEST]
    return found
