"""encode_embedding: models and codecs by one name, through a process graph."""

from __future__ import annotations

import json

import dask
import fake_models
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.graphs.execute import execute
from openeo_nc.graphs.served import Serving, served_registry
from openeo_nc.models.quantisation import quantiser_of
from openeo_nc.processes.encode_embedding import encode_embedding


@pytest.fixture
def models():
    with fake_models.models_installed() as module, dask.config.set(scheduler="synchronous"):
        yield module


def graph(**arguments):
    given = {"data": {"from_parameter": "data"}, **arguments}
    return {"embed": {"process_id": "encode_embedding", "arguments": given, "result": True}}


def test_a_model_through_a_process_graph(models):
    """Values are those of the fake, on the lattice of the quantiser that is told."""
    cube = fakes.cube(64, 64, x0=3840.0 * 150, y0=3840.0 * 1300)
    found = execute(graph(model="fake-patches"), parameters={"data": cube})
    assert not models.calls["embed"]
    exact = cube.values[0, 0, :8, :8].mean()
    vector = found.values[0, :, 0, 0]
    assert abs(vector[0] - exact) <= np.abs(vector).max() / 127
    rows = found.values[0].reshape(4, -1).T
    lattice = quantiser_of(json.loads(found.attrs["nc:quantization"]))
    np.testing.assert_array_equal(lattice.snap(rows), rows)


def test_a_mean_over_dates_is_one_of_vectors(models):
    cube = fakes.cube(64, 64, x0=3840.0 * 150, y0=3840.0 * 1300)
    nodes = graph(model="fake-patches", quantization="float32")
    nodes["embed"].pop("result")
    nodes["mean"] = {
        "process_id": "reduce_dimension",
        "arguments": {
            "data": {"from_node": "embed"}, "dimension": "t",
            "reducer": {"process_graph": {"mean": {
                "process_id": "mean", "arguments": {"data": {"from_parameter": "data"}},
                "result": True,
            }}},
        },
        "result": True,
    }  # fmt: skip
    found = execute(nodes, parameters={"data": cube})
    expected = cube.values[:, 1, 8:16, :8].mean()
    np.testing.assert_allclose(float(found[1, 1, 0]), expected, rtol=1e-5)


def test_codecs_are_served_as_before():
    with fakes.codecs_installed(), dask.config.set(scheduler="synchronous"):
        found = encode_embedding(fakes.cube(), "fake-rgb", quality=4)
        assert found.attrs["nc:codec"] == "fake-rgb"
        with pytest.raises(errors.InvalidParameterError, match="quality"):
            encode_embedding(fakes.cube(), "fake-rgb", quantization="int8")


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"model": "fake-none"}, errors.CodecNotFoundError, "fake-patches.*s2l2a-hyperprior"),
        ({"model": "fake-patches", "quality": 3}, errors.InvalidParameterError, "quantization"),
        ({"model": "fake-patches", "quantization": "int9"}, errors.OpenEONCError, "int9"),
        ({"model": "fake-patches", "options": {"size": 3}}, errors.OpenEONCError, "size"),
    ],
)
def test_what_does_not_fit_is_a_typed_error(models, arguments, error, told):
    with pytest.raises(error, match=told):
        execute(graph(**arguments), parameters={"data": fakes.cube()})


@pytest.mark.parametrize("process_id", ["load_ml_model", "load_stac_ml", "encode_embedding"])
def test_servers_read_no_models_of_their_users(process_id, tmp_path):
    (tmp_path / "item.json").write_text("{}")
    address = str(tmp_path / "item.json")
    arguments = {
        "load_ml_model": {"id": address},
        "load_stac_ml": {"uri": address},
        "encode_embedding": {"data": {"from_parameter": "data"}, "model": address},
    }[process_id]
    nodes = {"one": {"process_id": process_id, "arguments": arguments, "result": True}}
    with pytest.raises(errors.AddressRefusedError, match=r"trusts|only http"):
        execute(nodes, registry=served_registry(Serving()), parameters={"data": fakes.cube()})
