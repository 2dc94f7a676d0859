"""Linear models, fitted exactly by sums over chunks: multinomial logistic regression, and ridge.

Both see vectors of mean 0 and deviation 1, see `samples.Scaling`. The logistic regression minimises

    sum of log losses + regularization / 2 * |weights|^2

by Newton's method: a pass over the chunks adds up loss, gradient and Hessian, a task of its own
makes the step, and halves the one before if the loss has grown. So the result is that of a fit in
memory (scikit-learn's LogisticRegression of C = 1 / regularization), as sums are all that leaves a
chunk. Two classes have one row of weights, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import scipy.special

from openeo_nc.errors import InvalidParameterError
from openeo_nc.ml.model import Array, Learner, Outcome
from openeo_nc.ml.samples import Samples, Scaling, added

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

    from openeo_nc.ml.passes import Passes

MOST_WEIGHTS = 4096
"""Weights of a logistic regression at most: its Hessian has the square of that."""
PASSES = 20
"""Newton steps at most; the fit of a probe takes five to ten."""
_CONVERGED = 1e-9
"""Expected gain of a step, a sample, below which there is none to be made."""


def fit(passes: Passes, learner: Learner) -> TaskRef:
    """Adds the tasks of a fit; the last gives the `Outcome`."""
    scaling = passes.scaling()
    weight = float(learner.settings["regularization"])
    if learner.task == "regression":
        sums = passes.summed("products", _products, added, scaling, step=1)
        return passes.task("solve", _ridge, sums, scaling, weight)
    state = passes.task("begin", Newton.begin, scaling, weight)
    for number in range(1, PASSES + 1):
        sums = passes.summed("curvature", _curvature, added, state, step=number)
        state = passes.task("step", Newton.step, state, sums, place=(number,))
    return passes.task("fitted", Newton.fitted, state)


def scores(arrays: Mapping[str, Array], learner: Learner, x: Array) -> Array:
    """Probabilities `(samples, classes)` of vectors, or numbers `(samples, 1)`; float64."""
    z = (x - arrays["mean"]) / arrays["scale"]
    linear = z @ arrays["weights"][:, :-1].T + arrays["weights"][:, -1]
    return _softmax(linear) if learner.task == "classification" else linear


def shapes(features: int, columns: int, learner: Learner) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a model."""
    return {"mean": (features,), "scale": (features,), "weights": (_rows(columns), features + 1)}


def sound(arrays: Mapping[str, Array], features: int) -> bool:
    """Any numbers do."""
    return all(array.dtype.kind == "f" for array in arrays.values())


def _rows(classes: int) -> int:
    return 1 if classes == 2 else classes


def _softmax(linear: Array) -> Array:
    return np.asarray(scipy.special.softmax(_with_reference(linear), axis=1))


def _with_reference(linear: Array) -> Array:
    """The lone row of two classes is the second's; the first's is 0."""
    return linear if linear.shape[1] > 1 else np.column_stack([np.zeros(len(linear)), linear])


@dataclass(frozen=True, kw_only=True, eq=False)
class Newton:
    """Where the optimisation is."""

    scaling: Scaling
    """Of the samples."""
    regularization: float
    """Weight of the squared weights."""
    at: Array
    """`(rows, features + 1)` weights that the next pass looks at; a row's last is its intercept."""
    best: Array | None = None
    """Those of the lowest loss that was looked at."""
    loss: float = np.inf
    """Their loss."""
    steps: int = 0
    """Passes that were made."""
    done: bool = False
    """Whether no step lowers the loss further."""

    @classmethod
    def begin(cls, scaling: Scaling, regularization: float) -> Newton:
        """At weights of 0; InvalidParameterError if there are too many."""
        rows, columns = _rows(len(scaling.codes)), len(scaling.mean) + 1
        if rows * columns > MOST_WEIGHTS:
            raise InvalidParameterError(
                f"A linear model of {len(scaling.codes)} classes and {columns - 1} features has "
                f"{rows * columns} weights; at most {MOST_WEIGHTS} are fitted. Use mlm_class_mlp, "
                "or embeddings of fewer values (quantization pca64+int8)."
            )
        return cls(scaling=scaling, regularization=regularization, at=np.zeros((rows, columns)))

    def step(self, sums: tuple[Any, ...] | None) -> Newton:
        """After a pass that saw these sums."""
        if self.done or sums is None:
            return self
        told = vars(self) | {"steps": self.steps + 1}
        penalty = np.broadcast_to(np.r_[np.full(self.at.shape[1] - 1, self.regularization), 0.0],
                                  self.at.shape)  # fmt: skip
        loss = float(sums[0] + 0.5 * (penalty * self.at**2).sum())
        if self.best is not None and loss > self.loss:
            return Newton(**told | {"at": (self.best + self.at) / 2})
        gradient = sums[1] + penalty * self.at
        hessian = sums[2] + np.diag(penalty.ravel())
        # one intercept more than is determined where every class has one, and perfect separation
        hessian[np.diag_indices_from(hessian)] += 1e-10 * max(hessian.diagonal().max(), 1.0)
        move = scipy.linalg.solve(hessian, -gradient.ravel(), assume_a="pos")
        gain = -float(gradient.ravel() @ move) / 2
        told |= {"best": self.at, "loss": loss, "at": self.at + move.reshape(self.at.shape)}
        return Newton(**told | {"done": gain <= _CONVERGED * self.scaling.count})

    def fitted(self) -> Outcome:
        """The weights."""
        weights = self.at if self.done or self.best is None else self.best
        facts = {"samples": self.scaling.count, "passes": self.steps, "converged": self.done}
        arrays = self.scaling.to_arrays() | {"weights": weights}
        return Outcome(arrays=arrays, facts=facts, codes=self.scaling.codes)


def _curvature(samples: Samples, state: Newton) -> tuple[Any, ...] | None:
    """Loss, gradient `(rows, features + 1)` and Hessian of a chunk."""
    if state.done or not len(samples):
        return None
    z = np.column_stack([state.scaling.vectors(samples), np.ones(len(samples))])
    numbers = state.scaling.numbers(samples)
    linear = _with_reference(z @ state.at.T)
    one = np.arange(len(z))
    loss = float((scipy.special.logsumexp(linear, axis=1) - linear[one, numbers]).sum())
    p = scipy.special.softmax(linear, axis=1)
    off = p.copy()
    off[one, numbers] -= 1
    rows, width = state.at.shape
    p, off = p[:, -rows:], off[:, -rows:]
    hessian = np.empty((rows, width, rows, width))
    for i in range(rows):
        for j in range(i, rows):
            weight = p[:, i] * ((i == j) - p[:, j])
            hessian[i, :, j] = hessian[j, :, i] = (z * weight[:, None]).T @ z
    return loss, off.T @ z, hessian.reshape(rows * width, rows * width)


def _products(samples: Samples, scaling: Scaling) -> tuple[Any, ...]:
    z = scaling.vectors(samples)
    return z.T @ z, z.T @ (samples.y - scaling.target)


def _ridge(sums: tuple[Any, ...], scaling: Scaling, regularization: float) -> Outcome:
    squares, products = sums
    weights = np.linalg.lstsq(squares + regularization * np.eye(len(squares)), products)[0]
    arrays = scaling.to_arrays() | {"weights": np.r_[weights, scaling.target][None]}
    return Outcome(arrays=arrays, facts={"samples": scaling.count})
