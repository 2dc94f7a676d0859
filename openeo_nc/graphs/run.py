"""Runs the process graph in a file and saves its results in a new folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.places import Place
from openeo_nc.cubes.plan import Plan, plan_outputs
from openeo_nc.errors import ProcessGraphInvalidError
from openeo_nc.graphs.execute import execute

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry

    from openeo_nc.cubes.ledger import Ledger


def run_graph(
    graph: Any,
    out: Place,
    *,
    registry: ProcessRegistry | None = None,
    parameters: Mapping[str, Any] | None = None,
    user_processes: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    planned: Callable[[Plan], None] | None = None,
) -> list[dict[str, Any]]:
    """Run a graph and write all that its save_result nodes ask for; one description a result.

    Each has `path`, `format`, `files`, `bytes`, and for ZARR `report`. All results are computed
    together on the current Dask scheduler. If anything fails, `out` is not left behind, unless
    there is a `ledger` of what an attempt wrote. `planned` is told the plan before anything is
    computed, and may raise.

    Raises
    ------
    OutputExistsError
        `out` exists; nothing in it was touched.
    ProcessGraphInvalidError
        The graph saves nothing.
    OpenEONCError
        From the graph or its processes.
    """
    with output_folder(out, ledger=ledger) as outputs:
        execute(graph, registry=registry, parameters=parameters, user_processes=user_processes)
        if not outputs.plans:
            raise ProcessGraphInvalidError(
                "The process graph has no save_result, so nothing of it would be kept."
            )
        if planned is not None:
            planned(plan_outputs(outputs))
    return [saved.to_dict() for saved in outputs.saved]


def run_file(
    path: Path, out: Path, *, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """`run_graph` of a JSON file; ProcessGraphInvalidError if it is none."""
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProcessGraphInvalidError(f"{path} is not JSON: {error}") from error
    return run_graph(graph, out, parameters=parameters)
