"""Keeps coding tasks on the workers that are meant for them, in clusters where not all are.

Off unless Dask's configuration names a worker resource:

        dask.config.set({"openeo-nc.resource": "GPU"})      client
        dask worker ... --resources GPU=1                   workers with a GPU

A task that asks for a resource nobody has waits forever, so this is never guessed. Annotations are
lost when Dask fuses layers; whoever computes therefore does so within `kept`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask.config
from dask.base import annotate

RESOURCE = "openeo-nc.resource"
"""Key of Dask's configuration: name of the resource that coding tasks ask for."""


def resource() -> str | None:
    """The resource that coding tasks ask for, if any."""
    name = dask.config.get(RESOURCE, None)
    return None if name is None else str(name)


@contextmanager
def placed() -> Iterator[None]:
    """Within it, layers that are made ask for the resource."""
    name = resource()
    if name is None:
        yield
        return
    with annotate(resources={name: 1}):
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Within it, what is computed keeps its placement; nothing changes where there is none."""
    if resource() is None:
        yield
        return
    with dask.config.set(
        {"optimization.fuse.active": False, "optimization.annotations.fuse": False}
    ):
        yield
