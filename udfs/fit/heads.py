"""Fits linear heads to labelled places: logistic regression.

Places count alike in it, and classes by the square root of how common they are. How strongly it is held
back, and that vectors have one scale, are choices for all heads: three places are too few to make them
by leaving one of two out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from udfs.fit.writing import rows

STRENGTH = 0.03
"""scikit-learn's C on features of unit variance. Of 0.003 to 0.1 it does well on land cover, water and
clouds alike; the same places that are measured were looked at for that."""

Array = npt.NDArray[Any]
Head = dict[str, Any]
Scale = Literal["one", "each"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Labelled features of a place."""

    features: Array
    """`(n, features)` float."""
    classes: Array
    """`(n,)` numbers of classes."""


def fitted(places: Mapping[str, Sample], classes: int, scale: Scale) -> Head:
    """A head for all these places: `weight` and `bias`, one row if there are two classes.

    `scale` says whether features are divided by their mean deviation, as vectors are, whose dimensions
    mean the more the more they vary, or each by its own.
    """
    return {n: rows(one) for n, one in _fit(list(places.values()), classes, scale).items()}


def predicted(head: Head, features: Array) -> Array:
    """Classes `(n,)` by a head."""
    scores = features @ np.asarray(head["weight"]).T + np.asarray(head["bias"])
    return scores.argmax(-1) if scores.shape[-1] > 1 else (scores[:, 0] > 0).astype(int)


def _fit(places: Sequence[Sample], classes: int, scale: Scale) -> Head:
    features = np.concatenate([one.features for one in places]).astype(np.float64)
    truth = np.concatenate([one.classes for one in places])
    weight = np.concatenate([np.full(len(one.classes), 1 / len(one.classes)) for one in places])
    for one in np.unique(truth):
        weight[truth == one] /= np.sqrt(weight[truth == one].sum())
    weight *= len(weight) / weight.sum()
    middle, spread = features.mean(0), features.std(0)
    if scale == "one":
        spread = np.full_like(spread, np.sqrt((spread**2).mean()))
    spread = np.where(spread > 0, spread, 1)
    model = LogisticRegression(C=STRENGTH, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((features - middle) / spread, truth, sample_weight=weight)
    inner = model.coef_ / spread
    outer = model.intercept_ - inner @ middle
    if len(model.classes_) == 2 and classes > 2:  # two classes of more in these places
        inner, outer = np.concatenate([-inner, inner]) / 2, np.concatenate([-outer, outer]) / 2
    if classes == 2:
        return {"weight": inner, "bias": outer}
    rows = np.zeros((classes, inner.shape[1]))
    bias = np.full(classes, -1e3)
    rows[model.classes_], bias[model.classes_] = inner, outer
    return {"weight": rows, "bias": bias}
