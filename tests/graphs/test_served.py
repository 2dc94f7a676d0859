"""What a server runs reads what is on the web, at public addresses, and nothing else."""

from __future__ import annotations

import pytest

from openeo_nc.errors import AddressRefusedError, GeometryInvalidError, InvalidParameterError
from openeo_nc.graphs import execute
from openeo_nc.graphs.served import Serving, served_registry


@pytest.mark.parametrize("url", ["/etc/a.parquet", "file:///a.tif", "s3://bucket/a.npy", "a.zarr"])
def test_files_and_other_schemes_are_refused(url):
    load = served_registry(Serving())["load_embeddings"].implementation
    with pytest.raises(InvalidParameterError, match="http"):
        load(url=url)


@pytest.mark.parametrize("name", ["a.parquet", "a.tif", "a.npy", "a.zarr", "item.json"])
def test_addresses_of_this_network_are_refused(name):
    load = served_registry(Serving())["load_embeddings"].implementation
    with pytest.raises(AddressRefusedError):
        load(url=f"http://127.0.0.1:9/{name}")


def test_a_landmask_is_no_way_around():
    load = served_registry(Serving())["load_embeddings"].implementation
    with pytest.raises(AddressRefusedError):
        load(url="http://192.0.2.1/a.npy", options={"landmask": "/etc/hostname"})


def test_a_text_that_a_node_makes_is_not_opened(tmp_path, registry):
    """openeo-processes-dask's aggregate_spatial opens texts; validation sees those of graphs only."""
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    mean = {"m": {"process_id": "mean", "result": True,
                  "arguments": {"data": {"from_parameter": "data"}}}}  # fmt: skip
    graph = {
        "load": {"process_id": "load_fake", "arguments": {}},
        "place": {"process_id": "text_concat", "arguments": {
            "data": ["file://", str(secret)], "separator": ""}},
        "means": {"process_id": "aggregate_spatial", "result": True, "arguments": {
            "data": {"from_node": "load"}, "geometries": {"from_node": "place"},
            "reducer": {"process_graph": mean}}},
    }  # fmt: skip
    served = served_registry(Serving())
    served["load_fake"] = registry["load_fake"]
    try:
        with pytest.raises(GeometryInvalidError, match="given a text"):
            execute(graph, registry=served)
    finally:
        del served["load_fake"]
