"""The openEO Python client: metadata that later steps can rely on, and graphs that run locally."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest
from openeo.local import LocalConnection
from openeo.local.processing import PROCESS_REGISTRY
from openeo.metadata import (
    Band,
    BandDimension,
    CubeMetadata,
    SpatialDimension,
    TemporalDimension,
)
from openeo_pg_parser_networkx.process_registry import Process

import openeo_nc
from openeo_nc import client
from openeo_nc.cubes.outputs import output_folder


@pytest.fixture
def codecs():
    with fakes.codecs_installed() as blocks, dask.config.set(scheduler="synchronous"):
        yield blocks


@pytest.fixture
def cube(codecs):
    """A cube of a local connection whose registry has our processes and one that loads a fake."""
    loaded = fakes.cube()
    openeo_nc.register(PROCESS_REGISTRY)
    PROCESS_REGISTRY["load_fake"] = Process(
        spec={"id": "load_fake", "parameters": []}, implementation=lambda: loaded
    )
    connected = LocalConnection("./").datacube_from_process("load_fake")
    connected.metadata = CubeMetadata(
        dimensions=[
            SpatialDimension(name="x", extent=[0, 1]),
            SpatialDimension(name="y", extent=[0, 1]),
            TemporalDimension(name="t", extent=["2022-06-01", "2022-06-06"]),
            BandDimension(name="bands", bands=[Band(name=b) for b in fakes.RGB]),
        ]
    )
    yield connected
    del PROCESS_REGISTRY["load_fake"]


def test_an_embedding_has_a_dimension_of_type_bands(cube):
    embedding = client.encode_embedding(cube, "fake-rgb", quality=5)
    assert embedding.metadata.band_dimension.name == "embedding"
    assert embedding.metadata.band_names == [f"e{i:03d}" for i in range(48)]
    assert set(embedding.metadata.dimension_names()) == {"x", "y", "t", "embedding"}
    assert cube.metadata.band_names == list(fakes.RGB)
    reduced = embedding.reduce_dimension(dimension="embedding", reducer="mean")
    assert reduced.metadata.dimension_names() == ["x", "y", "t"]


def test_auto_knows_its_labels_from_the_bands(cube):
    assert len(client.encode_embedding(cube, "auto").metadata.band_names) == 48


def test_a_model_of_the_backend_has_labels_that_only_the_backend_knows(cube):
    embedding = client.encode_embedding(cube, "prithvi")
    assert embedding.metadata.band_names == []
    assert embedding.metadata.band_dimension.name == "embedding"


def test_decoding_gives_bands_back(cube):
    embedding = client.encode_embedding(cube, "fake-rgb").filter_temporal(
        "2022-06-01", "2022-06-02"
    )
    assert client.decode_embedding(embedding).metadata.band_names == list(fakes.RGB)
    some = client.decode_embedding(embedding, bands=["B04"])
    assert some.metadata.band_names == ["B04"]
    assert some.metadata.band_dimension.name == "bands"


def test_a_cube_without_metadata_gets_the_usual_dimensions(cube):
    cube.metadata = None
    names = client.encode_embedding(cube, "fake-rgb").metadata.dimension_names()
    assert names == ["x", "y", "t", "embedding"]


def test_arguments_that_are_not_given_are_left_out_of_the_graph(cube):
    graph = client.compress_cube(cube).flat_graph()
    assert graph["compresscube1"]["arguments"] == {
        "data": {"from_node": "loadfake1"},
        "codec": "auto",
    }


def test_rates_of_compression_are_arguments_of_the_graph(cube):
    bounded = client.compress_cube(cube, max_error=(1, 2, 3)).flat_graph()
    assert bounded["compresscube1"]["arguments"]["max_error"] == [1, 2, 3]
    for name in ("target_psnr", "target_ratio"):
        arguments = client.compress_cube(cube, **{name: 30}).flat_graph()["compresscube1"][
            "arguments"
        ]
        assert arguments == {"data": {"from_node": "loadfake1"}, "codec": "auto", name: 30}
    found = client.compress_cube(cube, "fake-rgb", max_error=[1, 2, 3]).execute()
    error = np.abs(found.values.astype(float) - fakes.cube().values).max(axis=(0, 2, 3))
    assert (error <= [1, 2, 3]).all()


def test_graphs_run_on_a_local_connection(cube):
    """Through openeo-pg-parser-networkx itself, as any backend built on it runs them."""
    embedding = client.encode_embedding(cube, "fake-rgb", quality=8)
    decoded = client.decode_embedding(embedding, bands=["B04", "B02"]).execute()
    expected = fakes.cube().sel(bands=["B04", "B02"])
    np.testing.assert_array_equal(decoded.values, expected.values)
    mean = embedding.reduce_dimension(dimension="embedding", reducer="mean").execute()
    assert mean.dims == ("t", "y", "x")
    some = embedding.filter_bands(["e007", "e001"]).execute()
    assert some.embedding.values.tolist() == ["e007", "e001"]


def test_results_are_saved_from_a_local_connection(cube, codecs, tmp_path):
    compressed = client.compress_cube(cube, "fake-rgb", options={"scale": 0.0001})
    with output_folder(tmp_path / "out") as outputs:
        client.save_result(compressed, "NETCDF", {"filename_prefix": "scene"}).execute()
    assert [s.path.name for s in outputs.saved] == ["scene.nc"]
    assert codecs.calls["pack"] == 18


def test_quality_is_measured_and_saved(cube, tmp_path):
    compressed = client.compress_cube(cube, "fake-rgb")
    quality = client.compression_quality(compressed, cube, options={"peak": 10000})
    with output_folder(tmp_path / "out") as outputs:
        assert client.save_result(quality, "JSON").execute()
    (saved,) = outputs.saved
    assert saved.details["quality"]["exact_tiles"] == saved.details["quality"]["tiles"] == 18
