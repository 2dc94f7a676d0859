"""register() adds our processes to registries of any backend, beside what is there."""

from __future__ import annotations

from openeo_pg_parser_networkx import OpenEOProcessGraph, ProcessRegistry
from openeo_pg_parser_networkx.process_registry import Process

import openeo_nc
from openeo_nc.processes import implementations

OURS = {one.process_id for one in implementations()}


def test_a_new_registry_has_the_standard_processes_too(standard):
    assert {"ndvi", "reduce_dimension", "mean", "and"} | OURS <= {key for _, key in standard}
    assert "openeo_nc" in standard["load_stac"].implementation.__module__


def test_a_given_registry_is_extended_and_given_back():
    registry = ProcessRegistry()
    registry["mine"] = Process(spec={"id": "mine"}, implementation=print)
    assert openeo_nc.register(registry) is registry
    assert {key for _, key in registry} == OURS | {"mine"}
    assert registry["compress_cube"].spec["summary"]


def test_registering_twice_is_harmless():
    registry = openeo_nc.register(openeo_nc.register(ProcessRegistry()))
    assert {key for _, key in registry} == OURS


def test_the_parser_itself_runs_them(codecs):
    """Without wrapping functions, with references that the parser leaves to the process."""
    import fakes

    registry = openeo_nc.register(ProcessRegistry())
    registry["load_fake"] = Process(
        spec={"id": "load_fake", "parameters": []}, implementation=lambda **_: fakes.cube()
    )
    graph = {
        "load": {"process_id": "load_fake", "arguments": {}},
        "compress": {
            "process_id": "compress_cube",
            "arguments": {
                "data": {"from_node": "load"},
                "codec": {"from_parameter": "codec"},
                "quality": 5,
            },
            "result": True,
        },
    }
    run = OpenEOProcessGraph(graph).to_callable(registry)
    result = run(named_parameters={"codec": "fake-rgb"})
    assert result.attrs["nc:codec"] == "fake-rgb"
    assert result.attrs["nc:quality"] == 5
