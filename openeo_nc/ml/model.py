"""What graphs carry of a model that is to be trained, or was, and what training made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from dask.delayed import Delayed

Task = Literal["classification", "regression"]
Label = str | int
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """How a model is trained: what the processes `mlm_*` give, before `ml_fit`."""

    kind: str
    """A key of `kinds.KINDS`."""
    task: Task
    """Whether it tells classes or numbers."""
    settings: Mapping[str, Any]
    """What the process was given; JSON."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a model was trained on, and so may be used for."""

    features: tuple[str, ...]
    """Labels of the dimension that holds a sample's values, in order."""
    embedding: Mapping[str, Any] = field(default_factory=dict)
    """The embedding model that they are from (`nc:model` of the cube), if they are."""
    target: str = ""
    """Name of what is predicted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a fit gives."""

    arrays: Mapping[str, Array]
    """The parameters; `kinds` says which."""
    facts: Mapping[str, Any]
    """What it tells of itself, such as the number of samples; JSON."""
    codes: Array | None = None
    """Codes of the classes in the order of scores."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trained model in memory."""

    learner: Learner
    """How it was trained."""
    subject: Subject
    """On what."""
    classes: tuple[Label, ...]
    """Labels in the order of the columns of scores; none for numbers."""
    arrays: Mapping[str, Array]
    """Its parameters; `kinds` says which."""
    facts: Mapping[str, Any]
    """What training tells of itself, such as the number of samples; JSON."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MlModel:
    """A trained model as graphs carry it; training and loading are tasks that have not run."""

    learner: Learner
    """How it is trained."""
    subject: Subject
    """What it is for."""
    classes: tuple[Label, ...] | None
    """Its classes, none where it tells numbers; None where only training tells them."""
    fitted: Delayed
    """Gives `Fitted`."""


def trained(model: Any) -> MlModel:
    """A model that is trained; InvalidParameterError if it is none."""
    if not isinstance(model, MlModel):
        raise InvalidParameterError(
            "The model is not one that ml_fit has trained, or load_ml_model loaded of such; given "
            f"{type(model).__name__}."
        )
    return model
