"""Fixtures of the graph tests: a registry with a process that loads a fake cube."""

from __future__ import annotations

import dask
import fakes
import pytest
from openeo_pg_parser_networkx.process_registry import Process

from openeo_nc.graphs.registry import register

LOAD = {"id": "load_fake", "parameters": []}


@pytest.fixture(scope="session")
def standard():
    """All processes; built once, since it is slow."""
    return register()


@pytest.fixture
def codecs():
    """The fake codecs, registered; gives the module that counts their calls."""
    with fakes.codecs_installed() as blocks, dask.config.set(scheduler="synchronous"):
        yield blocks


@pytest.fixture
def registry(standard, codecs):
    """The registry with `load_fake`, which gives `fakes.cube(dtype="float32")`."""
    standard["load_fake"] = Process(
        spec=LOAD, implementation=lambda: fakes.cube(dtype="float32", chunks=(1, 3, 40, 36))
    )
    yield standard
    del standard["load_fake"]
