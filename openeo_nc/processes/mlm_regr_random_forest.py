"""The openEO process mlm_regr_random_forest."""

from __future__ import annotations

from openeo_nc.ml import learners
from openeo_nc.ml.model import Learner


def mlm_regr_random_forest(
    max_variables: int | str, num_trees: int = 100, seed: int | None = None
) -> Learner:
    """A forest for numbers, to be trained; see `ml.forest`."""
    return learners.forest("regression", max_variables, num_trees, seed)
