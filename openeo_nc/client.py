"""Adds the processes of this package to cubes of the openEO Python client, with right metadata.

`cube.process("encode_embedding")` keeps the metadata of its parent, so that the client would later
refuse `reduce_dimension("embedding")` and offer bands that are gone. These functions say what the
result really has. They build process graphs only, for remote and local connections alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo.metadata import (
    Band,
    BandDimension,
    CubeMetadata,
    Dimension,
    SpatialDimension,
    TemporalDimension,
)

from openeo_nc.codecs import registry
from openeo_nc.errors import CodecNotFoundError

if TYPE_CHECKING:
    from openeo.rest.datacube import DataCube

__all__ = ["compress_cube", "decode_embedding", "encode_embedding", "load_stac", "save_result"]

EMBEDDING, BANDS = "embedding", "bands"


def compress_cube(
    cube: DataCube,
    codec: str = "auto",
    quality: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> DataCube:
    """The process compress_cube on a cube; dimensions stay as they are."""
    given = {"codec": codec, "quality": quality, "options": options}
    return cube.process("compress_cube", _arguments(cube, given))


def encode_embedding(
    cube: DataCube,
    model: str,
    quality: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> DataCube:
    """The process encode_embedding on a cube; the result has the dimension `embedding`.

    Its labels are known where the model is installed here; else the dimension has none in the
    client, and the backend knows them.
    """
    given = {"model": model, "quality": quality, "options": options}
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


def load_stac(connection: Any, url: str, **arguments: Any) -> DataCube:
    """The process load_stac on a local connection, with the labels that the items really have.

    Reads the STAC metadata, no pixels. `connection.load_stac` would read them with the
    implementation of openeo-processes-dask, which validates against schemas on the network.
    """
    from openeo_nc.processes.load_stac import load_stac as load

    given = {"url": url, **{name: v for name, v in arguments.items() if v is not None}}
    cube: DataCube = connection.datacube_from_process("load_stac", **given)
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
        channels = registry.choose(model, bands).latent_channels
    except CodecNotFoundError:  # a model of the backend
        return []
    return [f"e{index:03d}" for index in range(channels or 0)]


def _encoded_bands(cube: DataCube) -> list[str]:
    """Bands that the model takes whose encode_embedding the cube's graph holds, as far as known."""
    for node in cube.result_node().walk_nodes():
        if node.process_id == "encode_embedding":
            try:
                return list(registry.get_card(node.arguments["model"]).bands or ())
            except CodecNotFoundError:
                return []
    return []
