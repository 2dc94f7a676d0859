"""Faults are found before anything runs, each with the node it is in."""

from __future__ import annotations

import re

import pytest

from openeo_nc import errors
from openeo_nc.graphs import validate


def graph(process_id="compress_cube", **arguments):
    arguments.setdefault("data", {"from_node": "load"})
    return {
        "load": {"process_id": "load_fake", "arguments": {}},
        "it": {"process_id": process_id, "arguments": arguments, "result": True},
    }


def reduced(inner, **arguments):
    return graph(
        "reduce_dimension",
        dimension="t",
        reducer={"process_graph": {"m": {**inner, "result": True}}},
        **arguments,
    )


MEAN = {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}}


@pytest.mark.parametrize(
    "good",
    [
        graph(),
        graph(codec="klt-dct", quality=4.5, options={"scale": 1}),
        graph(quality=None),
        graph("save_result", format="zarr", options=None),
        reduced(MEAN),
        reduced({"process_id": "add", "arguments": {"x": 1, "y": {"from_parameter": "context"}}}),
    ],
)
def test_good_graphs_have_no_faults(registry, good):
    assert validate(good, registry=registry) == []


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (graph("resample"), errors.ProcessUnsupportedError, "no process 'resample'"),
        (graph(codecc="x"), errors.InvalidParameterError, "unknown argument 'codecc'"),
        (graph("save_result"), errors.MissingParameterError, "'format' is required"),
        (graph(quality="high"), errors.InvalidParameterError, "'quality': 'high'"),
        (graph(options={"scale": 0}), errors.InvalidParameterError, r"\['scale'\] 0"),
        (graph(options={"scal": 1}), errors.InvalidParameterError, "'scal' was unexpected"),
        (graph(data=5), errors.InvalidParameterError, "'data': 5"),
        (graph(codec={"from_parameter": "c"}), errors.MissingParameterError, "'c' is referred"),
        (
            graph(options={"scale": {"from_parameter": "s"}}),
            errors.MissingParameterError,
            "'s' is referred",
        ),
    ],
)
def test_faults_name_the_node(registry, bad, error, says):
    (fault,) = validate(bad, registry=registry)
    assert isinstance(fault, error)
    assert fault.message.startswith("node 'it' (")
    assert re.search(says, fault.message)


@pytest.mark.parametrize(
    ("inner", "error", "says"),
    [
        ({"process_id": "meen", "arguments": {}}, errors.ProcessUnsupportedError, "'meen'"),
        ({"process_id": "mean", "arguments": {}}, errors.MissingParameterError, "'data'"),
        (
            {"process_id": "mean", "arguments": {"data": {"from_parameter": "x"}}},
            errors.MissingParameterError,
            "'x'",
        ),
    ],
)
def test_faults_in_callbacks_name_both_nodes(registry, inner, error, says):
    (fault,) = validate(reduced(inner), registry=registry)
    assert isinstance(fault, error)
    assert fault.message.startswith("node 'it' (reduce_dimension): reducer: node 'm' (")
    assert says in fault.message


def test_all_faults_are_found(registry):
    bad = graph("nothing")
    bad["load"] = {"process_id": "load_fake", "arguments": {"x": 1}}
    assert len(validate(bad, registry=registry)) == 2


def test_parameters_are_looked_at_with_their_values(registry):
    with_parameter = graph(quality={"from_parameter": "q"})
    assert validate(with_parameter, registry=registry, parameters={"q": 3}) == []
    (fault,) = validate(with_parameter, registry=registry, parameters={"q": "x"})
    assert isinstance(fault, errors.InvalidParameterError)


def test_parameters_that_a_process_states(registry):
    stated = {
        "process_graph": graph(quality={"from_parameter": "q"}),
        "parameters": [{"name": "q", "schema": {"type": "number"}}],
    }
    assert isinstance(validate(stated, registry=registry)[0], errors.MissingParameterError)
    assert validate(stated, registry=registry, parameters={"q": 3}) == []
    stated["parameters"][0]["default"] = 3
    assert validate(stated, registry=registry) == []
    (fault,) = validate(stated, registry=registry, parameters={"r": 1})
    assert "no parameter r" in fault.message


def test_a_callbacks_own_parameter_hides_an_outer_one(registry):
    inner = reduced({"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}})
    assert validate(inner, registry=registry, parameters={"data": 7}) == []


def test_what_is_no_graph_is_one_fault(registry):
    (fault,) = validate({}, registry=registry)
    assert isinstance(fault, errors.ProcessGraphInvalidError)
