"""Registers the processes of this package with openeo-pg-parser-networkx, beside those of others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.dims import EMBEDDING
from openeo_nc.errors import ProcessUnsupportedError
from openeo_nc.processes import implementations

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry
    from openeo_pg_parser_networkx.process_registry import Process

    from openeo_nc.graphs.parse import Node


def register(registry: ProcessRegistry | None = None) -> ProcessRegistry:
    """Add the processes of this package to a registry; those of the same id are replaced.

    Parameters
    ----------
    registry
        A `ProcessRegistry` of any backend, for example `openeo.local.processing.PROCESS_REGISTRY`.
        None makes a new one with the processes of openeo-processes-dask.

    Returns
    -------
    The registry.

    Raises
    ------
    DefinitionMismatchError
        A process and its definition disagree; the package is wrong.
    """
    from openeo_pg_parser_networkx.process_registry import Process

    target = _standard() if registry is None else registry
    _make_embeddings_bands()
    for one in implementations():
        target[one.process_id] = Process(spec=dict(one.spec), implementation=one.function)
    return target


@cache
def default_registry() -> ProcessRegistry:
    """The registry that graphs run with if none is given."""
    return register()


def process_of(registry: ProcessRegistry, node: Node) -> Process:
    """The process that a node runs; ProcessUnsupportedError if it is not there or cannot run."""
    key: Any = (node.namespace or "predefined", node.process_id)
    try:
        process = registry[key]
    except KeyError:
        process = None
    if process is None or process.implementation is None:
        place = f" in the namespace '{node.namespace}'" if node.namespace else ""
        raise ProcessUnsupportedError(f"There is no process '{node.process_id}'{place} here.")
    return process


def _make_embeddings_bands() -> None:
    """Have openeo-processes-dask take the dimension `embedding` for one of type bands.

    It knows types of dimensions by their names alone; without this name its filter_bands, mask
    and merge_cubes refuse embeddings. The list is the only place that it reads them from.
    """
    with _quiet():
        from openeo_processes_dask.process_implementations.cubes import _xr_interop
    if EMBEDDING not in _xr_interop.BANDS_GUESSES:
        _xr_interop.BANDS_GUESSES.append(EMBEDDING)


def _standard() -> ProcessRegistry:
    """openeo-processes-dask's processes that have a definition."""
    from openeo_pg_parser_networkx import ProcessRegistry
    from openeo_pg_parser_networkx.process_registry import Process

    with _quiet():
        from openeo_processes_dask import specs
        from openeo_processes_dask.process_implementations.core import process, standard_processes
    registry = ProcessRegistry(wrap_funcs=[process])
    for function in standard_processes:
        spec = getattr(specs, function.__name__, None)
        if spec is not None:
            registry[spec["id"]] = Process(spec=spec, implementation=function)
    return registry


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, openeo-processes-dask does not warn of its extras that are not installed."""
    noisy = logging.getLogger("openeo_processes_dask")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        yield
    finally:
        noisy.setLevel(level)
