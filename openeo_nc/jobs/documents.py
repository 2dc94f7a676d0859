"""What a document of openEO's `POST /jobs` and `PATCH /jobs` states, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo_nc.errors import InvalidParameterError, ProcessGraphMissingError
from openeo_nc.jobs.levels import LEVELS

OPTIONS = "job_options"
"""Where openEO's clients put what is no part of openEO's job, such as `on_error`."""
ON_ERROR = ("fail", "nodata")
"""What a job may do with a tile that cannot be processed."""


def fields_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that a document of openEO states; what is no part of a job is passed over."""
    fields: dict[str, Any] = {}
    for name in ("title", "description", "plan"):
        if name in document:
            fields[name] = _text(name, document[name])
    if "budget" in document:
        fields["budget"] = _budget(document["budget"])
    if "process" in document:
        fields["process"] = process_of(document["process"])
    if document.get("log_level") is not None:
        fields["log_level"] = _one_of("log_level", document["log_level"], LEVELS)
    if document.get(OPTIONS) is not None:
        fields["options"] = _options(document[OPTIONS])
    return fields


def process_of(process: Any) -> dict[str, Any]:
    """A process as it is stored; ProcessGraphMissingError if it has no graph."""
    if not isinstance(process, Mapping) or not isinstance(process.get("process_graph"), Mapping):
        raise ProcessGraphMissingError("A process is an object with an object `process_graph`.")
    return dict(process)


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidParameterError(f"'{name}' is a text or null; given {value!r}.")
    return value


def _budget(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if value is not None and not number:
        raise InvalidParameterError(f"'budget' is a number from 0 on, or null; given {value!r}.")
    return None if value is None else float(value)


def _options(options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise InvalidParameterError(f"'{OPTIONS}' is an object; given {options!r}.")
    if "on_error" in options:
        _one_of("on_error", options["on_error"], ON_ERROR)
    return dict(options)


def _one_of(name: str, value: Any, possible: tuple[str, ...]) -> str:
    if value not in possible:
        raise InvalidParameterError(f"'{name}' is one of {', '.join(possible)}; given {value!r}.")
    return str(value)
