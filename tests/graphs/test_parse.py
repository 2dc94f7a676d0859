"""Flat graphs become nodes in an order in which they can run, or a typed error."""

from __future__ import annotations

import pytest

from openeo_nc.errors import ProcessGraphInvalidError
from openeo_nc.graphs.parse import parse


def node(*sources, result=False, **arguments):
    data = [{"from_node": source} for source in sources]
    return {
        "process_id": "p",
        "arguments": {"data": data, **arguments},
        **({"result": True} if result else {}),
    }


def test_nodes_come_after_those_they_refer_to():
    graph = parse({"c": node("b", "a", result=True), "a": node(), "b": node("a")})
    assert [n.node_id for n in graph.nodes] == ["a", "b", "c"]
    assert graph.result == "c"


def test_references_are_found_however_deep():
    deep = {"x": [{"y": {"from_node": "a"}}]}
    graph = parse({"b": node(result=True, deep=deep), "a": node()})
    assert [n.node_id for n in graph.nodes] == ["a", "b"]


def test_references_inside_of_callbacks_are_of_another_graph():
    inner = {"process_graph": {"m": node("n", result=True), "n": node()}}
    assert len(parse({"a": node(result=True, reducer=inner)}).nodes) == 1


def test_a_graph_may_be_wrapped():
    flat = {"a": node(result=True)}
    assert parse({"process_graph": flat}).result == "a"
    assert parse({"process": {"process_graph": flat}, "title": "job"}).result == "a"


def test_nodes_may_have_the_names_of_wrappers():
    graph = parse({"process": node(), "process_graph": node("process", result=True)})
    assert [n.node_id for n in graph.nodes] == ["process", "process_graph"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "at least one node"),
        ([], "at least one node"),
        ({"a": node()}, "this one has 0"),
        ({"a": node(result=True), "b": node(result=True)}, "this one has 2: a, b"),
        ({"a": node("z", result=True)}, r"node 'a' \(p\) refers to the node 'z'"),
        ({"a": node("b", result=True), "b": node("a")}, "cycle"),
        ({"a": node("a", result=True)}, "cycle"),
        ({"a": {"arguments": {}, "result": True}}, "'a' has no process_id"),
        ({"a": {"process_id": "p", "arguments": [], "result": True}}, "no object"),
    ],
)
def test_what_is_no_process_graph(document, says):
    with pytest.raises(ProcessGraphInvalidError, match=says):
        parse(document)
