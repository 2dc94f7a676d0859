"""Small encoders as other libraries have them, made by tests: files, a registry, an Item."""

from __future__ import annotations

import hashlib
import json
import sys
import types
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

BANDS = ("B02", "B03", "B04", "B8A")
STRIDE, DIM, CHIP = 8, 6, 64
MEAN, STD = (800.0, 900.0, 1000.0, 2500.0), (400.0, 450.0, 500.0, 900.0)


def kernel():
    """Weights `(dim, bands, stride, stride)` of a convolution that is all that these encoders do."""
    return np.random.default_rng(7).normal(0, 0.1, (DIM, len(BANDS), STRIDE, STRIDE)).astype("f4")


def expected(x):
    """What they give of chips, computed by NumPy: the mean stands for no data."""
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (MEAN, STD))
    x = np.nan_to_num((x - mean) / std)
    n, bands, height, width = x.shape
    cells = x.reshape(n, bands, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return np.einsum("nbysxr,dbsr->ndyx", cells, kernel())


def document(architecture, **changes):
    """A card of such an encoder."""
    return {
        "model_id": f"test-{architecture.replace('_', '-')}",
        "title": "A test's", "description": "A test's.", "architecture": architecture,
        "version": "1", "bands": BANDS, "units": "reflectance x 10000", "scale": 0.0001,
        "mean": MEAN, "std": STD, "resolution": 10.0, "dim": DIM, "stride": STRIDE, "chip": CHIP,
        "margin": STRIDE, "licence": "Apache-2.0", **changes,
    }  # fmt: skip


def write_torchscript(path, *, tokens=False):
    """The encoder as a TorchScript file; gives its SHA-256."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = torch.nn.Conv2d(len(BANDS), DIM, STRIDE, STRIDE, bias=False)
            self.patches.weight = torch.nn.Parameter(torch.from_numpy(kernel()))

        def forward(self, x):
            found = self.patches(x)
            if not tokens:
                return found
            rows = found.flatten(2).transpose(1, 2)
            return torch.cat([rows.mean(1, keepdim=True), rows], dim=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Encoder().eval(), torch.zeros(2, len(BANDS), CHIP, CHIP))
        traced.save(str(path))
    return digest(path)


def write_onnx(path, *, kind="map", batch="n"):
    """The encoder as an ONNX file: a `map`, `tokens`, or `pooled` vectors; gives its SHA-256."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(kernel(), "kernel")]
    nodes = [helper.make_node("Conv", ["pixels", "kernel"], ["map"], strides=[STRIDE, STRIDE])]
    side = CHIP // STRIDE
    shape = [batch, DIM, side, side]
    if kind == "tokens":
        weights.append(numpy_helper.from_array(np.array([0, DIM, -1], np.int64), "flat"))
        nodes += [
            helper.make_node("Reshape", ["map", "flat"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        ]
        shape = [batch, side * side, DIM]
    elif kind == "pooled":
        weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
        nodes.append(helper.make_node("ReduceMean", ["map", "axes"], ["pooled"], keepdims=0))
        shape = [batch, DIM]
    given = helper.make_tensor_value_info(
        "pixels", TensorProto.FLOAT, [batch, len(BANDS), CHIP, CHIP]
    )
    found = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "encoder", [given], [found], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return digest(path)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mlm_item(file, *, kind="map", artifact="onnx", **properties):
    """An MLM Item that describes the encoder in a file beside it."""
    side = CHIP // STRIDE
    results = {
        "map": ([-1, DIM, side, side], ["batch", "embedding", "height", "width"]),
        "tokens": ([-1, side * side, DIM], ["batch", "token", "embedding"]),
        "pooled": ([-1, DIM], ["batch", "embedding"]),
    }
    shape, order = results[kind]
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": "Test_Encoder",
        "stac_extensions": [
            "https://stac-extensions.github.io/mlm/v1.5.2/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
        "geometry": None, "links": [],
        "properties": {
            "datetime": None, "start_datetime": "1900-01-01T00:00:00Z",
            "end_datetime": "9999-12-31T23:59:59Z", "version": "1", "license": "Apache-2.0",
            "mlm:name": "Test encoder", "mlm:architecture": "Convolution",
            "mlm:tasks": ["similarity-search"], "mlm:framework": "ONNX",
            "bands": [{"name": name} for name in BANDS], "gsd": 10.0,
            "mlm:input": [{
                "name": "pixels", "bands": list(BANDS), "resize_type": None,
                "input": {
                    "shape": [-1, len(BANDS), CHIP, CHIP],
                    "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32",
                },
                "value_scaling": [
                    {"type": "z-score", "mean": m, "stddev": s}
                    for m, s in zip(MEAN, STD, strict=True)
                ],
            }],
            "mlm:output": [{
                "name": "vectors", "tasks": ["similarity-search"],
                "result": {"shape": shape, "dim_order": order, "data_type": "float32"},
            }],
            "nc:scale": 0.0001, **properties,
        },
        "assets": {
            "model": {
                "href": f"./{file.name}", "type": "application/octet-stream",
                "title": "The network", "roles": ["mlm:model"], "mlm:artifact_type": artifact,
                "bands": [{"name": name} for name in BANDS],
                "file:checksum": f"1220{digest(file)}", "file:size": file.stat().st_size,
            }
        },
    }  # fmt: skip


class FakeRegistry:
    """As TerraTorch's BACKBONE_REGISTRY: `in`, and `build(name, pretrained=, ckpt_path=, ...)`."""

    def __init__(self):
        self.built = []

    def __contains__(self, name):
        return name in ("terratorch_fake_vit", "terratorch_fake_tokens")

    def build(self, name, *, pretrained=False, ckpt_path=None, **arguments):
        import torch

        self.built.append((name, pretrained, ckpt_path, arguments))

        class Backbone(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.patches = torch.nn.Conv2d(len(BANDS), DIM, STRIDE, STRIDE, bias=False)
                if pretrained:
                    self.load_state_dict(torch.load(ckpt_path, weights_only=True))

            def forward(self, x, temporal_coords=None, location_coords=None):
                self.told = temporal_coords, location_coords
                if x.ndim == 5:
                    x = x.mean(2)
                rows = self.patches(x).flatten(2).transpose(1, 2)
                if name == "terratorch_fake_vit":  # as Prithvi: a class token first
                    rows = torch.cat([rows.mean(1, keepdim=True), rows], dim=1)
                return [rows * 0, rows]

        if name == "terratorch_fake_vit":

            def to_map(self, features):
                side = int((features[0].shape[1] - 1) ** 0.5)
                return [f[:, 1:].transpose(1, 2).unflatten(2, (side, side)) for f in features]

            Backbone.prepare_features_for_image_model = to_map
        return Backbone()


def install_terratorch(monkeypatch):
    """The fake in TerraTorch's place; gives its registry."""
    registry = FakeRegistry()
    module = types.ModuleType("terratorch.registry")
    module.BACKBONE_REGISTRY = registry
    monkeypatch.setitem(sys.modules, "terratorch", types.ModuleType("terratorch"))
    monkeypatch.setitem(sys.modules, "terratorch.registry", module)
    return registry


def write_checkpoint(path):
    """Weights of the fake backbone as torch has them; gives their SHA-256."""
    import torch

    torch.save({"patches.weight": torch.from_numpy(kernel())}, path)
    return digest(path)


@dataclass
class Embedding:
    """As rs-embed's."""

    data: np.ndarray
    meta: dict


@dataclass(frozen=True)
class OutputSpec:
    mode: str

    @staticmethod
    def grid():
        return OutputSpec("grid")

    @staticmethod
    def pooled():
        return OutputSpec("pooled")


@dataclass(frozen=True)
class PointBuffer:
    lon: float
    lat: float
    buffer_m: float


@dataclass(frozen=True)
class TemporalSpec:
    start: str
    end: str

    @staticmethod
    def range(start, end):
        return TemporalSpec(start, end)


class FakeEmbedder:
    """As an embedder of rs-embed: raw numbers in, normalised by itself, `(d, y, x)` out."""

    calls: ClassVar[list] = []
    providers: ClassVar[dict] = {}

    def get_embedding(
        self, *, spatial, temporal, sensor, output, backend, device="auto", input_chw=None,
        model_config=None,
    ):  # fmt: skip
        provider = self.providers[backend]()  # as some models do, even when they get pixels
        provider.ensure_ready()
        self.calls.append((spatial, temporal, provider, device, model_config))
        found = expected(input_chw[None])[0]
        return Embedding(found if output.mode == "grid" else found.mean((1, 2)), {})


class FakeProvider:
    """As the base of rs-embed's providers: nothing is there."""

    def ensure_ready(self):
        raise NotImplementedError

    def fetch_array_chw(self, **_):
        raise NotImplementedError


def install_rs_embed(monkeypatch):
    """The fake in rs-embed's place; gives its embedder class."""
    FakeEmbedder.calls = []
    FakeEmbedder.providers |= {"gee": FakeProvider, "auto": FakeProvider}
    library = types.ModuleType("rs_embed")
    library.OutputSpec, library.PointBuffer = OutputSpec, PointBuffer
    library.TemporalSpec = TemporalSpec
    registry = types.ModuleType("rs_embed.core.registry")

    def get_embedder_cls(name):
        if name != "fake":
            raise RuntimeError(f"Unknown model '{name}'")
        return FakeEmbedder

    registry.get_embedder_cls = get_embedder_cls
    providers = types.ModuleType("rs_embed.providers")
    providers.ProviderBase = FakeProvider
    providers.register_provider = FakeEmbedder.providers.__setitem__
    monkeypatch.setitem(sys.modules, "rs_embed.providers", providers)
    monkeypatch.setitem(sys.modules, "rs_embed", library)
    monkeypatch.setitem(sys.modules, "rs_embed.core", types.ModuleType("rs_embed.core"))
    monkeypatch.setitem(sys.modules, "rs_embed.core.registry", registry)
    return FakeEmbedder


def write_radar(folder, kernel, bands, mean, std, chip):
    """A convolution `(dim, bands, stride, stride)` of other bands: TorchScript and its Item."""
    import torch

    dim, count, stride, _ = kernel.shape
    network = torch.nn.Conv2d(count, dim, stride, stride, bias=False)
    network.weight = torch.nn.Parameter(torch.from_numpy(kernel))
    path = folder / "encoder.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network.eval(), torch.zeros(2, count, chip, chip)).save(str(path))
    item = mlm_item(path, artifact="torch.jit.save")
    told, side = item["properties"], chip // stride
    given, result = told["mlm:input"][0], told["mlm:output"][0]["result"]
    named = [{"name": name} for name in bands]
    told |= {"bands": named, "mlm:framework": "PyTorch", "nc:margin": stride}
    del told["nc:scale"]
    given["bands"], given["input"]["shape"] = list(bands), [-1, count, chip, chip]
    given["value_scaling"] = [
        {"type": "z-score", "mean": m, "stddev": s} for m, s in zip(mean, std, strict=True)
    ]
    result["shape"] = [-1, dim, side, side]
    item["assets"]["model"]["bands"] = named
    (folder / "item.json").write_text(json.dumps(item))
