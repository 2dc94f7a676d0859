"""The process mlm_regr_linear."""

from __future__ import annotations

from openeo_nc.ml import learners
from openeo_nc.ml.model import Learner


def mlm_regr_linear(regularization: float = 1.0) -> Learner:
    """A ridge regression, to be trained; see `ml.linear`."""
    return learners.linear("regression", regularization)
