"""find_similar, lazily: the nearest patches of a cube, chunk by chunk, or of an index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import dask_geopandas  # noqa: F401  tells dask.dataframe of frames with geometry
import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry
import xarray as xr
from pyproj import Transformer

from openeo_nc.cubes.dims import EMBEDDING, T, X, Y, crs_name, crs_of
from openeo_nc.cubes.embedding_codes import differing, model_of
from openeo_nc.cubes.query import LONLAT
from openeo_nc.cubes.task_layer import TaskLayer, block
from openeo_nc.errors import (
    EmbeddingsIncomparableError,
    GeometryInvalidError,
    InvalidParameterError,
    NoDataAvailableError,
)
from openeo_nc.search.filters import Filters
from openeo_nc.search.frame import frame
from openeo_nc.search.index import asked
from openeo_nc.search.patches import Patches, chunks, searchable
from openeo_nc.search.rows import Flags, Found, nothing
from openeo_nc.search.scan import Metric, Segment, nearest, prepared

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

MOST = 10_000
"""Most results of one search."""
_FAN = 16
"""Results of chunks that one task merges."""
_METRIC: Metric = "cosine"


def find_similar(data: Any, query: Any, k: int = 10, filters: Any = None) -> Any:
    """The patches whose vectors are nearest a query, as a lazy vector cube (dask-geopandas).

    Parameters
    ----------
    data
        Embedding cube, or the folder of an index, as text.
    query
        Vector as a list of numbers; GeoJSON geometry or feature, which asks for the mean vector of
        the patches of `data` there; or a cube with one vector.
    k
        Results, at most.
    filters
        See `filters.Filters.of`.

    Raises
    ------
    InvalidParameterError, GeometryInvalidError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError, TemporalExtentEmptyError, EmbeddingsIncomparableError
        Now; a query without data only when it is computed.
    """
    if type(k) is not int or not 1 <= k <= MOST:
        raise InvalidParameterError(f"k is a number from 1 to {MOST}; given {k!r}.")
    wanted = Filters.of(filters)
    if isinstance(data, xr.DataArray):
        return _in_cube(searchable(data), query, k, wanted)
    if isinstance(data, str):
        return _in_index(data, query, k, wanted)
    raise InvalidParameterError(
        f"data is an embedding cube or the name of an index; given {type(data).__name__}."
    )


def _in_cube(cube: xr.DataArray, query: Any, k: int, filters: Filters) -> Any:
    patches = Patches.of(cube)
    at = _at_place(cube, query) if _is_geojson(query) else _lazy_or_vector(query)
    _comparable(at, model_of(cube), "the cube")
    sources = [cube.data] if isinstance(at, np.ndarray) else [cube.data, at.data]
    if isinstance(at, np.ndarray):
        asked(at, k, cube.sizes[EMBEDDING], _METRIC)
    tasks = TaskLayer(sources)
    vector = at if isinstance(at, np.ndarray) else block(at.data, 0)
    found = []
    for index, places in chunks(cube):
        part = patches.part(*places)
        keep = part.kept(filters) if filters else None
        if keep is None or keep.any():
            task = partial(_nearest_in, k=k, patches=part, keep=keep)
            found.append(tasks.add("nearest", task, block(cube.data, *index), vector, place=index))
    return _merged(tasks, found, k)


def _in_index(name: str, query: Any, k: int, filters: Filters) -> Any:
    from openeo_nc.search.opening import open_index, place_of

    place = place_of(name)
    at = _point(query) if _is_geojson(query) else _lazy_or_vector(query)
    if isinstance(at, xr.DataArray):
        for model in open_index(place).info().models:
            _comparable(at, {"id": model}, "the index")
    tasks = TaskLayer([at.data] if isinstance(at, xr.DataArray) else [])
    vector = block(at.data, 0) if isinstance(at, xr.DataArray) else at
    look = partial(_search_index, place, k=k, filters=filters, at_place=_is_geojson(query))
    return _merged(tasks, [tasks.add("search", look, vector)], k)


def _merged(tasks: TaskLayer, found: list[TaskRef], k: int) -> Any:
    """The vector cube of the best of several searches, by a tree of merges."""
    level = 0
    while len(found) > 1:
        groups = [found[i : i + _FAN] for i in range(0, len(found), _FAN)]
        found = [
            tasks.add("merge", partial(Found.merged, k=k), group, place=(level, number))
            for number, group in enumerate(groups)
        ]
        level += 1
    last = tasks.add("frame", frame, found[0] if found else nothing())
    return dd.from_delayed([tasks.delayed(last)], meta=frame(nothing()), verify_meta=False)


def _nearest_in(
    values: npt.NDArray[Any], query: npt.NDArray[Any], *, k: int, patches: Patches,
    keep: Flags | None,
) -> Found:  # fmt: skip
    rows = patches.rows(values, keep)
    wanted = asked(query, k, values.shape[1], _METRIC)
    same = np.eye(values.shape[1], dtype=np.float32)  # one scan is not worth a rotation
    segment = Segment.of(prepared(rows.vectors, _METRIC), same)
    chosen, scores = nearest(segment, same, wanted, k, metric=_METRIC)
    return Found(scores=scores, places=rows.places.take(chosen), origins=rows.origins)


def _search_index(place: str, query: Any, *, k: int, filters: Filters, at_place: bool) -> Found:
    from openeo_nc.search.opening import open_index

    index = open_index(place)
    vector = index.vector_at(*query) if at_place else query
    if vector is None:
        raise NoDataAvailableError(f"The index has no patch at {query[0]:g}, {query[1]:g}.")
    return index.search(np.asarray(vector, np.float32), k, filters)


def _lazy_or_vector(query: Any) -> Any:
    """A vector in memory, or the lazy cube `(embedding,)` of one in one chunk."""
    if isinstance(query, xr.DataArray):
        rest = {d: s for d, s in query.sizes.items() if d != EMBEDDING}
        if EMBEDDING not in query.dims or any(size != 1 for size in rest.values()):
            shown = ", ".join(f"{d} ({s})" for d, s in query.sizes.items())
            raise InvalidParameterError(
                f"A cube as query holds one vector along '{EMBEDDING}'; given {shown}. Reduce the "
                "others, for example with reduce_dimension, or filter to one patch."
            )
        return query.isel(dict.fromkeys(rest, 0)).chunk({EMBEDDING: -1})
    try:
        vector = np.asarray(query, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            "query is a list of numbers, a GeoJSON geometry, or a cube with one vector."
        ) from error
    if vector.ndim != 1:
        raise InvalidParameterError(
            f"query is one list of numbers; given {vector.ndim} dimensions."
        )
    return vector


def _comparable(query: Any, model: Mapping[str, Any], what: str) -> None:
    """EmbeddingsIncomparableError for a cube as query that is of another model."""
    if not isinstance(query, xr.DataArray):
        return
    own = model_of(query)
    if (key := differing(own, model)) is not None:
        raise EmbeddingsIncomparableError(
            f"The query is of the model '{own.get('id')}' and {what} of '{model.get('id')}' ({key} "
            "differs): embeddings of different models do not compare."
        )


def _is_geojson(query: Any) -> bool:
    return isinstance(query, Mapping)


def _shape(query: Mapping[str, Any]) -> Any:
    """The geometry of GeoJSON in degrees."""
    given = query.get("geometry") if query.get("type") == "Feature" else query
    try:
        found = shapely.geometry.shape(given)
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise GeometryInvalidError(f"The query is no GeoJSON geometry: {error}") from error
    if found.is_empty:
        raise GeometryInvalidError("The query's geometry is empty.")
    return found


def _point(query: Mapping[str, Any]) -> tuple[float, float]:
    middle = _shape(query).representative_point()
    return middle.x, middle.y


def _at_place(cube: xr.DataArray, query: Mapping[str, Any]) -> xr.DataArray:
    """The mean vector `(embedding,)` of the patches with their middle in a geometry (lazy).

    A geometry that has none of them, as a point, stands for the patch that it is in.
    """
    transform = Transformer.from_crs(LONLAT, crs_name(crs_of(cube)), always_xy=True).transform
    geometry = shapely.transform(_shape(query), transform, interleaved=False)
    patches = Patches.of(cube)
    x, y = np.meshgrid(patches.x, patches.y)
    covered = shapely.intersects_xy(geometry, x, y)
    if not covered.any():
        point = geometry.representative_point()
        covered = (np.abs(x - point.x) <= patches.width / 2) & (
            np.abs(y - point.y) <= patches.height / 2
        )
    if not covered.any():
        raise NoDataAvailableError("The query's geometry lies outside of the cube.")
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    box = {Y: slice(rows[0], rows[-1] + 1), X: slice(columns[0], columns[-1] + 1)}
    inside = xr.DataArray(covered, dims=(Y, X)).isel(box)
    return cube.isel(box).where(inside).mean([T, Y, X]).chunk({EMBEDDING: -1})
