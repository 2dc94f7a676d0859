"""MLM Items become cards, valid against the extension's schema; what they lack is told."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import dask
import encoders
import fakes
import jsonschema
import numpy as np
import pytest
from referencing import Registry, Resource

from openeo_nc import errors
from openeo_nc.cubes import addresses
from openeo_nc.cubes.encoders import load_encoder
from openeo_nc.graphs.execute import execute
from openeo_nc.graphs.served import Serving, served_registry
from openeo_nc.models.files import FOLDER_VARIABLE
from openeo_nc.models.mlm import card_of_item
from openeo_nc.models.registry import open_model


@contextmanager
def served(folder):
    """A folder at a URL of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


HREF = "https://example.org/models/item.json"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "encoder.onnx"
    encoders.write_onnx(path)
    return path


@pytest.fixture
def item(file):
    return encoders.mlm_item(file)


def written(item, file):
    path = file.with_name("item.json")
    path.write_text(json.dumps(item))
    return path


@pytest.mark.realdata
@pytest.mark.parametrize("kind", ["map", "tokens", "pooled"])
def test_the_items_of_these_tests_are_mlm_items(shared_data, file, kind):
    schema = json.loads((shared_data.parent / "schemas" / "mlm-v1.5.json").read_text())
    kinds = {"bands": {"items": {"properties": {"data_type": {"type": "string"}}}}}
    fields = {"properties": {"processing:expression": {}, "classification:classes": {}}}
    draft = "http://json-schema.org/draft-07/schema#"
    other = {"$schema": draft, "definitions": {**kinds, "fields": fields}}  # other extensions
    found = Registry(retrieve=lambda uri: Resource.from_contents(other))
    validator = jsonschema.Draft7Validator(schema, registry=found)
    item = encoders.mlm_item(file, kind=kind)
    validator.validate(item)
    del item["properties"]["mlm:output"]
    assert not validator.is_valid(item)


def test_a_card_is_what_the_item_says(item):
    card = card_of_item(item, HREF)
    assert card.model_id == "test-encoder"
    assert card.bands == encoders.BANDS
    assert (card.mean, card.std) == (encoders.MEAN, encoders.STD)
    assert (card.dim, card.stride, card.chip, card.margin) == (6, 8, 64, 8)
    assert (card.scale, card.resolution, card.pooling) == (0.0001, 10.0, "none")
    assert card.architecture == "onnx_model"
    assert card.source["href"] == "https://example.org/models/encoder.onnx"


@pytest.mark.parametrize(
    ("artifact", "kind"),
    [
        ("onnx", "map"), ("onnx", "tokens"), ("onnx", "pooled"),
        ("torch.jit.save", "map"), ("torch.jit.save", "tokens"),
    ],
)  # fmt: skip
def test_a_graph_runs_an_item(tmp_path, kind, artifact):
    file = tmp_path / "encoder"
    if artifact == "onnx":
        encoders.write_onnx(file, kind=kind)
    else:
        encoders.write_torchscript(file, tokens=kind == "tokens")
    item = encoders.mlm_item(file, kind=kind, artifact=artifact)
    if artifact != "onnx":
        item["properties"]["mlm:framework"] = "PyTorch"
    uri = str(written(item, file))
    graph = {
        "model": {"process_id": "load_stac_ml", "arguments": {"uri": uri}},
        "embed": {
            "process_id": "encode_embedding",
            "arguments": {
                "data": {"from_parameter": "data"}, "model": {"from_node": "model"},
                "quantization": "float32",
            },
            "result": True,
        },
    }  # fmt: skip
    side = encoders.CHIP
    cube = fakes.cube(3 * side, 3 * side, bands=encoders.BANDS, dates=1, x0=0.0, y0=10.0 * 384 * 13)
    with dask.config.set(scheduler="synchronous"):
        found = execute(graph, parameters={"data": cube}).values[0]
    exact = encoders.expected(cube.values.astype("f4"))[0]
    if kind == "pooled":
        exact = exact.reshape(6, 3, 8, 3, 8).mean(axis=(2, 4))
    rows, columns = exact.shape[1:]
    np.testing.assert_allclose(found[:, :rows, :columns], exact, rtol=1e-3, atol=1e-4)
    assert np.isnan(found[:, rows:]).all()


@pytest.mark.parametrize(
    ("rules", "mean", "std"),
    [
        (None, 0.0, 1.0),
        ([{"type": "min-max", "minimum": 10, "maximum": 60}], 10.0, 50.0),
        ([{"type": "offset", "value": -1000}], -1000.0, 1.0),
        ([{"type": "scale", "value": 10000}], 0.0, 10000.0),
    ],
)
def test_scaling_is_a_mean_and_a_deviation(item, rules, mean, std):
    item["properties"]["mlm:input"][0]["value_scaling"] = rules
    card = card_of_item(item, HREF)
    assert (card.mean, card.std) == ((mean,) * 4, (std,) * 4)


