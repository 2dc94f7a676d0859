"""Labels of dimensions as JSON, exactly: numbers, texts and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

TIMES, NUMBERS, OTHERS = "times", "numbers", "others"


def to_json(labels: npt.NDArray[Any]) -> dict[str, Any]:
    """Labels of a dimension; ValueError if they are none of these kinds."""
    if labels.ndim != 1:
        raise ValueError("labels have one dimension")
    if labels.dtype.kind == "M":
        return {"kind": TIMES, "values": labels.astype("datetime64[ns]").astype("int64").tolist()}
    if labels.dtype.kind in "iuf":
        return {"kind": NUMBERS, "dtype": labels.dtype.str, "values": labels.tolist()}
    values = labels.tolist()
    if not all(isinstance(value, str | int | float) for value in values):
        raise ValueError(f"labels of the type {labels.dtype}")
    return {"kind": OTHERS, "values": values}


def from_json(document: Mapping[str, Any]) -> npt.NDArray[Any]:
    """What `to_json` had; ValueError if it is not from there."""
    kind, values = document.get("kind"), document.get("values")
    if not isinstance(values, list):
        raise ValueError("labels are a list")  # noqa: TRY004  one error for all that is wrong
    if kind == TIMES and all(type(value) is int for value in values):
        return np.array(values, "int64").astype("datetime64[ns]")
    dtype = document.get("dtype")
    if kind == NUMBERS and isinstance(dtype, str) and dtype[1:2] in ("i", "u", "f"):
        return np.array(values, np.dtype(dtype))
    if kind != OTHERS or not all(isinstance(value, str | int | float) for value in values):
        raise ValueError("labels of no known kind")
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=str)
    found = np.empty(len(values), object)
    found[:] = values
    return found
