"""Finds what is wrong with a process graph before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from openeo_nc.errors import (
    MissingParameterError,
    OpenEONCError,
    ProcessGraphInvalidError,
    ProcessUnsupportedError,
)
from openeo_nc.graphs.arguments import (
    Parameter,
    callback_parameters,
    check,
    parameters_of,
    schemas,
    takes_callback,
)
from openeo_nc.graphs.parameters import Scope, graph_scope, substitute
from openeo_nc.graphs.parse import (
    PARAMETER,
    Node,
    is_callback,
    is_reference,
    parse,
    process_in,
)
from openeo_nc.graphs.processes import Processes, processes_of

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry


def validate(
    graph: Any,
    *,
    registry: ProcessRegistry | None = None,
    parameters: Mapping[str, Any] | None = None,
    user_processes: Mapping[str, Any] | None = None,
    unresolved: bool = False,
) -> list[OpenEONCError]:
    """All faults of a process graph, each an error that names its node; an empty list if none.

    Parameters
    ----------
    graph
        A flat process graph, or an object that has one as `process_graph` with `parameters`.
    registry
        Processes that may be used; default all of this package and openeo-processes-dask.
    parameters
        Values of the graph's own parameters.
    user_processes
        The user's own processes by id; those that the graph runs are looked into.
    unresolved
        Whether parameters may be left without values, as in a process that is only stored.
    """
    processes = processes_of(registry, user_processes)
    try:
        if unresolved:
            given = dict(parameters or {})
            later = frozenset(_referred(process_in(graph))) - given.keys()
            return list(_faults(graph, processes, Scope(values=given), later, ""))
        scope = graph_scope(graph, parameters)
        return list(_faults(graph, processes, scope, frozenset(), ""))
    except OpenEONCError as error:
        return [error]


def _faults(
    document: Any, processes: Processes, scope: Scope, names: frozenset[str], prefix: str
) -> Iterator[OpenEONCError]:
    """Faults of a graph and of its callbacks; `names` are parameters whose values come later."""
    try:
        graph = parse(document)
    except ProcessGraphInvalidError as error:
        yield at(error, prefix)
        return
    for node in graph.nodes:
        for fault in _node_faults(node, processes, scope, names):
            yield at(fault, f"{prefix}{node}: ")


def _node_faults(
    node: Node, processes: Processes, scope: Scope, names: frozenset[str]
) -> Iterator[OpenEONCError]:
    try:
        own = processes.of_user(node)
        spec = processes.predefined(node).spec if own is None else own
    except (ProcessUnsupportedError, ProcessGraphInvalidError) as error:
        yield error
        return
    # a callback's own parameter hides an outer one of that name
    visible = Scope(values={n: scope[n] for n in _given(scope) if n not in names})
    known = parameters_of(spec)
    arguments = {
        name: value if _called(known.get(name), value) else substitute(value, visible)
        for name, value in node.arguments.items()
    }
    if own is None or own.get("parameters") is not None:
        yield from check(spec, arguments)
    if own is not None:
        inside, given = processes.inside(node.process_id), frozenset({*known, *arguments})
        yield from _faults(own, inside, Scope(values={}), given, "")
    for name, value in arguments.items():
        yield from _references(value, names)
        if _called(known.get(name), value):
            more = _callback_names(known[name], value)
            yield from _faults(value, processes, visible, names | more, f"{name}: ")


def _callback_names(parameter: Parameter, graph: Any) -> frozenset[str]:
    """Parameters that a callback gets; where a user's process does not say, all it refers to."""
    stated = any("parameters" in schema for schema in schemas(parameter))
    if stated:
        return frozenset(p["name"] for p in callback_parameters(parameter))
    return frozenset(_referred(graph))


def _referred(value: Any) -> Iterator[str]:
    if is_reference(value, PARAMETER):
        yield value[PARAMETER]
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _referred(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _referred(member)


def _called(parameter: Parameter | None, value: Any) -> bool:
    return parameter is not None and is_callback(value) and takes_callback(parameter)


def _references(value: Any, names: frozenset[str]) -> Iterator[OpenEONCError]:
    """References to parameters that nobody gives; those of callbacks are looked at with them."""
    if is_reference(value, PARAMETER):
        if value[PARAMETER] not in names:
            yield MissingParameterError(
                f"the parameter '{value[PARAMETER]}' is referred to but not given."
            )
    elif isinstance(value, Mapping) and not is_callback(value):
        for member in value.values():
            yield from _references(member, names)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _references(member, names)


def _given(scope: Scope) -> set[str]:
    return set(scope.values) | (_given(scope.outer) if scope.outer is not None else set())


def at(error: OpenEONCError, place: str) -> OpenEONCError:
    """The error with the place it occurred at before its message."""
    if place:
        error.message = place + error.message
        error.args = (error.message,)
    return error
