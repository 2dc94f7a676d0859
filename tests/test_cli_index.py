"""`openeo-nc index` on stored cubes, `bench search`, and results as GeoJSON."""

from __future__ import annotations

import json

import embedding_cubes
import numpy as np
import pytest
from click.testing import CliRunner

from openeo_nc.benchmarks import search as benchmark
from openeo_nc.cli import main
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.errors import FormatUnsuitableError, InvalidParameterError
from openeo_nc.graphs.served import served_registry
from openeo_nc.processes.find_similar import find_similar
from openeo_nc.processes.save_result import save_result
from openeo_nc.server.answers import answer


def invoke(*arguments, **environment):
    return CliRunner().invoke(main, list(map(str, arguments)), env=environment)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    cube = embedding_cubes.cube()
    with output_folder(folder / "out") as outputs:
        save_result(cube.isel(t=[0]), "ZARR", {"filename_prefix": "first"})
        save_result(cube.isel(t=[1]), "PARQUET", {"filename_prefix": "second"})
    return [saved.path for saved in outputs.saved]


def test_an_index_is_of_one_model(stores, tmp_path):
    cube = embedding_cubes.cube()
    cube.attrs["nc:model"] = json.dumps({"id": "other"})
    with output_folder(tmp_path / "out") as outputs:
        save_result(cube, "ZARR", {"filename_prefix": "other"})
    other = outputs.saved[0].path
    path = tmp_path / "i"
    assert "EmbeddingsIncomparable" in invoke("index", "build", path, stores[0], other).output
    assert not path.exists()
    assert invoke("index", "build", path, stores[0]).exit_code == 0
    assert "EmbeddingsIncomparable" in invoke("index", "add", path, stores[1], other).output
    assert json.loads(invoke("index", "info", path, "--json").stdout)["rows"] == 137


def test_build_add_query_and_info(stores, tmp_path):
    path = tmp_path / "i"
    built = invoke("index", "build", path, stores[0], "--json")
    assert built.exit_code == 0, built.output
    assert json.loads(built.stdout)["rows"] == 137
    assert "OutputExists" in invoke("index", "build", path, stores[0]).output
    added = json.loads(invoke("index", "add", path, *stores, "--json").stdout)
    assert (added["rows"], len(added["sources"]), len(added["skipped"])) == (140, 1, 1)
    again = json.loads(invoke("index", "add", path, *stores, "--json").stdout)
    assert (again["rows"], len(again["skipped"])) == (0, 2)
    told = json.loads(invoke("index", "info", path, "--json").stdout)
    assert (told["rows"], told["dim"], told["models"]) == (277, 16, ["test-model"])
    assert "277" in invoke("index", "info", path).output

    vector = json.dumps(embedding_cubes.vectors(1, seed=5)[0].tolist())
    found = json.loads(invoke("index", "query", path, "--vector", vector, "-k", 4, "--json").stdout)
    assert [f["properties"]["rank"] for f in found["features"]] == [1, 2, 3, 4]
    assert all(f["links"][0]["href"].endswith(".json") for f in found["features"])
    ring = found["features"][0]["geometry"]["coordinates"][0]
    lon, lat = np.mean(ring[:4], axis=0)
    shown = invoke("index", "query", path, "--at", f"{lon},{lat}", "--datetime", "2024-06-06/",
                   "--bbox", "-180,-90,180,90")  # fmt: skip
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("2024-06-06") == 10


def test_wrong_options_are_told(stores, tmp_path):
    path = tmp_path / "i"
    invoke("index", "build", path, stores[0])
    for wrong in ((), ("--at", "1"), ("--vector", "x"), ("--at", "1,2", "--vector", "[1]")):
        ended = invoke("index", "query", path, *wrong)
        assert (ended.exit_code, "ProcessParameterInvalid" in ended.output) == (1, True)


def test_results_are_geojson(tmp_path):
    cube = embedding_cubes.cube()
    found = find_similar(cube, cube.isel(t=0, y=5, x=5).values.tolist(), 3)
    with output_folder(tmp_path / "out") as outputs:
        save_result(found, "GEOJSON")
    (saved,) = outputs.saved
    document = json.loads(saved.path.read_text())
    assert document == answer(found)
    assert [f["properties"]["rank"] for f in document["features"]] == [1, 2, 3]
    with pytest.raises(FormatUnsuitableError):
        save_result(found, "ZARR")


def test_a_server_reads_no_index_but_its_own(stores, tmp_path, monkeypatch):
    invoke("index", "build", tmp_path / "i", stores[0])
    search = served_registry()["find_similar"].implementation
    query = embedding_cubes.vectors(1)[0].tolist()
    with pytest.raises(InvalidParameterError):
        search(data=str(tmp_path / "i"), query=query)
    monkeypatch.setenv("OPENEO_NC_INDEXES", str(tmp_path))
    assert len(search(data="i", query=query, k=2).compute()) == 2


def test_the_benchmark_on_a_few_vectors():
    real = embedding_cubes.vectors(50, 12)
    report = benchmark.run(real, rows=3000, queries=3)
    assert [one["recall"] for one in report["searches"]] == [1.0] * len(benchmark.FILTERS)
    assert report["searches"][0]["kept"] == 3000
    assert json.loads(json.dumps(report))
    assert "a month" in benchmark.table(report)


@pytest.mark.realdata
def test_the_benchmark_on_alphaearth(shared):
    ended = invoke("bench", "search", "--rows", 2000, "--queries", 2, "--json",
                   OPENEO_NC_SHARED=str(shared))  # fmt: skip
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.output)["real_vectors"] == 1440
