"""Users' own processes."""

from __future__ import annotations

import pytest

from openeo_nc import errors
from openeo_nc.jobs import process_graphs
from openeo_nc.jobs.process_graphs import OwnProcesses

GRAPH = {"one": {"process_id": "absolute", "arguments": {}, "result": True}}


def test_stored_replaced_listed_deleted(db):
    process_graphs.put(db, "a", "evi", {"process_graph": GRAPH, "summary": "old"})
    process_graphs.put(db, "a", "evi", {"process_graph": GRAPH, "summary": "new", "id": "other"})
    process_graphs.put(db, "a", "abc", {"process_graph": GRAPH})
    assert process_graphs.get(db, "a", "evi") == {
        "id": "evi", "process_graph": GRAPH, "summary": "new",
    }  # fmt: skip
    assert [p["id"] for p in process_graphs.listed(db, "a")] == ["abc", "evi"]
    assert [p["id"] for p in process_graphs.listed(db, "a", 1, 1)] == ["evi"]
    process_graphs.delete(db, "a", "evi")
    with pytest.raises(errors.ProcessGraphNotFoundError):
        process_graphs.delete(db, "a", "evi")


def test_another_users_process_is_not_found(db):
    process_graphs.put(db, "a", "evi", {"process_graph": GRAPH})
    assert process_graphs.listed(db, "b") == []
    for function in (process_graphs.get, process_graphs.delete):
        with pytest.raises(errors.ProcessGraphNotFoundError):
            function(db, "b", "evi")


def test_what_has_no_graph_is_refused(db):
    with pytest.raises(errors.ProcessGraphMissingError):
        process_graphs.put(db, "a", "evi", {"summary": "nothing"})


def test_graphs_see_the_processes_of_their_user(db):
    own = OwnProcesses(db, "a")
    assert own.get("evi") is None
    process_graphs.put(db, "a", "evi", {"process_graph": GRAPH})
    process_graphs.put(db, "b", "ndvi", {"process_graph": GRAPH})
    assert own["evi"]["process_graph"] == GRAPH
    assert list(own) == ["evi"]
    assert len(own) == 1
