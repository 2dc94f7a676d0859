"""The kinds of models: how each is fitted, what it says of vectors, and which arrays it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from openeo_nc.ml import forest, linear, mlp
from openeo_nc.ml.model import Array, Learner

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

    from openeo_nc.ml.passes import Passes


class Kind(Protocol):
    """A module of a kind."""

    def fit(self, passes: Passes, learner: Learner) -> TaskRef:
        """Adds the tasks of a fit; the last gives the `Outcome`."""

    def scores(self, arrays: Mapping[str, Array], learner: Learner, x: Array) -> Array:
        """`(samples, classes)` probabilities, or `(samples, 1)` numbers, of vectors float32."""

    def shapes(self, features: int, columns: int, learner: Learner) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of a model; -1 is any size, the same for all."""

    def sound(self, arrays: Mapping[str, Array], features: int) -> bool:
        """Whether finite arrays of these shapes are a model."""


KINDS = {
    name: cast("Kind", module)
    for name, module in {"forest": forest, "linear": linear, "mlp": mlp}.items()
}
"""By the name that models are kept with."""
