"""Makes models that are to be trained from what the processes `mlm_*` are given."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from openeo_nc.errors import InvalidParameterError
from openeo_nc.ml.model import Learner, Task


def forest(task: Task, max_variables: int | str, num_trees: int, seed: int | None) -> Learner:
    """A random forest; see `forest`."""
    settings = {"max_variables": max_variables, "num_trees": num_trees, "seed": _seed(seed)}
    return Learner(kind="forest", task=task, settings=settings)


def linear(task: Task, regularization: float) -> Learner:
    """A logistic or a ridge regression; see `linear`."""
    settings = {"regularization": regularization}
    return Learner(kind="linear", task=task, settings=settings)


def mlp(
    hidden_layer_sizes: Sequence[int], activation: str, dropout_rates: Sequence[float] | None,
    epochs: int, batch_size: int, learning_rate: float, seed: int | None,
) -> Learner:  # fmt: skip
    """A multi-layer perceptron; see `mlp`.

    Raises
    ------
    InvalidParameterError
        There are not as many rates of dropout as hidden layers.
    """
    rates = [0.0] * len(hidden_layer_sizes) if dropout_rates is None else list(dropout_rates)
    if len(rates) != len(hidden_layer_sizes):
        raise InvalidParameterError(
            f"dropout_rates has {len(rates)} values for {len(hidden_layer_sizes)} hidden layers."
        )
    settings = {
        "hidden_layer_sizes": list(hidden_layer_sizes), "activation": activation,
        "dropout_rates": rates, "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "seed": _seed(seed),
    }  # fmt: skip
    return Learner(kind="mlp", task="classification", settings=settings)


def _seed(given: int | None) -> int:
    """The seed, or one that is drawn now, so that tasks that run again do the same."""
    return secrets.randbits(32) if given is None else given % 2**63
