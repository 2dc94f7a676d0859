"""What a process graph will take, before anything of it is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openeo_nc.cubes.outputs import Outputs, output_folder
from openeo_nc.cubes.plan import Plan, plan_outputs
from openeo_nc.errors import ProcessGraphInvalidError
from openeo_nc.graphs.execute import execute

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry


def plan_graph(
    graph: Any,
    *,
    registry: ProcessRegistry | None = None,
    parameters: Mapping[str, Any] | None = None,
    user_processes: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of all that the graph's save_result nodes ask for; metadata are read, and no pixels.

    Raises
    ------
    ProcessGraphInvalidError
        The graph saves nothing.
    OpenEONCError
        From the graph or its processes.
    """
    nowhere = Path(tempfile.gettempdir(), f"planned-{uuid4().hex}")
    with output_folder(nowhere) as outputs:
        execute(graph, registry=registry, parameters=parameters, user_processes=user_processes)
        return planned(outputs)


def planned(outputs: Outputs) -> Plan:
    """The plan of outputs, which then have nothing to write.

    Raises
    ------
    ProcessGraphInvalidError
        They had nothing from the start.
    """
    if not outputs.plans:
        raise ProcessGraphInvalidError(
            "The process graph has no save_result, so nothing of it would be kept."
        )
    plan = plan_outputs(outputs)
    outputs.plans.clear()
    return plan
