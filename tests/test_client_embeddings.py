"""What the openEO client knows of embedding cubes after each process is what the backend gives."""

from __future__ import annotations

import dask
import embedding_cubes
import fakes
import pytest
from openeo.local import LocalConnection
from openeo.metadata import (
    Band,
    BandDimension,
    CubeMetadata,
    SpatialDimension,
    TemporalDimension,
)
from openeo.processes import array_element
from openeo_pg_parser_networkx.process_registry import Process

from openeo_nc import client
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute
from openeo_nc.graphs.registry import register
from openeo_nc.processes.save_result import save_result
from openeo_nc.sentinel2 import BANDS

MODEL = "s2-embed-small"


@pytest.fixture(scope="module")
def registry():
    raster = fakes.cube(200, 150, bands=BANDS, dates=3)
    found = register()
    found["load_fake"] = Process(
        spec={"id": "load_fake", "parameters": []}, implementation=lambda: raster
    )
    return found


@pytest.fixture
def pixels():
    cube = LocalConnection("./").datacube_from_process("load_fake")
    cube.metadata = CubeMetadata(
        dimensions=[
            SpatialDimension(name="x", extent=[0, 1]),
            SpatialDimension(name="y", extent=[0, 1]),
            TemporalDimension(name="t", extent=["2022-06-01", "2022-06-11"]),
            BandDimension(name="bands", bands=[Band(name=name) for name in BANDS]),
        ]
    )
    return cube


@pytest.fixture
def vectors(pixels):
    return client.encode_embedding(pixels, MODEL, quantization="int8")


def same(cube, registry):
    """The backend's cube, which has the dimensions and labels that the client names."""
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = execute({"process_graph": cube.flat_graph()}, registry=registry)
    assert set(cube.metadata.dimension_names()) == set(found.dims)
    if cube.metadata.has_band_dimension():
        name = cube.metadata.band_dimension.name
        assert cube.metadata.band_names == found[name].values.tolist()
    else:
        assert not {"bands", "embedding"} & set(found.dims)
    assert cube.metadata.has_temporal_dimension() == ("t" in found.dims)
    for axis in cube.metadata.spatial_dimensions:
        if axis.step is not None:
            assert abs(found.rio.resolution()["xy".index(axis.name)]) == axis.step
    return found


def test_encode_embedding_of_a_model(vectors, registry):
    found = same(vectors, registry)
    assert len(vectors.metadata.band_names) == found.sizes["embedding"] == 64
    (encode,) = (n for n in vectors.flat_graph().values() if n["process_id"] == "encode_embedding")
    assert encode["arguments"]["quantization"] == "int8"


def test_filter_bbox(vectors, registry):
    box = {"west": 600_100, "south": 4_998_500, "east": 600_900, "north": 4_999_900}
    assert same(vectors.filter_bbox(**box, crs=32631), registry).sizes["x"] == 10


def test_filter_temporal(vectors, registry):
    assert same(vectors.filter_temporal("2022-06-02", "2022-06-11"), registry).sizes["t"] == 1


def test_filter_bands(vectors, registry):
    same(vectors.filter_bands(["e063", "e000"]), registry)


def test_rename_labels_and_merge_cubes_of_two_models(vectors, pixels, registry):
    names = vectors.metadata.band_names
    latents = client.encode_embedding(pixels, "s2l2a-hyperprior")
    prefixed = [f"h-{name}" for name in latents.metadata.band_names]
    other = latents.rename_labels("embedding", target=prefixed, source=latents.metadata.band_names)
    merged = vectors.merge_cubes(other)
    same(merged, registry)
    assert merged.metadata.band_names == [*names, *prefixed]
    same(merged.filter_bands(["h-e001", "e002"]), registry)


def test_mask(vectors, pixels, registry):
    dark = pixels.band("B04") < 1000
    same(vectors.mask(dark), registry)


def test_aggregate_temporal_period(vectors, registry):
    same(vectors.aggregate_temporal_period("month", reducer="mean"), registry)


@pytest.mark.parametrize("dimension", ["t", "embedding"])
def test_reduce_dimension(vectors, registry, dimension):
    same(vectors.reduce_dimension(dimension, reducer="mean"), registry)


def test_reduce_dimension_to_one_of_the_embedding(vectors, registry):
    def second(data):
        return array_element(data, label="e001")

    same(vectors.reduce_dimension("embedding", reducer=second), registry)


def test_resample_spatial(vectors, registry):
    same(vectors.resample_spatial(resolution=40, method="near"), registry)


def test_load_embeddings_of_a_store(registry, tmp_path):
    with output_folder(tmp_path / "out"):
        save_result(embedding_cubes.cube(dim=10), "ZARR")
    url = str(tmp_path / "out" / "result.zarr")
    loaded = client.load_embeddings(LocalConnection("./"), url)
    same(loaded, registry)
    assert len(loaded.metadata.band_names) == 10
    same(loaded.filter_bands(["e003"]).reduce_dimension("t", reducer="mean"), registry)
    some = client.load_embeddings(LocalConnection("./"), url, bands=["e007", "e002"])
    assert same(some, registry).embedding.values.tolist() == ["e007", "e002"]
