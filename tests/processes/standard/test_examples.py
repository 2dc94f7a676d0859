"""The examples in openEO's own definitions, run as process graphs."""

from __future__ import annotations

import math

import pytest

from openeo_nc.graphs import execute
from openeo_nc.processes import standard_implementations

CONTRADICTORY = {
    ("array_filter", 0): "a callback without the process_graph around it",
    ("array_modify", 3): "removes an element, though the default of length is 0",
    ("count", 4): "a callback without the process_graph around it, and a parameter of openEO 0.4",
}


def examples():
    for one in standard_implementations():
        for i, example in enumerate(one.spec.get("examples", [])):
            if "returns" in example and (one.process_id, i) not in CONTRADICTORY:
                yield pytest.param(one.process_id, example, id=f"{one.process_id}-{i}")


def same(given, expected):
    if isinstance(expected, list):
        return len(given) == len(expected) and all(map(same, given, expected))
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return given is expected or (isinstance(expected, str) and given == expected)
    return math.isclose(given, expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(("process_id", "example"), list(examples()))
def test_an_example_gives_what_the_definition_says(process_id, example):
    node = {"process_id": process_id, "arguments": example["arguments"], "result": True}
    assert same(execute({"node": node}), example["returns"])
