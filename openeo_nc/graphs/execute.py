"""Runs process graphs: every node once, its references resolved, errors with the node's name.

Running a graph builds lazy cubes and computes nothing, except in processes of other packages that
compute by nature. What `save_result` plans is written when `cubes.outputs.output_folder` closes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from openeo_nc.errors import OpenEONCError, ProcessFailedError
from openeo_nc.graphs.arguments import (
    Parameter,
    callback_parameters,
    fitted,
    parameters_of,
    takes_callback,
)
from openeo_nc.graphs.coerce import coerced
from openeo_nc.graphs.parameters import Scope, graph_scope, resolve, substitute
from openeo_nc.graphs.parse import Graph, Node, is_callback, parse
from openeo_nc.graphs.processes import Processes, processes_of
from openeo_nc.graphs.validate import at, validate
from openeo_nc.processes import EXTRAS, takes_json

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry


def execute(
    graph: Any,
    *,
    registry: ProcessRegistry | None = None,
    parameters: Mapping[str, Any] | None = None,
    user_processes: Mapping[str, Any] | None = None,
) -> Any:
    """Run a process graph and give what its result node gives, in general a lazy cube.

    Parameters
    ----------
    graph
        A flat process graph, or an object that has one as `process_graph` with `parameters`.
    registry
        Processes that may be used; default all of this package and openeo-processes-dask.
    parameters
        Values of the graph's own parameters.
    user_processes
        The user's own processes by id: objects with `process_graph` and perhaps `parameters`.

    Raises
    ------
    OpenEONCError
        The first fault that `validate` finds, or what a process raised, with the node's name.
    ProcessFailedError
        A process of another package raised; its exception is the cause.
    """
    faults = validate(
        graph, registry=registry, parameters=parameters, user_processes=user_processes
    )
    if faults:
        raise faults[0]
    run = Run(processes=processes_of(registry, user_processes))
    return run.graph(parse(graph), graph_scope(graph, parameters), {})


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution; callbacks run through it too."""

    processes: Processes
    """Processes that may be used."""

    def graph(self, graph: Graph, scope: Scope, extras: Mapping[str, Any]) -> Any:
        """Run all nodes; `extras` are keywords that the caller of a callback adds."""
        results: dict[str, Any] = {}
        for node in graph.nodes:
            try:
                results[node.node_id] = self.node(node, scope, results, extras)
            except OpenEONCError as error:
                raise at(error, f"{node}: ") from error.__cause__
            except Exception as error:
                raise ProcessFailedError.of(error, f"{node}: ") from error
        return results[graph.result]

    def node(
        self, node: Node, scope: Scope, results: Mapping[str, Any], extras: Mapping[str, Any]
    ) -> Any:
        """Run one node."""
        if (own := self.processes.of_user(node)) is not None:
            return self.user_process(own, node, scope, results, extras)
        process = self.processes.predefined(node)
        function = process.implementation
        known = parameters_of(process.spec)
        arguments = {
            name: self.argument(known[name], value, scope, results)
            for name, value in node.arguments.items()
        }
        keywords = fitted(process.spec, function, arguments)
        if not takes_json(function):
            keywords = {name: coerced(known[name], value) for name, value in keywords.items()}
        accepted = inspect.signature(function).parameters
        added = {n: v for n, v in extras.items() if n in accepted and n not in keywords}
        return function(**added, **keywords)

    def user_process(
        self,
        process: Mapping[str, Any],
        node: Node,
        scope: Scope,
        results: Mapping[str, Any],
        extras: Mapping[str, Any],
    ) -> Any:
        """Run a process of the user: its graph sees its own parameters, none of its caller's."""
        known = parameters_of(process)
        arguments = {
            name: self.argument(known.get(name, {}), value, scope, results)
            for name, value in node.arguments.items()
        }
        inside = replace(self, processes=self.processes.inside(node.process_id))
        return inside.graph(parse(process), graph_scope(process, arguments), extras)

    def argument(
        self, parameter: Parameter, value: Any, scope: Scope, results: Mapping[str, Any]
    ) -> Any:
        """The value of one argument."""
        if is_callback(value) and takes_callback(parameter):
            return self.callback(parse(value), parameter, scope)
        # process graphs as data, such as filters on metadata
        return resolve(value, scope, results, lambda graph: substitute(graph, scope))

    def callback(self, graph: Graph, parameter: Parameter, scope: Scope) -> Callable[..., Any]:
        """What a process calls: with values by position, and names for them."""
        optional = {
            p["name"]: p.get("default") for p in callback_parameters(parameter) if p.get("optional")
        }

        def called(
            *args: Any,
            positional_parameters: Mapping[str, int] | None = None,
            named_parameters: Mapping[str, Any] | None = None,
            **extras: Any,
        ) -> Any:
            given = optional | dict(named_parameters or {})
            given |= {name: args[i] for name, i in (positional_parameters or {}).items()}
            if extras.get("context") is not None:
                given["context"] = extras["context"]
            inner = Scope(values=given, outer=scope)
            return self.graph(graph, inner, {k: v for k, v in extras.items() if k in EXTRAS})

        return called
