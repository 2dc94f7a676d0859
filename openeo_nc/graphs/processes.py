"""The processes that a graph may use: those of a registry, and a user's own, which are graphs.

A user's process is looked up when a node that runs it is reached, so that a server may hand over a
mapping that reads its database. As openEO's API has it, a node without a namespace prefers the
user's process over the predefined one of the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from openeo_nc.errors import ProcessGraphInvalidError, ProcessUnsupportedError
from openeo_nc.graphs.parse import GRAPH, Node
from openeo_nc.graphs.registry import default_registry

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry
    from openeo_pg_parser_networkx.process_registry import Process

BACKEND, USER = "backend", "user"


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Where the processes of nodes are found."""

    registry: ProcessRegistry
    """Predefined processes, and those of namespaces other than `backend` and `user`."""
    user: Mapping[str, Any]
    """The user's processes by id: objects with `process_graph` and perhaps `parameters`."""
    within: tuple[str, ...] = ()
    """The user's processes that the graph is part of, the outermost first."""

    def of_user(self, node: Node) -> Mapping[str, Any] | None:
        """The user's process that a node runs, None if it runs another.

        Raises
        ------
        ProcessGraphInvalidError
            The process is within itself, or is none.
        """
        if node.namespace not in (None, USER):
            return None
        found: Any = self.user.get(node.process_id)
        if found is None:
            return None
        if node.process_id in self.within:
            chain = " -> ".join([*self.within, node.process_id])
            raise ProcessGraphInvalidError(f"The user-defined process runs itself: {chain}.")
        if not isinstance(found, Mapping) or GRAPH not in found:
            raise ProcessGraphInvalidError(
                f"The user-defined process '{node.process_id}' has no process_graph."
            )
        return found

    def predefined(self, node: Node) -> Process:
        """The registry's process that a node runs.

        Raises
        ------
        ProcessUnsupportedError
            It is not there, or has no implementation.
        """
        namespace = "predefined" if node.namespace in (None, BACKEND) else node.namespace
        key: Any = (namespace, node.process_id)
        try:
            process = self.registry[key]
        except KeyError:
            process = None
        if process is None or process.implementation is None:
            place = f" in the namespace '{node.namespace}'" if node.namespace else ""
            raise ProcessUnsupportedError(f"There is no process '{node.process_id}'{place} here.")
        return process

    def inside(self, process_id: str) -> Processes:
        """As seen from inside of a user's process."""
        return replace(self, within=(*self.within, process_id))


def processes_of(registry: ProcessRegistry | None, user: Mapping[str, Any] | None) -> Processes:
    """Those of a registry, by default this package's, and of a user, by default none."""
    return Processes(
        registry=default_registry() if registry is None else registry,
        user={} if user is None else user,
    )
