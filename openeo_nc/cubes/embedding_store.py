"""Writes quantised embedding cubes as Zarr: an array of integers and, if there are any, of scales.

    embeddings  (t, embedding, y, x)   integers; `byte` or `component` where those are not dimensions
    scale       (t, y, x)              float32, of int8 and binary

Any Zarr reader opens both; the arrays' attributes say how integers become vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from rasterio.crs import CRS

from openeo_nc.codecs.views import ARRAYS
from openeo_nc.cubes import conventions
from openeo_nc.cubes.dims import EMBEDDING, T, X, Y, crs_name, crs_of
from openeo_nc.cubes.embedding_codes import (
    QUANTIZATION,
    columns,
    edges,
    lazily_dequantised,
    names_of,
    of_text,
    prepared,
    quantised,
    text_of,
)
from openeo_nc.cubes.embedding_item import (
    embedding_collection,
    embedding_item,
    geoemb,
    model_document,
)
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.inspect import RECORD, StoreReport, inspect_store
from openeo_nc.cubes.item import MODEL, ZARR_TYPE, Footprint
from openeo_nc.cubes.ledger import Written, fingerprint, known
from openeo_nc.cubes.plain import _bare, chunk_key, write_chunk
from openeo_nc.cubes.publishing import (
    StorePlan,
    keep,
    publish,
    published,
    write_json,
    written_in,
)
from openeo_nc.cubes.staging import Staging, write_metadata
from openeo_nc.cubes.task_layer import TaskLayer, block

if TYPE_CHECKING:
    import os

    from zarr.abc.store import Store

    from openeo_nc.cubes.ledger import Ledger
    from openeo_nc.models.quantisation import Quantiser

Array = npt.NDArray[Any]
EMBEDDINGS = ARRAYS["latents"]
SCALES = "scale"
COLLECTION = "collection.json"
_HOW = {
    "float32": "embeddings are the vectors.",
    "int8": "vectors = scale[:, None] * embeddings; where scale is NaN (embeddings are -128) there "
    "is no data.",
    "int8_power": "vectors = sign(embeddings) * (embeddings / 127.5)**2; -128 is no data.",
    "binary": "bits = unpackbits(embeddings, axis=1); vectors = scale[:, None] * (2 * bits - 1); "
    "where scale is NaN there is no data.",
    "rans": "vectors = mean + step * embeddings @ components, see basis and step; -2147483648 is "
    "no data.",
}
_PCA = (
    "vectors = mean + (scale[:, None] * embeddings) @ components, see basis; where scale is NaN "
    "(embeddings are -128) there is no data."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingLayout:
    """Metadata of a store of embeddings; plain values, no lazy arrays."""

    document: str
    """JSON text of the quantiser."""
    shape: tuple[int, int, int, int]
    """`(t, columns, y, x)` of the integers."""
    chunks: tuple[int, int, int, int]
    """Shape of a chunk of them."""
    dims: tuple[str, str, str, str]
    """Their dimensions."""
    attrs: Mapping[str, Any]
    """Attributes of the cube that JSON can hold."""
    coords: Mapping[str, xr.Variable]
    """Coordinates in memory."""
    footprint: Footprint
    """Where it lies."""
    size: float | None
    """Side of a patch in m, if the CRS is in such."""
    dated: bool
    """Whether the cube has t."""

    @classmethod
    def of(cls, cube: xr.DataArray, chosen: Quantiser, *, dated: bool) -> EmbeddingLayout:
        """That of a prepared cube."""
        name, found = columns(chosen, names_of(cube))
        coords = {n: c.variable for n, c in cube.coords.items() if n in cube.dims}
        coords[cube.rio.grid_mapping] = cube.coords[cube.rio.grid_mapping].variable
        coords[EMBEDDING] = xr.Variable(EMBEDDING, list(names_of(cube)))
        if name != EMBEDDING:
            coords[name] = xr.Variable(name, list(found))
        size_x, size_y = resolution_of(cube)
        crs = crs_of(cube)
        bounds = edges(cube[X].values, cube[Y].values, (size_x, size_y))
        return cls(
            document=text_of(chosen),
            shape=(cube.sizes[T], chosen.columns, cube.sizes[Y], cube.sizes[X]),
            chunks=(1, chosen.columns, cube.chunksizes[Y][0], cube.chunksizes[X][0]),
            dims=(T, name, Y, X),
            attrs={k: v for k, v in conventions.plain(cube.attrs).items() if k != QUANTIZATION},
            coords={str(n): _bare(c) for n, c in coords.items()},
            footprint=Footprint(
                crs=crs_name(crs), bounds=bounds, shape=(cube.sizes[Y], cube.sizes[X])
            ),
            size=size_x if CRS.from_user_input(crs).is_projected else None,
            dated=dated,
        )

    @property
    def chosen(self) -> Quantiser:
        """The quantiser."""
        return of_text(self.document)

    def dataset(self) -> tuple[xr.Dataset, dict[str, Any]]:
        """The store without its data, and the encoding that `to_zarr(compute=False)` takes."""
        chosen, place = self.chosen, self.footprint
        attrs: dict[str, Any] = {
            **self.attrs,
            QUANTIZATION: self.document,
            "nc:dequantization": _HOW.get(chosen.name, _PCA),
            "nc:dated": self.dated,
            **conventions.GRID_MAPPING,
        }
        data = da.zeros(self.shape, chunks=self.chunks, dtype=chosen.dtype)
        arrays: dict[str, Any] = {EMBEDDINGS: (self.dims, data, attrs)}
        encoding: dict[str, Any] = {EMBEDDINGS: {"chunks": self.chunks}}
        if chosen.scaled:
            sides = (1, *self.chunks[2:])
            scales = da.zeros((self.shape[0], *self.shape[2:]), chunks=sides, dtype=np.float32)
            told = {"long_name": "scale of a vector", **conventions.GRID_MAPPING}
            arrays[SCALES] = ((T, Y, X), scales, told)
            encoding[SCALES] = {"chunks": sides, "fill_value": np.float32(0)}
        dataset = xr.Dataset(arrays, dict(self.coords))
        spatial = conventions.spatial(place.crs, place.bounds, place.shape)
        own = geoemb(self.attrs, chosen, self.size)
        stated = [*spatial.pop("zarr_conventions"), *own.pop("zarr_conventions")]
        dataset.attrs = {"zarr_conventions": stated, **spatial, **own}
        return dataset, encoding


def plan_embedding_store(
    cube: xr.DataArray,
    chosen: Quantiser,
    path: str | os.PathLike[str] | Any,
    *,
    ledger: Ledger | None = None,
    overwrite: bool = False,
) -> StorePlan:
    """The tasks that write an embedding cube as integers, none of them run.

    Raises
    ------
    OutputExistsError, DimensionMissingError, CRSMissingError, GridMismatchError,
    FormatUnsuitableError
    """
    staging = Staging.at(path, overwrite=overwrite)
    laid = prepared(cube)
    layout = EmbeddingLayout.of(laid, chosen, dated=T in cube.dims)
    mark = fingerprint(
        layout.document, layout.shape, layout.chunks, dict(layout.attrs), layout.footprint.bounds
    )
    there = known(ledger, staging.path.name, mark)
    tasks = TaskLayer([laid.data])
    begun = tasks.add("begin", _begin, staging, layout)
    objects = []
    for index in np.ndindex(*laid.data.numblocks):
        codes = tasks.add("quantise", quantised, block(laid.data, *index), chosen, place=index)
        short = (index[0], *index[2:])
        for part, place in enumerate((index, short)[: 1 + chosen.scaled]):
            name = (EMBEDDINGS, SCALES)[part]
            key = chunk_key(name, place)
            if (found := there.get(key)) is not None:
                objects.append(tasks.add("keep", keep, staging, found, begun, place=(key,)))
                continue
            chunks = layout.chunks if part == 0 else (1, *layout.chunks[2:])
            write = partial(_write, staging, mark, name, chunks, place, part)
            objects.append(tasks.add("write", write, codes, begun, place=(key,)))
    report = tasks.add("finish", _finish, staging, layout, objects)
    return StorePlan(
        staging=staging,
        objects=tuple(map(tasks.delayed, objects)),
        report=tasks.delayed(report),
    )


def open_embeddings(path: str | os.PathLike[str] | Store) -> xr.DataArray | None:
    """The cube of a store of quantised embeddings, float32 (lazy); None if it is no such store."""
    group = zarr.open_group(path, mode="r")
    if EMBEDDINGS not in group or QUANTIZATION not in group[EMBEDDINGS].attrs:
        return None
    dataset = xr.open_zarr(path, chunks={}, mask_and_scale=False)
    stored = dataset[EMBEDDINGS]
    attrs = dict(stored.attrs)
    document = str(attrs[QUANTIZATION])
    scale = dataset[SCALES].data if SCALES in dataset else None
    data = lazily_dequantised(stored.data, scale, document)
    names = np.array(dataset[EMBEDDING].values.tolist(), str)
    coords = {n: dataset[n] for n in (T, Y, X, "spatial_ref") if n in dataset.coords}
    cube = xr.DataArray(
        data, dims=(T, EMBEDDING, Y, X), coords={**coords, EMBEDDING: names}, name=EMBEDDING
    )
    dated = attrs.pop("nc:dated", True)
    cube.attrs = {k: v for k, v in attrs.items() if k not in ("nc:dequantization", "grid_mapping")}
    return cube if dated else cube.isel({T: 0}, drop=True)


def _begin(staging: Staging, layout: EmbeddingLayout) -> None:
    staging.begin(lambda folder: write_metadata(folder, *layout.dataset()))


def _write(
    staging: Staging, mark: str, name: str, chunks: tuple[int, ...], index: tuple[int, ...],
    part: int, codes: tuple[Array, Array], begun: None,
) -> Written:  # fmt: skip
    key = write_chunk(staging.store, name, chunks, index, codes[part])
    path = staging.store / key  # Zarr writes no chunk that is all fill value
    return written_in(staging, mark, key, path.stat().st_size if path.exists() else 0)


def _finish(staging: Staging, layout: EmbeddingLayout, objects: list[Written]) -> StoreReport:
    if (done := published(staging)) is not None:
        return done
    write_json(staging, RECORD, {"write": staging.token})
    model = model_document(layout.attrs)
    if model is not None:
        write_json(staging, MODEL, model)
    report = inspect_store(staging.store)
    name = staging.path.stem
    links = {"self": "./item.json", "collection": f"./{COLLECTION}"}
    item = embedding_item(
        name,
        footprint=layout.footprint,
        times=tuple(layout.coords[T].values) if T in layout.coords else None,
        attrs=layout.attrs,
        chosen=layout.chosen,
        asset={"href": "./", "type": ZARR_TYPE, "title": "Zarr store"},
        links=links | ({"emb:model": f"./{MODEL}"} if model else {}),
        collection=f"{name}-embeddings",
    )
    collection = embedding_collection(
        f"{name}-embeddings", [item], ["./item.json"], attrs=layout.attrs, chosen=layout.chosen,
        size=layout.size, model=f"./{MODEL}" if model else None,
    )  # fmt: skip
    write_json(staging, COLLECTION, collection)
    return publish(staging, item, report)
