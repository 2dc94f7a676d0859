"""Writes cubes that carry no payloads as plain Zarr: one chunk, one object, one task."""

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

from openeo_nc.codecs.views import ARRAYS
from openeo_nc.cubes import conventions
from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, crs_name, lazy
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.inspect import RECORD, StoreReport, inspect_store
from openeo_nc.cubes.item import Footprint, store_item
from openeo_nc.cubes.ledger import Written, fingerprint, known
from openeo_nc.cubes.object_store import typed_failures
from openeo_nc.cubes.places import Place, zarr_location
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
from openeo_nc.errors import FormatUnsuitableError, GridMismatchError

if TYPE_CHECKING:
    from openeo_nc.cubes.ledger import Ledger

Array = npt.NDArray[Any]
SIDE = 512
"""Side of a chunk in pixels."""


def chunked(cube: xr.DataArray) -> xr.DataArray:
    """The cube in the chunks of its store (lazy): one date, all bands, `SIDE` pixels square."""
    if cube.dtype.kind not in "biuf" or cube.size == 0:
        raise FormatUnsuitableError(
            f"A Zarr store holds numbers or booleans; the cube has {cube.size} of {cube.dtype}."
        )
    sizes = {T: 1, X: SIDE, Y: SIDE}
    chunks = {dim: min(sizes.get(str(dim), size), size) for dim, size in cube.sizes.items()}
    return lazy(cube).chunk(chunks)


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainLayout:
    """Metadata of a plain store; plain values, no lazy arrays."""

    name: str
    """Name of the array: `embeddings` if it has that dimension, else `data`."""
    dims: tuple[str, ...]
    """Dimensions of the cube."""
    shape: tuple[int, ...]
    """Its shape."""
    chunks: tuple[int, ...]
    """Shape of a chunk."""
    dtype: np.dtype[Any]
    """Its dtype."""
    attrs: Mapping[str, Any]
    """Attributes that JSON can hold."""
    coords: Mapping[str, xr.Variable]
    """Coordinates in memory: those of dimensions and spatial_ref."""
    footprint: Footprint | None
    """Where it lies; None if that is not known or not on a grid."""

    @classmethod
    def of(cls, cube: xr.DataArray) -> PlainLayout:
        """The layout of a cube that is in its chunks."""
        kept = {
            str(name): _bare(coord.variable)
            for name, coord in cube.coords.items()
            if name in cube.dims or name == cube.rio.grid_mapping
        }
        return cls(
            name=ARRAYS["latents" if EMBEDDING in cube.dims else "pixels"],
            dims=tuple(map(str, cube.dims)),
            shape=cube.shape,
            chunks=tuple(c[0] for c in cube.chunks or ()),
            dtype=cube.dtype,
            attrs=conventions.plain(cube.attrs),
            coords=kept,
            footprint=_footprint(cube),
        )

    @property
    def times(self) -> tuple[Any, ...] | None:
        """Labels of t."""
        return tuple(self.coords[T].values) if T in self.coords else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of bands, if it has any."""
        return tuple(map(str, self.coords[BANDS].values)) if BANDS in self.coords else ()

    def dataset(self) -> tuple[xr.Dataset, dict[str, Any]]:
        """The store without its data, and the encoding that `to_zarr(compute=False)` takes."""
        data = da.zeros(self.shape, chunks=self.chunks, dtype=self.dtype)
        attrs = {**self.attrs}
        if "spatial_ref" in self.coords:
            attrs |= conventions.GRID_MAPPING
        dataset = xr.Dataset({self.name: (self.dims, data, attrs)}, dict(self.coords))
        if self.footprint is not None:
            place = self.footprint
            dataset.attrs = conventions.spatial(place.crs, place.bounds, place.shape)
        return dataset, {self.name: {"chunks": self.chunks}}


def plan_plain(cube: xr.DataArray, staging: Staging, ledger: Ledger | None) -> StorePlan:
    """The tasks that write a cube as a plain store, none of them run."""
    laid = chunked(cube)
    layout = PlainLayout.of(laid)
    mark = fingerprint(layout)
    there = known(ledger, staging.path.name, mark)
    tasks = TaskLayer([laid.data])
    begun = tasks.add("begin", _begin_plain, staging, layout)
    objects = []
    for index in np.ndindex(*laid.data.numblocks):
        key = chunk_key(layout.name, index)
        if (found := there.get(key)) is not None:
            objects.append(tasks.add("keep", keep, staging, found, begun, place=(key,)))
            continue
        write = partial(_write_chunk, staging, mark, layout.name, layout.chunks, index)
        chunk = block(laid.data, *index)
        objects.append(tasks.add("write", write, chunk, begun, place=(key,)))
    report = tasks.add("finish", _finish_plain, staging, layout, objects)
    return StorePlan(
        staging=staging,
        objects=tuple(map(tasks.delayed, objects)),
        report=tasks.delayed(report),
    )


def _begin_plain(staging: Staging, layout: PlainLayout) -> None:
    staging.begin(lambda folder: write_metadata(folder, *layout.dataset()))


def _write_chunk(
    staging: Staging, mark: str, name: str, chunks: tuple[int, ...], index: tuple[int, ...],
    block: Array, begun: None,
) -> Written:  # fmt: skip
    key = write_chunk(staging.store, name, chunks, index, block)
    path = staging.store / key  # Zarr writes no chunk that is all fill value
    return written_in(staging, mark, key, path.stat().st_size if path.exists() else 0)


def _finish_plain(staging: Staging, layout: PlainLayout, objects: list[Written]) -> StoreReport:
    if (done := published(staging)) is not None:
        return done
    write_json(staging, RECORD, {"write": staging.token})
    report = inspect_store(staging.store)
    item = store_item(
        staging.path.stem,
        footprint=layout.footprint,
        times=layout.times,
        labels=layout.labels,
        embedding=False,
        attrs=layout.attrs,
        report=report,
    )
    return publish(staging, item, report)


def write_chunk(
    store: Place,
    name: str,
    chunks: tuple[int, ...],
    index: tuple[int, ...],
    block: npt.NDArray[Any],
) -> str:
    """Write the chunk of an index into an array of a store; gives the chunk's path."""
    array = zarr.open_array(zarr_location(store / name), mode="r+")
    starts = [i * n for i, n in zip(index, chunks, strict=True)]
    with typed_failures(store):
        array[tuple(slice(a, a + n) for a, n in zip(starts, block.shape, strict=True))] = block
    return chunk_key(name, index)


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Path of a chunk in its store."""
    return "/".join([name, "c", *map(str, index)])


def _bare(variable: xr.Variable) -> xr.Variable:
    """A coordinate in memory, strings in the type that Zarr v3 has for them."""
    values = np.asarray(variable.values)
    if values.dtype.kind in "US":
        values = values.astype(object)
    return xr.Variable(variable.dims, values, variable.attrs)


def _footprint(cube: xr.DataArray) -> Footprint | None:
    if not {X, Y} <= set(cube.dims) or cube.rio.crs is None:
        return None
    try:
        res_x, res_y = resolution_of(cube)
    except GridMismatchError:
        return None
    height, width = cube.sizes[Y], cube.sizes[X]
    left = float(cube[X].values[0]) - res_x / 2
    top = float(cube[Y].values[0]) + res_y / 2
    return Footprint(
        crs=crs_name(cube.rio.crs),
        bounds=(left, top - res_y * height, left + res_x * width, top),
        shape=(height, width),
    )
