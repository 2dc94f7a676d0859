"""Turns what `ml_fit` is given into chunks with samples, without computing any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import geopandas as gpd
import numpy as np
import shapely
import xarray as xr

from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, in_order, labels, lazy
from openeo_nc.cubes.embedding_codes import model_of
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.errors import (
    DimensionMissingError,
    InvalidParameterError,
    LabelNotAvailableError,
    NoDataAvailableError,
)
from openeo_nc.ml.labels import Features, aligned, coded, marked, of_patches
from openeo_nc.ml.model import Array, Label, Subject
from openeo_nc.ml.passes import Chunk, Source
from openeo_nc.ml.samples import Samples

_ROWS = 65_536
"""Rows of a vector cube that are one chunk."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """Samples and what they are."""

    source: Source
    """Chunks."""
    subject: Subject
    """Names of features and target."""
    classes: tuple[Label, ...] | None
    """Labels of classes where they are known; codes are places in them."""

    @classmethod
    def of(cls, data: Any, target: str, given: Any, *, classes: bool) -> TrainingSet:
        """Of a data cube or vector cube.

        Parameters
        ----------
        data
            Embedding or raster cube; or vector cube: an xarray cube with `geometry`, a table
            of geopandas, or GeoJSON features.
        target
            Name of the labels: a band, column or property.
        given
            Labels where `data` has none: GeoJSON features, or a raster cube; else None.
        classes
            Whether labels are classes.

        Raises
        ------
        InvalidParameterError, DimensionMissingError, LabelNotAvailableError, CRSMissingError,
        GeometryInvalidError, GridMismatchError, NoDataAvailableError
        """
        if isinstance(data, xr.DataArray) and {X, Y} <= set(data.dims):
            return _of_cube(data, target, given, classes)
        rows, names, values = _table(data, target, given)
        numbers, known = coded(values, classes=classes)
        size = len(rows)
        source = Source(
            arrays=(rows,),
            chunks=[
                Chunk(places=((number, 0),), most=end - begin,
                      extract=partial(_of_rows, y=numbers[begin:end]))
                for number, (begin, end) in enumerate(_spans(rows.chunks[0]))
            ],
            features=len(names), classes=classes, codes=_codes(known),
        )  # fmt: skip
        if not size:
            raise NoDataAvailableError("The training set has no rows.")
        return cls(source=source, subject=Subject(features=names, target=target), classes=known)


def feature_dim(data: xr.DataArray) -> str:
    """The dimension that holds a sample's values; DimensionMissingError if there is none."""
    for dim in (EMBEDDING, BANDS, "properties"):
        if dim in data.dims:
            return dim
    given = ", ".join(map(str, data.dims))
    raise DimensionMissingError(
        f"The cube has no dimension '{EMBEDDING}' or '{BANDS}' to learn from; it has {given}."
    )


def _codes(classes: tuple[Label, ...] | None) -> Array | None:
    return None if classes is None else np.arange(len(classes), dtype=np.float64)


