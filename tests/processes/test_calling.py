"""Functions see plain JSON, whatever openeo-pg-parser-networkx makes of arguments."""

from __future__ import annotations

import pytest
from openeo_pg_parser_networkx.pg_schema import (
    BoundingBox,
    Date,
    ParameterReference,
    ProcessNode,
    TemporalInterval,
    Year,
)

from openeo_nc.errors import MissingParameterError
from openeo_nc.processes._calling import callable_from_graphs, takes_json


@callable_from_graphs
def echo(data=None, **others):
    return data if not others else {"data": data, **others}


def test_objects_of_the_parser_become_json():
    box = echo(data=BoundingBox(west=1, south=2, east=3, north=4, crs="EPSG:32631"))
    assert (box["west"], box["north"]) == (1, 4)
    interval = TemporalInterval.model_validate(["2022-06-01", "2022-07-01T10:00:00Z"])
    assert echo(data=interval) == ["2022-06-01T00:00:00Z", "2022-07-01T10:00:00Z"]
    assert echo(data=[Year("2022"), {"day": Date("2022-06-01")}]) == [
        "2022-01-01T00:00:00Z",
        {"day": "2022-06-01T00:00:00Z"},
    ]


def test_what_the_parser_does_to_a_node_is_undone():
    arguments = {"data": ["2020", "B02"], "quality": 5, "extent": ["2022-06-01", None]}
    node = ProcessNode.model_validate({"process_id": "echo", "arguments": arguments}, strict=True)
    result = echo(**node.arguments)
    assert result["data"] == ["2020", "B02"]
    assert result["quality"] == 5
    assert result["extent"] == ["2022-06-01T00:00:00Z", None]


def test_references_are_resolved_by_name_and_by_position():
    reference = ParameterReference(from_parameter="x")
    assert echo(data=reference, named_parameters={"x": 4}) == 4
    assert echo(5, data=[reference], positional_parameters={"x": 0}) == [5]
    with pytest.raises(MissingParameterError, match="'x'"):
        echo(data=reference)


def test_parameters_of_a_process_graph_that_is_an_argument_are_its_own():
    x, y = (ParameterReference(from_parameter=name) for name in ("value", "limit"))
    node = {"process_id": "lte", "arguments": {"x": x, "y": y}, "result": True}
    given = {"eo:cloud_cover": {"process_graph": {"only": node}}}
    found = echo(data=given, named_parameters={"limit": 20})
    (node,) = found["eo:cloud_cover"]["process_graph"].values()
    assert node["arguments"] == {"x": {"from_parameter": "value"}, "y": 20}


def test_keywords_for_reducers_are_dropped_where_nobody_takes_them():
    @callable_from_graphs
    def plain(data):
        return data

    assert plain(data=1, axis=0, keepdims=True, context=None) == 1


def test_the_mark_survives_wrapping():
    from openeo_processes_dask.process_implementations.core import process

    assert takes_json(echo)
    assert takes_json(process(echo))
    assert not takes_json(process(lambda data: data))
