"""Writes a trained model, once it is computed: parameters, then the Item that vouches for them."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.delayed import delayed

from openeo_nc.cubes import outputs
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.places import Place, put
from openeo_nc.errors import InvalidParameterError, OutputExistsError
from openeo_nc.ml.files import SUFFIX, item_of, parameters_of
from openeo_nc.ml.model import Fitted, MlModel, trained

if TYPE_CHECKING:
    from dask.delayed import Delayed

FORMAT = "MLM"
"""What results of jobs call it."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


def save(model: Any, name: str) -> None:
    """Plan to write a model into the folder `name` of the results.

    Raises
    ------
    InvalidParameterError
        The model is not trained, or the name is none of a file.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParameterError(
            f"name is of letters, digits, _, - and '.'; given {name[:100]!r}."
        )
    outputs.save(partial(_plan, trained(model), name))


def _plan(model: MlModel, name: str, to: Outputs) -> Delayed:
    free = to.free_name(name, "")
    plan: Delayed = delayed(_write, pure=False)(to.folder / free, free, model.fitted)
    return plan


def _write(folder: Place, name: str, fitted: Fitted) -> Saved:
    item = folder / f"{name}.json"
    if item.exists():
        raise OutputExistsError(f"{item} exists; nothing in it was touched.")
    data = parameters_of(fitted)
    text = (json.dumps(item_of(fitted, name, data), indent=2, allow_nan=False) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    parameters = folder / f"{name}{SUFFIX}"
    put(parameters, data)
    put(item, text)
    return Saved(
        path=item,
        format=FORMAT,
        files=(item, parameters),
        documents=(item,),
        bytes=len(text) + len(data),
        details={"model": {"classes": list(fitted.classes), **fitted.facts}},
    )
