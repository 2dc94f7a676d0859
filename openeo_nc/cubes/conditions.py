"""Evaluates openEO's property filters on STAC metadata: one comparison a property.

openEO states a filter as a process graph on the parameter `value`. Those with a single process
are evaluated here, on the item's JSON, so that they work for static catalogues and for APIs
without the filter extension alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openeo_nc.errors import InvalidParameterError

_COMPARISONS: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "eq": lambda v, a: _folded(v, a) == _folded(a["y"], a),
    "neq": lambda v, a: _folded(v, a) != _folded(a["y"], a),
    "lt": lambda v, a: v < a["y"],
    "lte": lambda v, a: v <= a["y"],
    "gt": lambda v, a: v > a["y"],
    "gte": lambda v, a: v >= a["y"],
    "between": lambda v, a: (
        a["min"] <= v and (v < a["max"] if a.get("exclude_max") else v <= a["max"])
    ),
    "array_contains": lambda v, a: v in a["data"],
    "text_begins": lambda v, a: str(v).startswith(a["pattern"]),
    "text_contains": lambda v, a: a["pattern"] in str(v),
}


def condition(name: str, process: Any) -> Callable[[Any], bool]:
    """The test that a one-process graph on the parameter `value` stands for.

    Raises
    ------
    InvalidParameterError
        It is no such graph, or its process is none of those that can be evaluated on metadata.
    """
    given = plain(process)
    graph = given.get("process_graph", given) if isinstance(given, Mapping) else None
    nodes = list(graph.values()) if isinstance(graph, Mapping) else []
    if len(nodes) != 1 or not isinstance(nodes[0], Mapping) or "process_id" not in nodes[0]:
        raise InvalidParameterError(
            f"The filter on '{name}' must be a process graph with one process, such as lte."
        )
    test = _COMPARISONS.get(nodes[0]["process_id"])
    arguments = nodes[0].get("arguments") or {}
    if test is None:
        raise InvalidParameterError(
            f"The filter on '{name}' uses '{nodes[0]['process_id']}'; "
            f"possible are {', '.join(_COMPARISONS)}."
        )

    def holds(value: Any) -> bool:
        try:
            return bool(test(value, arguments))
        except (TypeError, KeyError) as error:
            raise InvalidParameterError(
                f"The filter on '{name}' cannot compare {value!r} with {dict(arguments)}."
            ) from error

    return holds


def plain(value: Any) -> Any:
    """JSON-like values of pydantic objects and of things with a GeoJSON interface."""
    if hasattr(value, "to_crs") and getattr(value, "crs", None) is not None:
        return value.to_crs(4326).__geo_interface__
    if hasattr(value, "root"):
        return plain(value.root)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if not isinstance(value, Mapping) and hasattr(value, "__geo_interface__"):
        return value.__geo_interface__
    return value


def _folded(value: Any, arguments: Mapping[str, Any]) -> Any:
    case_sensitive = arguments.get("case_sensitive", True)
    return value.casefold() if isinstance(value, str) and not case_sensitive else value
