"""Lets a plain function be called the way openEO process graphs call: makes arguments plain JSON.

openeo-pg-parser-networkx turns arguments into objects of its own (strings that look like a date
or a year, bounding boxes, intervals, references to parameters) and passes more than a process
asks for. Functions of this package see what the process graph says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime, time
from functools import wraps
from typing import Any

from openeo_nc.errors import MissingParameterError

EXTRAS = frozenset({"axis", "keepdims", "source_transposed_axis", "context", "dim_labels", "cube"})
"""Keywords that callers of callbacks add, whether or not the process takes them."""


_MARK = "_openeo_nc_takes_json"


def callable_from_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments made plain, and references to parameters resolved."""
    accepted = inspect.signature(function).parameters

    @wraps(function)
    def called(
        *args: Any,
        named_parameters: Mapping[str, Any] | None = None,
        positional_parameters: Mapping[str, int] | None = None,
        **arguments: Any,
    ) -> Any:
        scope = dict(named_parameters or {})
        scope |= {name: args[i] for name, i in (positional_parameters or {}).items()}
        unnamed = () if positional_parameters else args
        wanted = {
            name: plain(value, scope)
            for name, value in arguments.items()
            if name in accepted or name not in EXTRAS
        }
        return function(*unnamed, **wanted)

    setattr(called, _MARK, True)
    return called


def takes_json(function: Callable[..., Any]) -> bool:
    """Whether a function, wrapped or not, came out of `callable_from_graphs`."""
    return bool(getattr(function, _MARK, False))


def plain(value: Any, scope: Mapping[str, Any], *, nested: bool = False) -> Any:
    """A JSON-like value of what pg-parser made of it; other objects, such as cubes, as they are.

    Within a process graph that is an argument (`nested`), such as a filter on metadata, references
    to parameters that are not known stay as they are: they are its own.
    """
    if (name := getattr(value, "from_parameter", None)) is not None:
        if name not in scope and nested:
            return {"from_parameter": name}
        if name not in scope:
            raise MissingParameterError(f"The parameter '{name}' is referred to but not given.")
        return scope[name]
    if hasattr(value, "model_dump"):
        given = value.root if hasattr(value, "root") else value.model_dump()
        return plain(given, scope, nested=nested)
    if isinstance(value, datetime | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        nested = nested or "process_graph" in value
        return {key: plain(member, scope, nested=nested) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member, scope, nested=nested) for member in value]
    return value
