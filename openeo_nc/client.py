"""Adds the processes of this package to cubes of the openEO Python client, with right metadata.

`cube.process("encode_embedding")` keeps the metadata of its parent, so that the client would later
refuse `reduce_dimension("embedding")` and offer bands that are gone. These functions say what the
result really has. They build process graphs only, for remote and local connections alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo.internal.graph_building import PGNode
from openeo.metadata import (
    Band,
    BandDimension,
    CubeMetadata,
    Dimension,
    SpatialDimension,
    TemporalDimension,
)
from openeo.rest.job import BatchJob
from openeo.rest.mlmodel import MlModel

from openeo_nc.codecs import registry
from openeo_nc.cubes.dims import CLASSES, PREDICTIONS
from openeo_nc.cubes.encoders import known_model
from openeo_nc.errors import CodecNotFoundError, OpenEONCError
from openeo_nc.models.layout import labels_of

if TYPE_CHECKING:
    from openeo.rest.datacube import DataCube

__all__ = [
    "compress_cube",
    "compression_quality",
    "decode_embedding",
    "encode_embedding",
    "load_embeddings",
    "load_ml_model",
    "load_stac",
    "ml_fit",
    "ml_model",
    "ml_predict",
    "ml_predict_probabilities",
    "save_ml_model",
    "save_result",
]

EMBEDDING, BANDS = "embedding", "bands"


def compress_cube(
    cube: DataCube,
    codec: str = "auto",
    quality: float | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    target_psnr: float | None = None,
    target_ratio: float | None = None,
    max_error: float | Sequence[float] | None = None,
) -> DataCube:
    """The process compress_cube on a cube; dimensions stay as they are."""
    bounds = list(max_error) if isinstance(max_error, Sequence) else max_error
    given = {
        "codec": codec, "quality": quality, "target_psnr": target_psnr,
        "target_ratio": target_ratio, "max_error": bounds, "options": options,
    }  # fmt: skip
    return cube.process("compress_cube", _arguments(cube, given))


def compression_quality(
    cube: DataCube, reference: DataCube, options: Mapping[str, Any] | None = None
) -> DataCube:
    """The process compression_quality on a cube and its original; only `save_result` follows it.

    The result is an object, which the client has a class for only as the end of a graph.
    """
    return cube.process(
        "compression_quality", _arguments(cube, {"reference": reference, "options": options})
    )


def encode_embedding(
    cube: DataCube,
    model: str,
    quality: float | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    quantization: str | None = None,
) -> DataCube:
    """The process encode_embedding on a cube; the result has the dimension `embedding`.

    Its labels are known where the model is installed here or its Item can be read; else the
    dimension has none in the client, and the backend knows them.
    """
    given = {
        "model": model, "quality": quality, "quantization": quantization, "options": options,
    }  # fmt: skip
    labels = _embedding_labels(model, _band_names(cube))
    metadata = _with_bands(cube, EMBEDDING, labels)
    return cube.process("encode_embedding", _arguments(cube, given), metadata=metadata)


def decode_embedding(cube: DataCube, bands: Sequence[str] | None = None) -> DataCube:
    """The process decode_embedding on a cube of embeddings; the result has the dimension `bands`."""
    chosen = None if bands is None else list(bands)
    labels = chosen or _encoded_bands(cube)
    metadata = _with_bands(cube, BANDS, labels)
    return cube.process("decode_embedding", _arguments(cube, {"bands": chosen}), metadata=metadata)


def save_result(
    cube: DataCube, format: str = "ZARR", options: Mapping[str, Any] | None = None
) -> DataCube:
    """The process save_result on a cube.

    `cube.save_result` asks its connection for output formats, which local ones do not list.
    """
    return cube.process("save_result", _arguments(cube, {"format": format, "options": options}))


def load_embeddings(connection: Any, url: str, **arguments: Any) -> DataCube:
    """The process load_embeddings on a local connection, with the labels that are really there.

    Reads metadata, no vectors.
    """
    from openeo_nc.processes.load_embeddings import load_embeddings as load

    return _loaded(connection, load, {"url": url, **arguments})


def load_stac(connection: Any, url: str, **arguments: Any) -> DataCube:
    """The process load_stac on a local connection, with the labels that the items really have.

    Reads the STAC metadata, no pixels. `connection.load_stac` would read them with the
    implementation of openeo-processes-dask, which validates against schemas on the network.
    """
    from openeo_nc.processes.load_stac import load_stac as load

    return _loaded(connection, load, {"url": url, **arguments})


def _loaded(connection: Any, load: Callable[..., Any], arguments: Mapping[str, Any]) -> DataCube:
    """What a process of a local connection loads, and metadata of what it really is."""
    given = {name: v for name, v in arguments.items() if v is not None}
    cube: DataCube = connection.datacube_from_process(load.__name__, **given)
    loaded = load(**given)
    dims: list[Dimension] = []
    for name in map(str, loaded.dims):
        values = loaded[name].values
        if name in {"x", "y"}:
            extent = [float(values.min()), float(values.max())]
            dims.append(SpatialDimension(name=name, extent=extent))
        elif name == "t":
            dims.append(TemporalDimension(name=name, extent=[str(values[0]), str(values[-1])]))
        else:
            dims.append(BandDimension(name=name, bands=_bands(map(str, values))))
    cube.metadata = CubeMetadata(dimensions=dims)  # type: ignore[assignment]  # all that it reads
    return cube


def ml_model(connection: Any, process_id: str, **arguments: Any) -> MlModel:
    """A model that is to be trained, e.g. of the process `mlm_class_random_forest`."""
    return _model(connection, process_id, arguments)


def ml_fit(
    model: MlModel,
    training_set: DataCube,
    target: str,
    labels: Mapping[str, Any] | DataCube | None = None,
) -> MlModel:
    """The process ml_fit: the model, trained on a cube and labels (GeoJSON or a cube)."""
    given = {"model": model, "training_set": training_set, "target": target, "labels": labels}
    return _model(model._connection, "ml_fit", given)


def ml_predict(cube: DataCube, model: MlModel) -> DataCube:
    """The process ml_predict; the result has the dimension `predictions`."""
    metadata = _with_bands(cube, PREDICTIONS, ["0"])
    return cube.process("ml_predict", _arguments(cube, {"model": model}), metadata=metadata)


def ml_predict_probabilities(
    cube: DataCube, model: MlModel, classes: Sequence[str] = ()
) -> DataCube:
    """The process ml_predict_probabilities; the result has the dimension `classes`.

    Its labels are known in the client where they are given.
    """
    metadata = _with_bands(cube, CLASSES, classes)
    arguments = _arguments(cube, {"model": model})
    return cube.process("ml_predict_probabilities", arguments, metadata=metadata)


def save_ml_model(model: MlModel, name: str) -> MlModel:
    """The process save_ml_model; run it as a batch job (`execute_batch`, `create_job`)."""
    return _model(model._connection, "save_ml_model", {"data": model, "name": name})


def load_ml_model(connection: Any, model: str | BatchJob) -> MlModel:
    """The process load_ml_model: of an id, an address, or the one model that a finished job saved."""
    if isinstance(model, str):
        return _model(connection, "load_ml_model", {"id": model})
    links = model.get_results().get_metadata()["links"]
    place = next(link["href"] for link in links if link["rel"] == "canonical")
    return _model(connection, "load_ml_model", {"id": place})


def _model(connection: Any, process_id: str, arguments: Mapping[str, Any]) -> MlModel:
    given = {name: value for name, value in arguments.items() if value is not None}
    return MlModel(graph=PGNode(process_id, arguments=given), connection=connection)


def _arguments(cube: DataCube, given: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": cube, **{name: value for name, value in given.items() if value is not None}}


def _with_bands(cube: DataCube, name: str, labels: Sequence[str]) -> CubeMetadata:
    """The cube's metadata with one dimension of type bands in place of all it has."""
    known = None if cube.metadata is None else cube.metadata._dimensions
    dims: list[Dimension]
    if known is None:
        dims = [SpatialDimension(name=axis, extent=[]) for axis in ("x", "y")]
        dims.append(TemporalDimension(name="t", extent=[]))
    else:
        dims = [dim for dim in known if not isinstance(dim, BandDimension)]
    return CubeMetadata(dimensions=[*dims, BandDimension(name=name, bands=_bands(labels))])


def _bands(labels: Any) -> list[Band]:
    return [Band(name=label) for label in labels]


def _band_names(cube: DataCube) -> tuple[str, ...]:
    if cube.metadata is not None and cube.metadata.has_band_dimension():
        return tuple(cube.metadata.band_names)
    return ()


def _embedding_labels(model: str, bands: tuple[str, ...]) -> list[str]:
    try:
        card = known_model(model)
        dim = (
            registry.choose(model, bands, embedding=True).latent_channels
            if card is None
            else card.dim
        )
    except OpenEONCError:  # a model of the backend, or an Item that only the backend can read
        return []
    return labels_of(dim or 0)


def _encoded_bands(cube: DataCube) -> list[str]:
    """Bands that the model takes whose encode_embedding the cube's graph holds, as far as known."""
    for node in cube.result_node().walk_nodes():
        if node.process_id == "encode_embedding":
            try:
                return list(registry.get_card(node.arguments["model"]).bands or ())
            except CodecNotFoundError:
                return []
    return []
