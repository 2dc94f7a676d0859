"""The two graphs of the main job over a real catalogue that an API serves."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from realdata import catalogues as real

from openeo_nc.graphs.run import run_graph

pytestmark = pytest.mark.realdata
EXTENT = {"west": 2.815, "south": 42.335, "east": 2.825, "north": 42.342}
DATES = ["2020-01-28", "2020-01-29"]


@pytest.fixture(scope="module")
def collection(shared_data, tmp_path_factory):
    root = real.build(shared_data, tmp_path_factory.mktemp("real"))
    with real.served(root.parent / "boadella" / "collection.json") as url:
        yield f"{url}/collections/boadella"


def save(source, format_):
    arguments = {"data": {"from_node": source}, "format": format_}
    return {"process_id": "save_result", "arguments": arguments, "result": True}


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
def test_a_compressed_store_is_loaded_again_and_used(collection, shared_data, tmp_path):
    load = {"url": collection, "spatial_extent": EXTENT, "temporal_extent": DATES}
    compress = {
        "load": {"process_id": "load_stac", "arguments": load},
        "small": {"process_id": "compress_cube", "arguments": {"data": {"from_node": "load"}}},
        "save": save("small", "ZARR"),
    }
    (saved,) = run_graph({"process_graph": compress}, tmp_path / "compressed")
    assert saved["report"]["codec"] == "s2l2a-restoration"
    assert saved["report"]["bpppb"] < 3

    again = {"url": f"{saved['path']}/item.json", "bands": ["B04", "B08"]}
    use = {
        "load": {"process_id": "load_stac", "arguments": again},
        "ndvi": {
            "process_id": "ndvi",
            "arguments": {"data": {"from_node": "load"}, "nir": "B08", "red": "B04"},
        },
        "save": save("ndvi", "GTIFF"),
    }
    (written,) = run_graph({"process_graph": use}, tmp_path / "ndvi")
    assert len(written["files"]) == 1
    with rasterio.open(written["files"][0]) as file:
        ndvi, bounds = file.read(1), file.bounds
        assert file.crs.to_epsg() == 4326
    with rasterio.open(shared_data / "s2/boadella_l2a/Boadella_2020-01-28.tif") as file:
        red, nir = file.read((4, 8), window=file.window(*bounds)).astype("float64")
    assert ndvi.shape == red.shape
    expected = (nir - red) / (nir + red)
    assert np.corrcoef(ndvi.ravel(), expected.ravel())[0, 1] > 0.98