def _spans(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    ends = np.cumsum(sizes)
    return [(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]


# --- rasters -----------------------------------------------------------------------------------


def _of_cube(data: xr.DataArray, target: str, given: Any, classes: bool) -> TrainingSet:
    dim = feature_dim(data)
    if T not in data.dims:
        data = data.expand_dims(T)
    cube = lazy(in_order(data, (T, dim, Y, X))).chunk({dim: -1})
    names, known = labels(cube, dim), None
    if given is None:
        if target not in names:
            raise LabelNotAvailableError(
                f"The training set has no '{target}' along '{dim}', and no labels are given."
            )
        own = names.index(target)
        names = tuple(name for name in names if name != target)
        arrays: tuple[da.Array, ...] = (cube.data,)
        chunks = [
            Chunk(places=((t, 0, j, i),), most=size, extract=partial(_of_band, own=own))
            for (t, j, i), _, size in _blocks(cube)
        ]
    elif isinstance(given, xr.DataArray):
        raster, many = aligned(given, cube, target)
        once = raster.sizes[T] == 1
        cube = cube if once else cube.chunk({T: 1})
        arrays = (cube.data, raster.data)
        chunks = [
            Chunk(
                places=((t, 0, j, i), (0 if once else t, j, i)), most=size,
                extract=partial(_of_raster, many=many, classes=classes),
            )
            for (t, j, i), _, size in _blocks(cube)
        ]  # fmt: skip
    elif isinstance(given, Mapping):
        features = Features.of(given, target, classes=classes)
        known, arrays = features.classes, (cube.data,)
        chunks = _with_features(cube, features)
    else:
        raise InvalidParameterError("labels is GeoJSON of features, or a raster data cube.")
    if not chunks:
        raise NoDataAvailableError("No label lies in the training set.")
    subject = Subject(features=names, embedding=dict(model_of(data)), target=target)
    source = Source(
        arrays=arrays, chunks=chunks, features=len(names), classes=classes, codes=_codes(known),
        alike=bool(subject.embedding),
    )  # fmt: skip
    return TrainingSet(source=source, subject=subject, classes=known)


def _blocks(cube: xr.DataArray) -> list[tuple[tuple[int, int, int], tuple[slice, slice], int]]:
    """Index `(t, y, x)` of each chunk of a cube, its rows and columns, and its patches."""
    dates, rows, columns = (_spans(cube.chunksizes[dim]) for dim in (T, Y, X))
    found = []
    for t, j, i in np.ndindex(len(dates), len(rows), len(columns)):
        size = np.prod([end - begin for begin, end in (dates[t], rows[j], columns[i])])
        found.append(((t, j, i), (slice(*rows[j]), slice(*columns[i])), int(size)))
    return found


def _with_features(cube: xr.DataArray, features: Features) -> list[Chunk]:
    """The chunks that features lie in; others are never looked at."""
    shapes = features.on(cube)
    width, height = resolution_of(cube)
    half = (abs(width) / 2, abs(height) / 2)
    tree = shapely.STRtree(shapes)
    x, y = cube[X].values, cube[Y].values
    chunks = []
    for (t, j, i), (rows, columns), size in _blocks(cube):
        at_x, at_y = x[columns], y[rows]
        box = shapely.box(
            at_x.min() - half[0], at_y.min() - half[1], at_x.max() + half[0], at_y.max() + half[1]
        )
        near = np.sort(tree.query(box, predicate="intersects"))
        if len(near):
            mark = partial(
                _of_features, x=at_x, y=at_y, half=half, shapes=shapes[near],
                values=features.values[near],
            )  # fmt: skip
            chunks.append(Chunk(places=((t, 0, j, i),), extract=mark, most=size))
    return chunks


def _samples(block: Array, target: Array) -> Samples:
    """Of `(dates, features, y, x)` and targets `(dates or 1, y, x)`."""
    there = np.broadcast_to(np.isfinite(target), (len(block), *block.shape[2:]))
    y = np.broadcast_to(target, there.shape)[there]
    return Samples.known(np.moveaxis(block, 1, -1)[there], y)


def _of_features(
    block: Array, *, x: Array, y: Array, half: tuple[float, float], shapes: Array, values: Array
) -> Samples:
    return _samples(block, marked(x, y, half, shapes, values)[None])


def _of_raster(block: Array, target: Array, *, many: int, classes: bool) -> Samples:
    return _samples(block, of_patches(target, many, classes=classes))


def _of_band(block: Array, *, own: int) -> Samples:
    return _samples(np.delete(block, own, axis=1), block[:, own])


# --- vector cubes ------------------------------------------------------------------------------


def _of_rows(block: Array, *, y: Array) -> Samples:
    return Samples.known(block, y)


def _table(data: Any, target: str, given: Any) -> tuple[da.Array, tuple[str, ...], list[Any]]:
    """Rows `(rows, features)` in chunks, names of features, and labels of rows."""
    if isinstance(data, Mapping):
        data = gpd.GeoDataFrame.from_features(data.get("features", [data]))
    if isinstance(data, gpd.GeoDataFrame):
        return _of_frame(data, target)
    if isinstance(data, xr.DataArray) and any(d in data.dims for d in ("geometry", "geometries")):
        return _of_vectors(data, target, given)
    raise InvalidParameterError(
        "A training set is a data cube with x and y, a vector cube, or GeoJSON; given "
        f"{type(data).__name__}."
    )


def _of_frame(frame: gpd.GeoDataFrame, target: str) -> tuple[da.Array, tuple[str, ...], list[Any]]:
    if target not in frame.columns:
        raise LabelNotAvailableError(
            f"The training set has no '{target}'; it has {', '.join(map(str, frame.columns))}."
        )
    numbers = frame.drop(columns=target).select_dtypes("number")
    if not numbers.shape[1]:
        raise InvalidParameterError("The training set has no numbers to learn from.")
    rows = da.from_array(numbers.to_numpy(np.float32), chunks=(_ROWS, -1))
    values = [
        None if absent else value
        for value, absent in zip(frame[target].tolist(), frame[target].isna(), strict=True)
    ]
    return rows, tuple(map(str, numbers.columns)), values


def _of_vectors(
    data: xr.DataArray, target: str, given: Any
) -> tuple[da.Array, tuple[str, ...], list[Any]]:
    """Of the cube that `aggregate_spatial` gives: a row a geometry and, if it has dates, a date."""
    dim = feature_dim(data)
    geometry = "geometry" if "geometry" in data.dims else "geometries"
    if not isinstance(given, Mapping):
        raise InvalidParameterError(
            "A vector cube of aggregate_spatial holds no labels: give the GeoJSON that it was "
            "aggregated by as labels too."
        )
    features = given.get("features", [given])
    values = [(one.get("properties") or {}).get(target) for one in features]
    if len(values) != data.sizes[geometry]:
        raise InvalidParameterError(
            f"labels has {len(values)} features for {data.sizes[geometry]} geometries."
        )
    others = [str(d) for d in data.dims if d not in (dim, geometry)]
    laid = data.transpose(geometry, *others, dim)
    dates = int(np.prod([data.sizes[d] for d in others], dtype=int))
    rows = da.asarray(laid.data).reshape(-1, data.sizes[dim]).rechunk((_ROWS, -1))
    repeated = [value for value in values for _ in range(dates)]
    return rows.astype(np.float32), labels(data, dim), repeated
