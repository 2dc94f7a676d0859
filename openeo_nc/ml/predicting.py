"""What a trained model says of a cube: lazily, one task a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr

from openeo_nc.cubes.dims import CLASSES, PREDICTIONS, labels, lazy
from openeo_nc.cubes.embedding_codes import differing, model_of
from openeo_nc.errors import BandMismatchError, MlModelUnsuitableError
from openeo_nc.ml.kinds import KINDS
from openeo_nc.ml.model import Array, Fitted, Label, MlModel, Subject, trained
from openeo_nc.ml.training_set import feature_dim

_ROWS = 1 << 16
"""Vectors that are looked at together."""
What = Literal["value", "probabilities"]


def predict(data: xr.DataArray, model: Any) -> xr.DataArray:
    """Cube of float32 with the dimension `predictions` (label `0`) in place of the features (lazy).

    Classes that are whole numbers are those numbers; of texts it is their place in the classes,
    which are in the attributes `flag_values` and `flag_meanings`, where they are known. A vector
    with a NaN gives NaN.

    Raises
    ------
    InvalidParameterError
        The model is not trained.
    DimensionMissingError, BandMismatchError, MlModelUnsuitableError
        The cube is not like those that the model was trained on.
    """
    known = trained(model)
    found = _applied(data, known, "value", PREDICTIONS, ["0"])
    if known.classes:
        found.attrs |= flags(known.classes)
    return found


def probabilities(data: xr.DataArray, model: Any) -> xr.DataArray:
    """Cube of float32, 0 to 1, with the dimension `classes` in place of the features (lazy).

    Raises
    ------
    InvalidParameterError
        The model is not trained, or predicts numbers.
    MlModelUnsuitableError
        The number of its classes is known only once it is trained.
    DimensionMissingError, BandMismatchError
    """
    known = trained(model)
    if known.learner.task != "classification":
        raise MlModelUnsuitableError("The model predicts numbers, which have no probabilities.")
    if known.classes is None:
        raise MlModelUnsuitableError(
            "Which classes a raster of labels holds is known once the model is trained, and a cube "
            "has its labels before: save the model (save_ml_model) and load it in another graph."
        )
    names = [str(name) for name in known.classes]
    return _applied(data, known, "probabilities", CLASSES, names)


def flags(classes: Sequence[Label]) -> dict[str, Any]:
    """Attributes that say what values mean, as the CF conventions have them."""
    return {
        "flag_values": [value(classes, number) for number in range(len(classes))],
        "flag_meanings": " ".join("_".join(str(name).split()) for name in classes),
    }


def value(classes: Sequence[Label], number: int) -> int:
    """What stands for a class in a cube."""
    name = classes[number]
    return name if isinstance(name, int) else number


def evaluate(fitted: Fitted, x: Array, what: What) -> Array:
    """Values `(samples, 1)` or probabilities `(samples, classes)` float32 of vectors."""
    scores = KINDS[fitted.learner.kind].scores(fitted.arrays, fitted.learner, x)
    if what == "probabilities" or fitted.learner.task == "regression":
        return np.asarray(scores, np.float32)
    names = np.array([value(fitted.classes, n) for n in range(len(fitted.classes))], np.float32)
    return np.asarray(names[scores.argmax(axis=1)][:, None])


def _applied(
    data: xr.DataArray, model: MlModel, what: What, name: str, names: list[str]
) -> xr.DataArray:
    dim = feature_dim(data)
    chosen = lazy(_like(data, dim, model.subject)).chunk({dim: -1})
    axis = chosen.get_axis_num(dim)
    chunks = (*chosen.data.chunks[:axis], (len(names),), *chosen.data.chunks[axis + 1 :])
    values = da.map_blocks(
        _block, chosen.data, model.fitted, axis=axis, what=what, columns=len(names),
        chunks=chunks, dtype=np.float32, meta=np.empty((0,) * chosen.ndim, np.float32),
    )  # fmt: skip
    dims = [name if one == dim else one for one in chosen.dims]
    coords = {key: coord for key, coord in chosen.coords.items() if dim not in coord.dims}
    found = xr.DataArray(values, dims=dims, coords=coords, name=name)
    return found.assign_coords({name: names})


def _like(data: xr.DataArray, dim: str, subject: Subject) -> xr.DataArray:
    """The features of a cube that the model was trained on, in its order."""
    given, wanted = labels(data, dim), subject.features
    if lacking := [name for name in wanted if name not in given]:
        raise BandMismatchError(
            f"The cube lacks {', '.join(lacking[:8])} along '{dim}'; the model was trained on "
            f"{len(wanted)} features, {wanted[0]} to {wanted[-1]}."
        )
    own, theirs = model_of(data), subject.embedding
    if (key := differing(own, theirs)) is not None:
        raise MlModelUnsuitableError(
            f"The model was trained on embeddings of '{theirs.get('id')}' and these are of "
            f"'{own.get('id')}' ({key} differs): embeddings of different models do not compare."
        )
    return data.isel({dim: [given.index(name) for name in wanted]})


def _block(block: Array, fitted: Fitted, *, axis: int, what: What, columns: int) -> Array:
    vectors = np.moveaxis(block, axis, -1)
    flat = vectors.reshape(-1, vectors.shape[-1])
    found = np.full((len(flat), columns), np.nan, np.float32)
    good = np.flatnonzero(np.isfinite(flat).all(axis=1))
    for first in range(0, len(good), _ROWS):
        rows = good[first : first + _ROWS]
        found[rows] = evaluate(fitted, flat[rows].astype(np.float32), what)
    return np.moveaxis(found.reshape(*vectors.shape[:-1], columns), -1, axis)
