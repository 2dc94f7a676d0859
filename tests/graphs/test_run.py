"""A graph in a file is run into a new folder, or leaves none."""

from __future__ import annotations

import json

import pytest

from openeo_nc import errors
from openeo_nc.graphs.run import run_file, run_graph

LOAD = {"load": {"process_id": "load_fake", "arguments": {}}}
GRAPH = {
    **LOAD,
    "compress": {
        "process_id": "compress_cube",
        "arguments": {"data": {"from_node": "load"}, "codec": "fake-rgb"},
    },
    "save": {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "compress"}, "format": "ZARR"},
        "result": True,
    },
}


def test_results_are_described(registry, codecs, tmp_path):
    (result,) = run_graph(GRAPH, tmp_path / "out", registry=registry)
    assert result["format"] == "ZARR"
    assert result["path"] == str(tmp_path / "out" / "result.zarr")
    assert result["bytes"] > 0
    assert result["report"]["tiles"] == 18
    json.dumps(result, default=str)
    assert codecs.calls["pack"] == 18


def test_an_existing_folder_is_left_alone(registry, codecs, tmp_path):
    with pytest.raises(errors.OutputExistsError):
        run_graph(GRAPH, tmp_path, registry=registry)
    assert list(tmp_path.iterdir()) == []
    assert not codecs.calls


def test_a_graph_that_saves_nothing_is_refused(registry, tmp_path):
    graph = {"load": {**LOAD["load"], "result": True}}
    with pytest.raises(errors.ProcessGraphInvalidError, match="no save_result"):
        run_graph(graph, tmp_path / "out", registry=registry)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "graph.json").write_text("{")
    with pytest.raises(errors.ProcessGraphInvalidError, match="not JSON"):
        run_file(tmp_path / "graph.json", tmp_path / "out")