def test_what_mlm_has_no_field_for(item):
    item["properties"] |= {"nc:margin": 16, "nc:unit_norm": True}
    card = card_of_item(item, HREF)
    assert card.margin == 16
    assert card.unit_norm


def _without(path):
    def change(item):
        *parents, last = path
        for name in parents:
            item = item[name]
        del item[last]

    return change


def _with(path, value):
    def change(item):
        *parents, last = path
        for name in parents:
            item = item[name]
        item[last] = value

    return change


INPUT, RESULT = ("properties", "mlm:input", 0), ("properties", "mlm:output", 0, "result")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without(("properties", "mlm:input")), "mlm:input"),
        (_with((*INPUT, "bands"), ["B02"]), "names of bands"),
        (_with((*INPUT, "input", "dim_order"), ["batch", "height", "width", "bands"]), "expected"),
        (_with((*INPUT, "input", "shape"), [-1, 4, 64, 32]), "64 x 32"),
        (_with((*INPUT, "value_scaling"), [{"type": "clip", "minimum": 0, "maximum": 1}]), "clip"),
        (_with((*RESULT, "shape"), [-1, -1, 8, 8]), "no size"),
        (_with((*RESULT, "shape"), [-1, 6, 8]), "lengths"),
        (_with(("assets", "model", "roles"), ["data"]), "role"),
        (_without(("assets", "model", "file:checksum")), "file:checksum"),
        (_with(("assets", "model", "file:size"), 1 << 40), "bytes"),
    ],
)
def test_what_an_item_lacks_is_told(item, change, told):
    change(item)
    with pytest.raises(errors.CardInvalidError, match=told):
        card_of_item(item, HREF)


@pytest.mark.parametrize(
    ("field", "key", "value"),
    [
        ("mlm:input", "pre_processing_function", {"format": "python", "expression": "a.b:c"}),
        ("mlm:output", "post_processing_function", {"format": "python", "expression": "a.b:c"}),
        ("mlm:input", "resize_type", "interpolation-linear"),
    ],
)
def test_what_would_change_vectors_is_not_passed_over(item, field, key, value):
    item["properties"][field][0][key] = value
    with pytest.raises(errors.CardInvalidError, match=r"resized|" + key):
        card_of_item(item, HREF)
    item["properties"][field][0][key] = None
    card_of_item(item, HREF)


def test_other_kinds_of_files_are_refused(item):
    item["assets"]["model"] |= {"mlm:artifact_type": "torch.save", "href": "./weights.pt"}
    item["properties"]["mlm:framework"] = "PyTorch"
    with pytest.raises(errors.CardInvalidError, match="neither ONNX nor TorchScript"):
        card_of_item(item, HREF)


def test_a_changed_file_is_refused(item, file):
    card = load_encoder(str(written(item, file)))
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(errors.WeightsInvalidError, match="SHA-256"):
        open_model(card)


def test_files_on_the_web_are_fetched_once(item, file, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "kept"))
    written(item, file)
    with served(tmp_path) as url:
        card = load_encoder(f"{url}/item.json")
        chips = np.full((1, 4, 64, 64), 900.0, "f4")
        first = open_model(card).embed(chips)
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == card.weights_sha256
    np.testing.assert_allclose(first, encoders.expected(chips), rtol=1e-3, atol=1e-4)


def test_servers_read_models_of_their_operators_hosts_only():
    with (
        addresses.public_only(frozenset({"models.example"})),
        pytest.raises(errors.AddressRefusedError, match="trusts"),
    ):
        load_encoder("https://elsewhere.example/item.json")
    with addresses.public_only(), pytest.raises(errors.AddressRefusedError, match="trusts"):
        load_encoder("/etc/item.json")


def test_servers_read_models_of_hosts_that_they_are_told(item, file, tmp_path):
    written(item, file)
    with served(tmp_path) as url:
        serving = Serving(model_hosts=("127.0.0.1",))
        assert Serving.from_json(serving.to_json()) == serving
        node = {
            "process_id": "load_ml_model",
            "arguments": {"id": f"{url}/item.json"},
            "result": True,
        }
        card = execute({"load": node}, registry=served_registry(serving))
        assert card.model_id == "test-encoder"
        with pytest.raises(errors.AddressRefusedError, match="no public address"):
            execute({"load": node}, registry=served_registry(Serving(hosts=("127.0.0.1",))))
