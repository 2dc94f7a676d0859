"""Scores with their intervals: bootstrap of places, which are what is independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

ROUNDS = 2000
ENOUGH = 10
"""Places from which on a score would be held against a goal."""

Array = npt.NDArray[Any]
T = TypeVar("T")
Metric = Callable[[Sequence[Any]], float]


def score(
    name: str, places: Mapping[str, T], metric: Callable[[Sequence[T]], float]
) -> dict[str, Any]:
    """A metric over places, its 95 % interval over bootstraps of these, and its value in each."""
    found = list(places.values())
    rng = np.random.default_rng(0)
    drawn = [
        metric([found[i] for i in rng.integers(len(found), size=len(found))]) for _ in range(ROUNDS)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    few = f"fewer than {ENOUGH} places: a report, no pass or fail"
    return {
        "metric": name,
        "value": _three(metric(found)),
        "interval": [_three(low), _three(high)],
        "interval_is": f"95 %, {ROUNDS} bootstraps of places",
        "places": len(found),
        "standing": "ten or more places" if len(found) >= ENOUGH else few,
        "each_place": {place: _three(metric([one])) for place, one in places.items()},
    }


def confusion(truth: Array, found: Array, classes: int) -> Array:
    """Shares `(classes, classes)` of a place: rows are the truth; they add up to 1."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, found), 1)
    return counts / counts.sum()


def accuracy(places: Sequence[Array]) -> float:
    """Share that is right; places count alike."""
    return float(np.mean([np.trace(one) for one in places]))


def f1(of: int) -> Callable[[Sequence[Array]], float]:
    """F1 of a class over places, which count alike; NaN where it is neither there nor found."""

    def value(places: Sequence[Array]) -> float:
        total = np.sum(places, 0)
        there = total[of].sum() + total[:, of].sum()
        return float(2 * total[of, of] / there) if there else float("nan")

    return value


def macro_f1(places: Sequence[Array]) -> float:
    """Mean F1 over the classes that are there."""
    there = np.flatnonzero(np.sum(places, 0).sum(1))
    return float(np.mean([f1(int(one))(places) for one in there]))


def auc(truth: Array, found: Array) -> float:
    """Area under the curve of hits against false alarms: chance that a hit outranks the rest."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, found))


def mean(places: Sequence[float]) -> float:
    """Mean over places."""
    return float(np.mean(places))


def _three(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
