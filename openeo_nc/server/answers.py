"""Results of process graphs that save nothing, as JSON: numbers, texts, lists and objects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import numpy as np

from openeo_nc.errors import ProcessGraphInvalidError
from openeo_nc.search.frame import geojson

_LABELS = "labels"
_INFINITY = re.compile(r'"(?:[^"\\]|\\.)*"|Infinity')
"""Texts, to pass over, and what `json` writes for infinity."""


def body(value: Any) -> bytes:
    """An `answer` in JSON. Infinity is 1e999, a number of JSON that parsers read as infinity."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _INFINITY.sub(lambda found: found[0].replace("Infinity", "1e999")
                         if found[0][0] != '"' else found[0], text).encode()  # fmt: skip


def answer(value: Any) -> Any:
    """A value as JSON has it; NaN, which JSON has not, is null.

    Raises
    ------
    ProcessGraphInvalidError
        It is a cube or another object of processes, which only `save_result` gives a form.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else np.datetime_as_string(value, timezone="UTC")
    if isinstance(value, np.generic):
        return answer(value.item())
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): answer(member) for key, member in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [answer(member) for member in value] if np.ndim(value) else answer(value[()])  # type: ignore[call-overload]
    return _of_object(value)


def _of_object(value: Any) -> Any:
    dims = getattr(value, "dims", None)
    if hasattr(value, "geometry") and hasattr(value, "total_bounds"):  # a vector cube
        found = value.compute() if hasattr(value, "compute") else value
        return answer(geojson(found))
    if hasattr(value, "model_dump"):  # the parser's times and extents
        return value.model_dump(mode="json")
    if dims in ((), (_LABELS,)):
        return answer(value.values)
    if dims is None and hasattr(value, "compute"):  # a Dask array of a reducer
        return answer(value.compute())
    raise ProcessGraphInvalidError(
        "The process graph ends with a data cube, or another object that JSON cannot hold; "
        "let it end with save_result."
    )
