"""The process mlm_class_linear."""

from __future__ import annotations

from openeo_nc.ml import learners
from openeo_nc.ml.model import Learner


def mlm_class_linear(regularization: float = 1.0) -> Learner:
    """A multinomial logistic regression, to be trained; see `ml.linear`."""
    return learners.linear("classification", regularization)
