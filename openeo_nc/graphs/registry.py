"""Registers the processes of this package with openeo-pg-parser-networkx, beside those of others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING
from openeo_nc.cubes.embedding_attributes import settled
from openeo_nc.processes import implementations, standard_implementations

if TYPE_CHECKING:
    from openeo_pg_parser_networkx import ProcessRegistry


def register(registry: ProcessRegistry | None = None, *, standard: bool = False) -> ProcessRegistry:
    """Add the processes of this package to a registry; those of the same id are replaced.

    Parameters
    ----------
    registry
        A `ProcessRegistry` of any backend, for example `openeo.local.processing.PROCESS_REGISTRY`.
        None makes a new one with the processes of openeo-processes-dask, repaired by `standard`.
    standard
        Also replace openEO's own processes, of whatever implementation, by those of this package
        (`processes.standard`).

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
    for one in standard_implementations() if standard or registry is None else ():
        function = _of_embeddings(one.function)
        target[one.process_id] = Process(spec=dict(one.spec), implementation=function)
    for one in implementations():
        target[one.process_id] = Process(spec=dict(one.spec), implementation=one.function)
    return target


@cache
def default_registry() -> ProcessRegistry:
    """The registry that graphs run with if none is given."""
    return register()


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
            registry[spec["id"]] = Process(spec=spec, implementation=_of_embeddings(function))
    return registry


def _of_embeddings(function: Callable[..., Any]) -> Callable[..., Any]:
    """A standard process, after which an embedding cube says of itself only what is still true."""

    @wraps(function)
    def settling(*arguments: Any, **named: Any) -> Any:
        after = function(*arguments, **named)
        before = next((v for v in map(named.get, ("data", "cube1")) if _is_embedding(v)), None)
        return after if before is None else settled(before, after)

    return settling


def _is_embedding(value: Any) -> bool:
    return isinstance(value, xr.DataArray) and EMBEDDING in value.dims


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
