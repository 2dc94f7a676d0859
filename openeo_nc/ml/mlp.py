"""A multi-layer perceptron for classes: minibatches of chunk after chunk, by Adam, with dropout.

    x -> (x - mean) / scale -> [ dense -> activation -> dropout ] x layers -> dense -> softmax

One task takes the network on by the samples of some chunks, in an order that is drawn anew for each
epoch; so a worker holds the network and these samples. scikit-learn's network learns by minibatches
too, but has no dropout, which the process `mlm_class_mlp` is defined with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from openeo_nc.ml.model import Array, Learner, Outcome
from openeo_nc.ml.samples import Samples, Scaling, joined

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

    from openeo_nc.ml.passes import Passes

TOGETHER = 8
"""Chunks whose samples are shuffled together: neighbours are alike, and batches should not be."""
_DECAY = (0.9, 0.999)  # Kingma and Ba, 2015
_SMALL = 1e-8


def fit(passes: Passes, learner: Learner) -> TaskRef:
    """Adds the tasks of a fit; the last gives the `Outcome`."""
    settings = learner.settings
    scaling = passes.scaling()
    state = passes.task("begin", Network.begin, scaling, settings)
    for epoch in range(settings["epochs"]):
        samples = passes.samples(state)
        order = np.random.default_rng([settings["seed"], epoch]).permutation(len(samples))
        for first in range(0, len(order), TOGETHER):
            group = [samples[number] for number in order[first : first + TOGETHER]]
            state = passes.task(
                "epoch", _learnt, state, scaling, settings, group, place=(epoch, first)
            )
    return passes.task("fitted", _fitted, state, scaling)


def scores(arrays: Mapping[str, Array], learner: Learner, x: Array) -> Array:
    """Probabilities `(samples, classes)` of vectors; float32."""
    settings = learner.settings
    layers = len(settings["hidden_layer_sizes"]) + 1
    a = ((x - arrays["mean"]) / arrays["scale"]).astype(np.float32)
    for number in range(layers):
        a = a @ arrays[f"weights.{number}"] + arrays[f"biases.{number}"]
        if number < layers - 1:
            a = _ACTIVATIONS[settings["activation"]].value(a)
    return np.asarray(scipy.special.softmax(a, axis=1))


def shapes(features: int, columns: int, learner: Learner) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a model; KeyError if there is no such activation."""
    _ = _ACTIVATIONS[learner.settings["activation"]]
    sizes = [features, *learner.settings["hidden_layer_sizes"], columns]
    found: dict[str, tuple[int, ...]] = {"mean": (features,), "scale": (features,)}
    for number, (taken, given) in enumerate(pairwise(sizes)):
        found |= {f"weights.{number}": (taken, given), f"biases.{number}": (given,)}
    return found


def sound(arrays: Mapping[str, Array], features: int) -> bool:
    """Any numbers do."""
    return all(array.dtype.kind == "f" for array in arrays.values())


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A function between layers."""

    value: Callable[[Array], Array]
    """Of what a layer gives."""
    slope: Callable[[Array], Array]
    """Its derivative, from its value."""


_ACTIVATIONS = {
    "relu": Activation(value=lambda z: np.maximum(z, 0), slope=lambda a: a > 0),
    "tanh": Activation(value=np.tanh, slope=lambda a: 1 - a * a),
    "logistic": Activation(value=scipy.special.expit, slope=lambda a: a * (1 - a)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Weights and biases in turn, with what Adam remembers of each."""

    parameters: list[Array]
    """float32."""
    means: list[Array]
    """Of gradients."""
    squares: list[Array]
    """Means of squared gradients."""
    steps: int = 0
    """Batches that were learnt."""

    @classmethod
    def begin(cls, scaling: Scaling, settings: Mapping[str, Any]) -> Network:
        """Drawn as Glorot and Bengio (2010) have it, biases 0."""
        draw = np.random.default_rng(settings["seed"])
        sizes = [len(scaling.mean), *settings["hidden_layer_sizes"], len(scaling.codes)]
        parameters: list[Array] = []
        for taken, given in pairwise(sizes):
            bound = np.sqrt(6 / (taken + given))
            drawn = draw.uniform(-bound, bound, (taken, given)).astype(np.float32)
            parameters += [drawn, np.zeros(given, np.float32)]
        return cls(
            parameters=parameters,
            means=[np.zeros_like(p) for p in parameters],
            squares=[np.zeros_like(p) for p in parameters],
        )

    def learnt(self, gradients: list[Array], rate: float) -> Network:
        """After one step of Adam."""
        steps, (fast, slow) = self.steps + 1, _DECAY
        means = [fast * m + (1 - fast) * g for m, g in zip(self.means, gradients, strict=True)]
        squares = [
            slow * s + (1 - slow) * g * g for s, g in zip(self.squares, gradients, strict=True)
        ]
        rate *= float(np.sqrt(1 - slow**steps) / (1 - fast**steps))
        parameters = [
            (p - rate * m / (np.sqrt(s) + _SMALL)).astype(np.float32)
            for p, m, s in zip(self.parameters, means, squares, strict=True)
        ]
        return Network(parameters=parameters, means=means, squares=squares, steps=steps)


def gradients(
    parameters: list[Array], x: Array, numbers: Array, settings: Mapping[str, Any],
    draw: np.random.Generator,
) -> list[Array]:  # fmt: skip
    """Of the mean log loss of a batch, in the order of the parameters.

    Parameters
    ----------
    x
        `(batch, features)` float32, scaled.
    numbers
        `(batch,)` of classes.
    """
    act = _ACTIVATIONS[settings["activation"]]
    values, kept = [x], []
    for number in range(0, len(parameters) - 2, 2):
        a = act.value(values[-1] @ parameters[number] + parameters[number + 1])
        rate = settings["dropout_rates"][number // 2]
        mask = (draw.random(a.shape, np.float32) >= rate) / np.float32(1 - rate) if rate else 1
        kept.append((a, mask))
        values.append(a * mask)
    error = scipy.special.softmax(values[-1] @ parameters[-2] + parameters[-1], axis=1)
    error[np.arange(len(x)), numbers] -= 1
    error /= len(x)
    found: list[Array] = []
    for number in range(len(parameters) - 2, -1, -2):
        found = [values[number // 2].T @ error, error.sum(axis=0), *found]
        if number:
            a, mask = kept[number // 2 - 1]
            error = (error @ parameters[number].T) * mask * act.slope(a)
    return found


def _learnt(
    state: Network, scaling: Scaling, settings: Mapping[str, Any], group: list[Samples]
) -> Network:
    """After all samples of some chunks, in batches that are drawn from them."""
    samples = joined(group)
    x = scaling.vectors(samples).astype(np.float32)
    numbers = scaling.numbers(samples)
    draw = np.random.default_rng([settings["seed"], state.steps, len(samples)])
    order = draw.permutation(len(x))
    for first in range(0, len(x), settings["batch_size"]):
        batch = order[first : first + settings["batch_size"]]
        found = gradients(state.parameters, x[batch], numbers[batch], settings, draw)
        state = state.learnt(found, settings["learning_rate"])
    return state


def _fitted(state: Network, scaling: Scaling) -> Outcome:
    names = [
        f"{kind}.{n}" for n in range(len(state.parameters) // 2) for kind in ("weights", "biases")
    ]
    arrays = dict(zip(names, state.parameters, strict=True)) | scaling.to_arrays()
    facts = {"samples": scaling.count, "steps": state.steps}
    return Outcome(arrays=arrays, facts=facts, codes=scaling.codes)
