"""Reads a flat process graph into nodes in the order in which they can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from openeo_nc.errors import ProcessGraphInvalidError

NODE, PARAMETER, GRAPH = "from_node", "from_parameter", "process_graph"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a process graph."""

    node_id: str
    """Its key in the graph."""
    process_id: str
    """Process that it runs."""
    namespace: str | None
    """Namespace of the process; None if the graph leaves it open."""
    arguments: Mapping[str, Any]
    """Arguments as the graph has them, references unresolved."""

    def __str__(self) -> str:
        return f"node '{self.node_id}' ({self.process_id})"


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A process graph, or the process graph of a callback."""

    nodes: tuple[Node, ...]
    """All nodes, each after those it refers to."""
    result: str
    """Id of the result node."""


def parse(document: Any) -> Graph:
    """The graph of a flat process graph, or of an object that has one as `process_graph`.

    Raises
    ------
    ProcessGraphInvalidError
        It is none, has no or several result nodes, a cycle, or a reference to no node.
    """
    flat = flat_graph(document)
    nodes = {str(name): _node(str(name), given) for name, given in flat.items()}
    results = [str(name) for name, given in flat.items() if given.get("result")]
    if len(results) != 1:
        raise ProcessGraphInvalidError(
            f"A process graph has one node with 'result': true; this one has {len(results)}"
            f"{': ' + ', '.join(results) if results else ''}."
        )
    sources = {name: set(_sources(node.arguments)) for name, node in nodes.items()}
    for name, referred in sources.items():
        if missing := sorted(referred - nodes.keys()):
            raise ProcessGraphInvalidError(
                f"{nodes[name]} refers to the node '{missing[0]}', which the graph does not have."
            )
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise ProcessGraphInvalidError(
            f"The process graph has a cycle: {' -> '.join(error.args[1])}."
        ) from error
    return Graph(nodes=tuple(nodes[name] for name in order), result=results[0])


def process_in(document: Any) -> Any:
    """The process (`process_graph` and perhaps `parameters`) in a document, else the document.

    openEO's jobs and services wrap a process as `process`; a node may have either name too.
    """
    if isinstance(document, Mapping) and _is_process(document.get("process")):
        return document["process"]
    return document


def flat_graph(document: Any) -> Mapping[str, Any]:
    """The flat graph in a document: the document itself, or its `process_graph`."""
    process = process_in(document)
    flat = process[GRAPH] if _is_process(process) else process
    if not isinstance(flat, Mapping) or not flat:
        raise ProcessGraphInvalidError("A process graph is an object with at least one node.")
    return flat


def _is_process(value: Any) -> bool:
    nested = value.get(GRAPH) if isinstance(value, Mapping) else None
    return isinstance(nested, Mapping) and "process_id" not in nested


def is_reference(value: Any, kind: str) -> bool:
    """Whether a value is `{"from_node": ...}` or the like and nothing more."""
    return isinstance(value, Mapping) and set(value) == {kind}


def is_callback(value: Any) -> bool:
    """Whether a value is the process graph of a callback."""
    return _is_process(value)


def _node(name: str, given: Any) -> Node:
    if not isinstance(given, Mapping) or not isinstance(given.get("process_id"), str):
        raise ProcessGraphInvalidError(f"The node '{name}' has no process_id.")
    arguments = given.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise ProcessGraphInvalidError(f"The arguments of the node '{name}' are no object.")
    namespace = given.get("namespace")
    return Node(
        node_id=name,
        process_id=given["process_id"],
        namespace=None if namespace in (None, "") else str(namespace),
        arguments=arguments,
    )


def _sources(value: Any) -> Iterator[str]:
    """Nodes that a value refers to; those inside of callbacks are of another graph."""
    if is_reference(value, NODE):
        yield str(value[NODE])
    elif is_callback(value):
        return
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _sources(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _sources(member)
