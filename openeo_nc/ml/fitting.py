"""ml_fit: plans the training of a model, and computes nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from openeo_nc.errors import InvalidParameterError
from openeo_nc.ml.kinds import KINDS
from openeo_nc.ml.model import Fitted, Label, Learner, MlModel, Outcome, Subject
from openeo_nc.ml.passes import Passes
from openeo_nc.ml.training_set import TrainingSet


def fit(model: Any, training_set: Any, target: str, labels: Any = None) -> MlModel:
    """The model that training gives, lazily; see `training_set.TrainingSet.of`.

    Raises
    ------
    InvalidParameterError
        The model is trained already, or the training set is none.
    DimensionMissingError, LabelNotAvailableError, CRSMissingError, GeometryInvalidError,
    GridMismatchError, NoDataAvailableError
    """
    if not isinstance(model, Learner):
        raise InvalidParameterError(
            "ml_fit trains what a process such as mlm_class_random_forest gives; given "
            f"{type(model).__name__}."
        )
    given = TrainingSet.of(training_set, target, labels, classes=model.task == "classification")
    passes = Passes(given.source)
    outcome = KINDS[model.kind].fit(passes, model)
    finish = partial(_fitted, learner=model, subject=given.subject, classes=given.classes)
    fitted = passes.delayed(passes.task("model", finish, outcome))
    classes = given.classes if model.task == "classification" else ()
    return MlModel(learner=model, subject=given.subject, classes=classes, fitted=fitted)


def _fitted(
    outcome: Outcome, *, learner: Learner, subject: Subject, classes: tuple[Label, ...] | None
) -> Fitted:
    found: tuple[Label, ...] = ()
    if outcome.codes is not None:
        found = classes or tuple(int(code) for code in outcome.codes)
    return Fitted(
        learner=learner, subject=subject, classes=found, arrays=outcome.arrays, facts=outcome.facts
    )
