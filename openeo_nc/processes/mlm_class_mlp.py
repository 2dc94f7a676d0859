"""The openEO process mlm_class_mlp."""

from __future__ import annotations

from collections.abc import Sequence

from openeo_nc.errors import InvalidParameterError
from openeo_nc.ml import learners
from openeo_nc.ml.model import Learner


def mlm_class_mlp(
    hidden_layer_sizes: Sequence[int],
    activation: str = "relu",
    dropout_rates: Sequence[float] | None = None,
    epochs: int = 100,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float = 0.001,
    seed: int | None = None,
) -> Learner:
    """A multi-layer perceptron for classes, to be trained by Adam; see `ml.mlp`."""
    if optimizer != "adam":
        raise InvalidParameterError(f"The optimizer 'adam' is offered; given {optimizer!r}.")
    return learners.mlp(
        hidden_layer_sizes, activation, dropout_rates, epochs, batch_size, learning_rate, seed
    )
