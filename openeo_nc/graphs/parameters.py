"""Resolves references to parameters and nodes, however deep they are nested.

Scopes nest as functions do: a callback sees its own parameters first, then those of the graphs
around it, which openeo-pg-parser-networkx does not show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openeo_nc.errors import InvalidParameterError, MissingParameterError
from openeo_nc.graphs.parse import GRAPH, NODE, PARAMETER, is_callback, is_reference, process_in


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """Values of parameters where a graph runs."""

    values: Mapping[str, Any]
    """Parameters of this graph."""
    outer: Scope | None = None
    """Scope of the graph around it."""

    def __contains__(self, name: str) -> bool:
        return name in self.values or (self.outer is not None and name in self.outer)

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        if self.outer is not None:
            return self.outer[name]
        raise MissingParameterError(f"The parameter '{name}' is referred to but not given.")


def graph_scope(document: Any, given: Mapping[str, Any] | None) -> Scope:
    """Parameters of a whole graph: those given, and the defaults that its document states.

    Raises
    ------
    MissingParameterError
        The document states a parameter without default, and it is not given.
    InvalidParameterError
        A parameter is given that the document does not state (if it states any).
    """
    values = dict(given or {})
    process = process_in(document)
    stated = process.get("parameters") if is_callback(process) else None
    if stated is None:
        return Scope(values=values)
    names = {parameter["name"]: parameter for parameter in stated}
    if unknown := sorted(values.keys() - names.keys()):
        raise InvalidParameterError(
            f"The process graph has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(names) or 'none'}."
        )
    for name, parameter in names.items():
        if name not in values:
            if not parameter.get("optional") and "default" not in parameter:
                raise MissingParameterError(f"The parameter '{name}' of the graph is not given.")
            values[name] = parameter.get("default")
    return Scope(values=values)


def resolve(
    value: Any,
    scope: Scope,
    results: Mapping[str, Any],
    callback: Callable[[Mapping[str, Any]], Any],
) -> Any:
    """A value with its references replaced; `callback` turns process graphs into what is passed."""
    if is_reference(value, PARAMETER):
        return scope[value[PARAMETER]]
    if is_reference(value, NODE):
        return results[value[NODE]]
    if is_callback(value):
        return callback(value)
    if isinstance(value, Mapping):
        return {k: resolve(member, scope, results, callback) for k, member in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(member, scope, results, callback) for member in value]
    return value


def substitute(value: Any, scope: Scope) -> Any:
    """A value with references to known parameters replaced, also inside of process graphs.

    References to nodes and to parameters that are not known here stay as they are.
    """
    if is_reference(value, PARAMETER):
        name = value[PARAMETER]
        return scope[name] if name in scope else value  # noqa: SIM401
    if isinstance(value, Mapping):
        return {name: substitute(member, scope) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(member, scope) for member in value]
    return value


def refers(value: Any) -> bool:
    """Whether a value holds a reference or a process graph, so that it is not known yet."""
    if isinstance(value, Mapping):
        return bool(set(value) & {NODE, PARAMETER, GRAPH}) or any(map(refers, value.values()))
    return isinstance(value, list | tuple) and any(map(refers, value))
