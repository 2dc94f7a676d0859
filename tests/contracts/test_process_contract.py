"""What every process of the package keeps: building its part of a graph computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import embedding_cubes
import encoders
import fakes
import pytest
import stac_scenes as scenes

from openeo_nc.cubes import stac
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute
from openeo_nc.ml.model import Learner, MlModel
from openeo_nc.models.base import ModelCard
from openeo_nc.processes import implementations
from openeo_nc.processes.save_result import save_result

BANDS = list(fakes.RGB)
LOADED = {"process_id": "load_stac", "arguments": {"url": {"from_parameter": "url"}}}


def after(source, **arguments):
    return {"data": {"from_node": source}, **arguments}


ENCODED = {"process_id": "encode_embedding", "arguments": after("load", model="fake-rgb")}
COVERS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [4.274 + 0.002 * place, 45.144]},
            "properties": {"cover": cover},
        }
        for place, cover in enumerate(("water", "forest"))
    ],
}
UNTRAINED = {
    "load": LOADED,
    "encode": ENCODED,
    "linear": {"process_id": "mlm_class_linear", "arguments": {}},
}
FIT = {
    "process_id": "ml_fit",
    "arguments": {
        "model": {"from_node": "linear"},
        "training_set": {"from_node": "encode"},
        "target": "cover",
        "labels": COVERS,
    },
}
TRAINED = UNTRAINED | {"fit": FIT}
GRAPHS = {
    "compress_cube": ({"load": LOADED}, after("load")),
    "compression_quality": (
        {"load": LOADED, "compress": {"process_id": "compress_cube", "arguments": after("load")}},
        after("compress", reference={"from_node": "load"}),
    ),
    "decode_embedding": ({"load": LOADED, "encode": ENCODED}, after("encode")),
    "encode_embedding": ({"load": LOADED}, ENCODED["arguments"]),
    "find_similar": ({"load": LOADED, "encode": ENCODED}, after("encode", query=[1.0] * 48)),
    "load_collection": (
        {}, {"id": "scenes", "spatial_extent": None, "temporal_extent": None, "bands": BANDS}
    ),
    "load_embeddings": ({}, {"url": {"from_parameter": "vectors"}}),
    "load_ml_model": ({}, {"id": "s2-embed-small"}),
    "load_stac_ml": ({}, {"uri": {"from_parameter": "model"}}),
    "ml_fit": (UNTRAINED, FIT["arguments"]),
    "ml_predict": (TRAINED, after("encode", model={"from_node": "fit"})),
    "ml_predict_probabilities": (TRAINED, after("encode", model={"from_node": "fit"})),
    "mlm_class_linear": ({}, {}),
    "mlm_class_mlp": ({}, {"hidden_layer_sizes": [8]}),
    "mlm_class_random_forest": ({}, {"max_variables": "sqrt"}),
    "mlm_regr_linear": ({}, {}),
    "mlm_regr_random_forest": ({}, {"max_variables": "all"}),
    "save_ml_model": (TRAINED, after("fit", name="covers")),
    "load_stac": ({}, LOADED["arguments"] | {"crs": 3857, "resolution": 20}),
    "run_udf": (
        {"load": LOADED},
        after("load", udf="def apply_datacube(cube):\n    return cube * 2", runtime="Python"),
    ),
    "save_result": ({"load": LOADED, "encode": ENCODED}, after("encode", format="ZARR")),
}  # fmt: skip
"""By process: the nodes before it, and its arguments."""


@pytest.fixture
def catalogue(tmp_path):
    """A collection of one date whose files are not there: reading pixels fails."""
    assets = {
        band: scenes.asset(tmp_path / f"{band}.tif", 10, shape=(60, 60)) for band in fakes.RGB
    }
    item = scenes.item("date", "2022-06-01T10:30:00Z", assets)
    return str(scenes.write_collection(tmp_path / "scenes", [item]))


@pytest.fixture
def model(catalogue):
    """The Item of a model beside the collection; its file holds no network."""
    file = Path(catalogue).with_name("encoder.onnx")
    file.write_bytes(b"no network")
    item = file.with_suffix(".json")
    item.write_text(json.dumps(encoders.mlm_item(file)))
    return str(item)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A store of embeddings."""
    with output_folder(tmp_path_factory.mktemp("stored") / "out") as outputs:
        save_result(embedding_cubes.cube("int8", dates=1, hole=False), "ZARR")
    return str(outputs.saved[0].path)


@pytest.mark.parametrize("process_id", [one.process_id for one in implementations()])
def test_building_computes_and_writes_nothing(
    process_id, catalogue, model, vectors, tmp_path, monkeypatch
):
    before, arguments = GRAPHS[process_id]
    given = {"url": catalogue, "model": model, "vectors": vectors}
    last = {"process_id": process_id, "arguments": arguments, "result": True}
    monkeypatch.setattr(stac, "_catalogues", [catalogue])
    with (
        fakes.codecs_installed() as codecs,
        dask.config.set(scheduler=fakes.raising_scheduler),
        output_folder(tmp_path / "out") as outputs,
    ):
        result = execute({**before, "last": last}, parameters=given)
        models = ModelCard | Learner | MlModel
        assert result is True or dask.is_dask_collection(result) or isinstance(result, models)
        assert bool(outputs.plans) == process_id.startswith("save_")
        outputs.plans.clear()
        assert not codecs.calls
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
