"""Trained models predict lazily, and what is saved of them is what is loaded, or an error."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import fakes
import labelled_cubes
import numpy as np
import pytest
import safetensors.numpy
import xarray as xr
from embedding_schemas import STAC_1_1, schemas  # noqa: F401  a fixture

from openeo_nc.cubes.outputs import output_folder
from openeo_nc.errors import (
    BandMismatchError,
    CardInvalidError,
    InvalidParameterError,
    MlModelUnsuitableError,
    OutputExistsError,
    WeightsInvalidError,
    WeightsNotFoundError,
)
from openeo_nc.graphs import execute
from openeo_nc.graphs.run import run_graph
from openeo_nc.ml import learners
from openeo_nc.ml.fitting import fit
from openeo_nc.ml.loading import load
from openeo_nc.ml.predicting import evaluate, predict, probabilities
from openeo_nc.ml.saving import save

CLASSES, NUMBERS = "classification", "regression"
KINDS = {
    "forest": learners.forest(CLASSES, "sqrt", 5, 1),
    "forest of numbers": learners.forest(NUMBERS, "all", 5, 1),
    "linear": learners.linear(CLASSES, 1.0),
    "linear of numbers": learners.linear(NUMBERS, 1.0),
    "mlp": learners.mlp([5, 4], "tanh", [0.1, 0.0], 2, 16, 0.01, 1),
}


@pytest.fixture
def cube():
    return labelled_cubes.cube()


@pytest.fixture(autouse=True)
def here():
    with dask.config.set(scheduler="sync"):
        yield


def trained(cube, learner=KINDS["linear"]):
    make = labelled_cubes.classes if learner.task == CLASSES else labelled_cubes.numbers
    return fit(learner, cube, "cover", make(cube))


def saved(model, folder, name="cover"):
    with output_folder(folder, exist_ok=True) as outputs:
        save(model, name)
    return outputs.saved[0].path


def test_a_cube_of_predictions_is_what_the_model_says_of_each_vector(cube):
    model = trained(cube)
    found = predict(cube, model)
    assert found.dims == ("t", "predictions", "y", "x")
    assert found.dtype == np.float32
    assert found.rio.crs == cube.rio.crs
    assert found.attrs == {}  # which classes a raster holds is known later
    x = np.moveaxis(cube.values, 1, -1)
    good = np.isfinite(x).all(axis=-1)
    assert not good.all()
    assert np.array_equal(np.isfinite(found.values[:, 0]), good)
    assert np.array_equal(
        found.values[:, 0][good], evaluate(model.fitted.compute(), x[good], "value")[:, 0]
    )
    other = cube.isel(embedding=[3, 1, 0, 2, 5, 4]).transpose("y", "x", "embedding", "t")
    again = predict(other, model).transpose(*found.dims)
    assert np.array_equal(again.values, found.values, equal_nan=True)


def test_names_of_classes_are_in_attributes_and_labels(cube):
    points = labelled_cubes.points(cube, labelled_cubes.classes(cube))
    model = fit(KINDS["forest"], cube, "cover", points)
    assert predict(cube, model).attrs == {
        "flag_values": [0, 1, 2], "flag_meanings": "crops forest water",
    }  # fmt: skip
    found = probabilities(cube, model)
    assert list(found.classes.values) == ["crops", "forest", "water"]
    total = found.sum("classes", skipna=False).values
    assert np.allclose(total[np.isfinite(total)], 1, atol=1e-6)


def test_one_task_a_chunk_and_none_now(cube):
    model = trained(cube)
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = predict(cube, model)
    assert found.data.npartitions == cube.data.npartitions


def test_other_data_is_refused(cube):
    model = trained(cube)
    with pytest.raises(BandMismatchError, match="lacks e005"):
        predict(cube.isel(embedding=slice(0, 5)), model)
    told = {"id": "test-model", "version": "1", "weights_sha256": "cd" * 32}
    with pytest.raises(MlModelUnsuitableError, match="do not compare"):
        predict(cube.assign_attrs({"nc:model": json.dumps(told)}), model)
    with pytest.raises(MlModelUnsuitableError, match="save the model"):
        probabilities(cube, model)
    with pytest.raises(MlModelUnsuitableError, match="no probabilities"):
        probabilities(cube, trained(cube, KINDS["linear of numbers"]))
    with pytest.raises(InvalidParameterError, match="ml_fit"):
        predict(cube, KINDS["linear"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_loaded_says_the_same(cube, tmp_path, kind):
    model = trained(cube, KINDS[kind])
    place = saved(model, tmp_path)
    assert sorted(path.name for path in place.parent.iterdir()) == ["cover.json", "cover.weights"]
    with dask.config.set(scheduler=fakes.raising_scheduler):
        again = load(str(place))
    assert again.classes == model.fitted.compute().classes
    assert np.array_equal(predict(cube, again).values, predict(cube, model).values, equal_nan=True)
    assert again.subject == model.subject
    if KINDS[kind].task == CLASSES:
        assert list(probabilities(cube, again).classes.values) == ["3", "7", "20"]


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_as_the_extension_says(cube, tmp_path, kind, schemas):  # noqa: F811
    item = json.loads(saved(trained(cube, KINDS[kind]), tmp_path).read_text())
    schemas("mlm-v1.5.json").validate(item)
    schemas(STAC_1_1).validate(item)


def test_nothing_that_is_there_is_replaced(cube, tmp_path):
    model = trained(cube)
    saved(model, tmp_path)
    with pytest.raises(OutputExistsError):
        saved(model, tmp_path)
    with pytest.raises(InvalidParameterError, match="letters"):
        save(model, "../cover")


def rewritten(place, change):
    """The Item of a model whose arrays are changed, with the right hash."""
    import hashlib

    weights = place.with_suffix(".weights")
    arrays = safetensors.numpy.load(weights.read_bytes())
    change(arrays)
    data = safetensors.numpy.save(arrays)
    weights.write_bytes(data)
    item = json.loads(place.read_text())
    item["assets"]["model"]["file:checksum"] = "1220" + hashlib.sha256(data).hexdigest()
    place.write_text(json.dumps(item))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.update(left=np.zeros_like(a["left"])),
        lambda a: a.update(right=a["right"] + 10**6),
        lambda a: a.update(feature=a["feature"] + 100),
        lambda a: a.update(feature=a["feature"].astype(np.float32)),
        lambda a: a.update(roots=a["roots"] - 10**6),
        lambda a: a.update(threshold=a["threshold"] * np.nan),
        lambda a: a.update(value=a["value"][:, :1].copy()),
        lambda a: a.update(value=a["value"][:-1].copy()),
        lambda a: a.pop("value"),
        lambda a: a.update(more=a["value"]),
    ],
)
def test_forests_that_are_none_are_told_before_they_are_walked(cube, tmp_path, change):
    place = saved(trained(cube, KINDS["forest"]), tmp_path)
    rewritten(place, change)
    with pytest.raises(WeightsInvalidError):
        predict(cube, load(str(place))).compute()


def test_damage_is_told(cube, tmp_path):
    place = saved(trained(cube), tmp_path)
    weights = place.with_suffix(".weights")
    data = weights.read_bytes()
    for broken in (data[:-1], b"", data[:50] + bytes([data[50] ^ 1]) + data[51:]):
        weights.write_bytes(broken)
        with pytest.raises(WeightsInvalidError, match="hash"):
            predict(cube, load(str(place))).compute()
    weights.unlink()
    with pytest.raises(WeightsNotFoundError):
        predict(cube, load(str(place))).compute()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nc:learner", "pickle"), ("nc:features", []), ("nc:classes", [1.5, 2]),
        ("mlm:hyperparameters", None), ("mlm:tasks", ["detection"]), ("nc:classes", ["a"]),
    ],
)  # fmt: skip
def test_items_that_say_too_little_are_refused(cube, tmp_path, key, value):
    place = saved(trained(cube), tmp_path)
    item = json.loads(place.read_text())
    item["properties"][key] = value
    place.write_text(json.dumps(item))
    with pytest.raises(CardInvalidError):
        load(str(place))
    item["assets"] = {}
    with pytest.raises(CardInvalidError):
        place.write_text(json.dumps(item))
        load(str(place))


def test_a_graph_trains_saves_and_maps_and_another_one_loads(tmp_path, monkeypatch):
    cube = labelled_cubes.cube()
    with output_folder(tmp_path / "vectors") as outputs:
        from openeo_nc.processes.save_result import save_result

        save_result(cube, "ZARR", {"quantization": "float32"})
    store = str(outputs.saved[0].path)
    points = labelled_cubes.points(cube, labelled_cubes.classes(cube))
    graph = {
        "load": {"process_id": "load_embeddings", "arguments": {"url": store}},
        "forest": {"process_id": "mlm_class_random_forest",
                   "arguments": {"max_variables": "sqrt", "num_trees": 5, "seed": 1}},
        "fit": {"process_id": "ml_fit", "arguments": {
            "model": {"from_node": "forest"}, "training_set": {"from_node": "load"},
            "target": "cover", "labels": points}},
        "map": {"process_id": "ml_predict", "arguments": {
            "data": {"from_node": "load"}, "model": {"from_node": "fit"}}},
        "tif": {"process_id": "save_result", "arguments": {
            "data": {"from_node": "map"}, "format": "ZARR"}},
        "save": {"process_id": "save_ml_model", "result": True, "arguments": {
            "data": {"from_node": "fit"}, "name": "cover"}},
    }  # fmt: skip
    results = run_graph(graph, tmp_path / "out")
    item = next(one["path"] for one in results if one["format"] == "MLM")
    first = xr.open_zarr(next(one["path"] for one in results if one["format"] == "ZARR"))
    again = execute(
        {
            "load": graph["load"],
            "model": {"process_id": "load_ml_model", "arguments": {"id": item}},
            "map": {"process_id": "ml_predict", "result": True, "arguments": {
                "data": {"from_node": "load"}, "model": {"from_node": "model"}}},
        }
    )  # fmt: skip
    (name,) = first.data_vars
    assert np.array_equal(first[name].values, again.values, equal_nan=True)
    assert Path(item).is_file()
