"""The openEO process mlm_class_random_forest."""

from __future__ import annotations

from openeo_nc.ml import learners
from openeo_nc.ml.model import Learner


def mlm_class_random_forest(
    max_variables: int | str, num_trees: int = 100, seed: int | None = None
) -> Learner:
    """A forest for classes, to be trained; see `ml.forest`."""
    return learners.forest("classification", max_variables, num_trees, seed)
