"""A user's own processes: found when they are run, and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import xarray as xr

from openeo_nc.errors import (
    InvalidParameterError,
    MissingParameterError,
    ProcessGraphInvalidError,
    ProcessUnsupportedError,
)
from openeo_nc.graphs import execute, validate


def node(process_id, result=True, **arguments):
    namespace = arguments.pop("namespace", None)
    given = {"process_id": process_id, "arguments": arguments, "result": result}
    return given | ({"namespace": namespace} if namespace else {})


def parameter(name, schema=None, **more):
    return {"name": name, "description": name, "schema": schema or {"type": "number"}, **more}


X, Y = {"from_parameter": "x"}, {"from_parameter": "y"}
TENFOLD = {
    "id": "tenfold",
    "parameters": [parameter("x"), parameter("y", optional=True, default=10)],
    "process_graph": {"times": node("multiply", x=X, y=Y)},
}


def test_a_process_runs_with_its_arguments_and_defaults():
    own = {"tenfold": TENFOLD}
    assert execute({"n": node("tenfold", x=4)}, user_processes=own) == 40
    assert execute({"n": node("tenfold", x=4, y=2)}, user_processes=own) == 8
    nested = {"a": node("tenfold", False, x=1), "b": node("tenfold", x={"from_node": "a"})}
    assert execute(nested, user_processes=own) == 100


def test_it_does_not_see_the_parameters_around_it():
    leaky = {"process_graph": {"n": node("add", x=1, y={"from_parameter": "outside"})}}
    graph = {"n": node("leaky")}
    faults = validate(graph, parameters={"outside": 1}, user_processes={"leaky": leaky})
    assert [type(fault) for fault in faults] == [MissingParameterError]
    assert faults[0].message.startswith("node 'n' (leaky): node 'n' (add): ")


def test_namespaces_choose_between_a_user_s_process_and_a_predefined_one():
    own = {"add": {"process_graph": {"n": node("subtract", x=X, y=Y)}}}
    for namespace, expected in ((None, 1), ("user", 1), ("backend", 5)):
        graph = {"n": node("add", x=3, y=2, namespace=namespace)}
        assert execute(graph, user_processes=own) == expected
    with pytest.raises(ProcessUnsupportedError, match="'tenfold' in the namespace 'user'"):
        execute({"n": node("tenfold", x=1, namespace="user")}, user_processes=own)


def test_a_process_may_wrap_the_predefined_one_of_its_id():
    inner = node("add", x=X, y=100, namespace="backend")
    own = {"add": {"process_graph": {"n": inner}}}
    assert execute({"n": node("add", x=1, y=2)}, user_processes=own) == 101


def test_processes_that_run_themselves_are_found_before_anything_runs():
    own = {
        "a": {"process_graph": {"n": node("b")}},
        "b": {"process_graph": {"n": node("a")}},
    }
    with pytest.raises(ProcessGraphInvalidError, match="runs itself: a -> b -> a"):
        execute({"n": node("a")}, user_processes=own)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, MissingParameterError, "'x' is required"),
        ({"x": "one"}, InvalidParameterError, "'x'.*not of type 'number'"),
        ({"x": 1, "z": 1}, InvalidParameterError, "unknown argument 'z'; possible are x, y"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=rf"node 'n' \(tenfold\): .*{message}"):
        execute({"n": node("tenfold", **arguments)}, user_processes={"tenfold": TENFOLD})


def test_a_fault_within_names_all_nodes_on_the_way():
    broken = {"process_graph": {"m": node("mean", dat=[1])}, "parameters": []}
    faults = validate({"n": node("broken")}, user_processes={"broken": broken})
    assert all(f.message.startswith("node 'n' (broken): node 'm' (mean): ") for f in faults)
    assert len(faults) == 2


def test_it_is_looked_up_when_a_node_runs_it():
    class Stored(Mapping):
        read: list[str] = []  # noqa: RUF012

        def __getitem__(self, key):
            self.read.append(key)
            return {"tenfold": TENFOLD}[key]

        def __iter__(self):
            raise AssertionError("all processes were read")

        def __len__(self):
            raise AssertionError("all processes were read")

    assert execute({"n": node("tenfold", x=1)}, user_processes=Stored()) == 10
    assert set(Stored.read) == {"tenfold", "multiply"}


def test_it_is_a_reducer_and_takes_callbacks():
    data = {"from_parameter": "data"}
    spread = {
        "parameters": [parameter("data", {"type": "array"})],
        "process_graph": {
            "max": node("max", False, data=data),
            "min": node("min", False, data=data),
            "d": node("subtract", x={"from_node": "max"}, y={"from_node": "min"}),
        },
    }
    callback = {"type": "object", "subtype": "process-graph"}
    over_time = {
        "parameters": [parameter("data", {}), parameter("reducer", callback)],
        "process_graph": {
            "r": node("reduce_dimension", data=data, dimension="t",
                      reducer={"from_parameter": "reducer"})
        },
    }  # fmt: skip
    values = np.arange(24.0).reshape(3, 2, 4)
    cube = xr.DataArray(values, dims=("t", "y", "x")).chunk({"y": 1})
    reducer = {"process_graph": {"s": node("spread", data=data)}}
    result = execute(
        {"n": node("over_time", data={"from_parameter": "cube"}, reducer=reducer)},
        parameters={"cube": cube},
        user_processes={"spread": spread, "over_time": over_time},
    )
    np.testing.assert_array_equal(result.values, np.full((2, 4), 16.0))
