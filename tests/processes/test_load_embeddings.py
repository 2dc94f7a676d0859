"""load_embeddings in process graphs: vectors of stores, with what other processes do to them."""

from __future__ import annotations

import embedding_cubes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.stored import open_cube
from openeo_nc.errors import InvalidParameterError, TemporalExtentEmptyError
from openeo_nc.graphs.registry import default_registry
from openeo_nc.graphs.run import run_graph
from openeo_nc.processes.load_embeddings import load_embeddings
from openeo_nc.processes.save_result import save_result


@pytest.fixture
def store(tmp_path):
    """The cube, and the store that it is in."""
    cube = embedding_cubes.cube("int8", dates=3, hole=False)
    with output_folder(tmp_path / "stored") as outputs:
        save_result(cube, "ZARR")
    return cube, str(outputs.saved[0].path)


def test_a_graph_takes_the_mean_over_dates(store, tmp_path):
    cube, path = store
    graph = {
        "load": {
            "process_id": "load_embeddings",
            "arguments": {"url": path, "temporal_extent": ["2024-06-01", "2024-06-10"]},
        },
        "mean": {
            "process_id": "reduce_dimension",
            "arguments": {
                "data": {"from_node": "load"},
                "dimension": "t",
                "reducer": {
                    "process_graph": {
                        "m": {
                            "process_id": "mean",
                            "arguments": {"data": {"from_parameter": "data"}},
                            "result": True,
                        }
                    }
                },
            },
        },
        "save": {
            "process_id": "save_result",
            "arguments": {
                "data": {"from_node": "mean"},
                "format": "ZARR",
                "options": {"quantization": "float32"},
            },
            "result": True,
        },
    }
    (result,) = run_graph(graph, tmp_path / "out", registry=default_registry())
    again = open_cube(result["path"])
    expected = cube.isel(t=slice(0, 2)).values.astype(float).mean(0)
    np.testing.assert_allclose(again.values, expected, atol=1e-6)
    assert again.dtype == np.float32


def test_extents_and_dimensions(store):
    cube, path = store
    box = {"west": 600_080, "south": 4_999_520, "east": 600_400, "north": 4_999_840, "crs": 32631}
    again = load_embeddings(path, box, ["2024-06-06", "2024-06-07"], ["e002", "e000"])
    expected = cube.isel(t=[1], embedding=[2, 0], x=slice(1, 5), y=slice(2, 6))
    xr.testing.assert_equal(again.drop_attrs(), expected.drop_attrs())


def test_arguments_that_mean_nothing(store):
    _, path = store
    with pytest.raises(InvalidParameterError, match="landmask"):
        load_embeddings(path, options={"mask": 1})
    with pytest.raises(InvalidParameterError, match="URL"):
        load_embeddings(path, options={"landmask": 1})
    with pytest.raises(TemporalExtentEmptyError):
        load_embeddings(path, None, ["2024-06-06", "2024-06-06"])
    with pytest.raises(InvalidParameterError, match="spatial_extent"):
        load_embeddings(path, {"west": 1})
