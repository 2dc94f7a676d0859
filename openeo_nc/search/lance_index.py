"""The index for more vectors than a scan is quick for: LanceDB, of the extra `lancedb`.

Vectors are found through an inverted file of product codes, and ranked again by their exact distances.
Filters are SQL on columns with scalar indexes. A selective filter leaves such an index too few rows of
the lists that it looks into, so that recall drops: then vectors are compared without it, exactly.

index.json, replaced in one step, names a table and a version of it: what is written beside or after that
counts once it is named. The table that was named before stays until the next build, for who reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import shapely

from openeo_nc.cubes.places import put
from openeo_nc.cubes.query import LONLAT
from openeo_nc.errors import (
    InvalidParameterError,
    NoDataAvailableError,
    OutputExistsError,
    ResourceUnavailableError,
)
from openeo_nc.search.arrow_index import FORMAT, NAME
from openeo_nc.search.filters import Filters, microseconds
from openeo_nc.search.frame import outlines
from openeo_nc.search.index import IndexInfo, asked
from openeo_nc.search.rows import COLUMNS, Floats, Found, Origin, Places, Rows, nothing
from openeo_nc.search.scan import Metric, known_metric, prepared
from openeo_nc.search.writing import locked, removed_if_fails

KIND = "lancedb"
INDEXED_FROM = 50_000
"""Rows from which vectors are indexed; fewer are compared one by one."""
SELECTIVE = 0.5
"""Share of rows kept below which the index of vectors is passed by."""
PROBES, REFINE = 40, 100
"""Lists looked into, and how many times k are ranked again exactly."""
_EVERYTHING = Filters()
_METRICS: dict[str, Literal["dot", "l2"]] = {
    "cosine": "dot",
    "euclidean": "l2",
}  # cosines are products of unit vectors


class LanceIndex:
    """An index in a folder; see `search.index.VectorIndex`."""

    def __init__(self, path: Path, document: Mapping[str, Any], table: Any) -> None:
        self._path, self._document, self._table = path, document, table

    @classmethod
    def create(
        cls, path: Path, rows: Iterable[Rows], *, metric: str = "cosine", overwrite: bool = False
    ) -> Self:
        """A new index; see `ArrowIndex.create`."""
        chosen = known_metric(metric)
        if path.exists() and not (overwrite and (path / NAME).is_file()):
            raise OutputExistsError(f"{path} exists; nothing in it was touched.")
        origins: dict[Origin, int] = {}
        batches = _batches(rows, None, chosen, origins)
        with removed_if_fails(path), locked(path):
            first = next(batches, None)
            if first is None:
                raise NoDataAvailableError("There is no vector to add.")
            database, name = _connect(path), f"vectors-{token_hex(8)}"
            table = database.create_table(name, first)
            try:
                for batch in batches:
                    table.add(batch)
                _index(table, chosen)
            except BaseException:
                database.drop_table(name)
                raise
            dim = first.schema.field("vector").type.list_size
            document = {"format": FORMAT, "kind": KIND, "metric": metric, "dim": dim}
            kept = {name, _table_of(path)}
            made = cls(path, {**document, "table": name}, table)
            made._publish(origins)
            for old in set(database.list_tables().tables) - kept:
                database.drop_table(old)
        return made

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in a folder; InvalidParameterError if there is none."""
        try:
            document = json.loads((path / NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidParameterError(f"{path} is no index of vectors.") from error
        table = _connect(path).open_table(document["table"])
        table.checkout(document["version"])
        return cls(path, document, table)

    def info(self) -> IndexInfo:
        """What it holds."""
        size = sum(file.stat().st_size for file in self._path.rglob("*") if file.is_file())
        return IndexInfo(
            path=str(self._path), kind=KIND, rows=self._table.count_rows(), dim=self._dim,
            metric=self._metric, bytes=size,
            models=tuple(dict.fromkeys(o.model for o in self._origins if o.model)),
            sources=tuple(dict.fromkeys(o.source for o in self._origins if o.source)),
        )  # fmt: skip

    def search(self, query: Floats, k: int, filters: Filters = _EVERYTHING) -> Found:
        """The nearest k rows of those that the filters keep; see `VectorIndex`."""
        wanted = asked(query, k, self._dim, self._metric)
        search = self._table.search(wanted, vector_column_name="vector")
        search = (
            search.distance_type(_METRICS[self._metric]).limit(k).select([*COLUMNS, "_distance"])
        )
        where = condition(filters)
        if where is not None:
            search = search.where(where, prefilter=True)
            kept = self._table.count_rows(where)
        if where is not None and kept < SELECTIVE * self._table.count_rows():
            search = search.bypass_vector_index()
        else:
            search = search.nprobes(PROBES).refine_factor(REFINE)
        return self._found(search.to_arrow())

    def vector_at(self, lon: float, lat: float) -> Floats | None:
        """The mean vector of the patch that has a place, over its dates; see `VectorIndex`."""
        point = shapely.Point(lon, lat)
        near = 0.2
        where = f"lon > {lon - near} AND lon < {lon + near} AND lat > {lat - near} AND lat < {lat + near}"
        found = self._table.search().where(where).limit(None).to_arrow()
        if not len(found):
            return None
        shapes = np.array(outlines(_places(found), self._origins), object)
        inside = np.flatnonzero(shapely.intersects(shapes, point))
        vectors = found.column("vector").combine_chunks().flatten().to_numpy()
        chosen: Floats = vectors.reshape(len(found), -1)[inside]
        return chosen.mean(axis=0) if len(inside) else None

    def add(self, rows: Iterable[Rows]) -> int:
        """Add rows, all or none of them; gives how many."""
        with locked(self._path):
            named = type(self).open(self._path)
            origins = {origin: number for number, origin in enumerate(named._origins)}
            batches = list(_batches(rows, named._dim, named._metric, origins))
            if not batches:
                raise NoDataAvailableError("There is no vector to add.")
            named._table.restore(named._document["version"])  # undoes what a writer that died left
            named._table.add(pa.Table.from_batches([b for t in batches for b in t.to_batches()]))
            named._table.optimize()
            named._publish(origins)
            self._document, self._table = named._document, named._table
        return sum(map(len, batches))

    @property
    def _dim(self) -> int:
        return int(self._document["dim"])

    @property
    def _metric(self) -> Metric:
        return known_metric(self._document["metric"])

    @property
    def _origins(self) -> tuple[Origin, ...]:
        return tuple(Origin(**told) for told in self._document["origins"])

    def _publish(self, origins: Iterable[Origin]) -> None:
        told = [{"source": o.source, "model": o.model, "crs": o.crs} for o in origins]
        self._document = {**self._document, "origins": told, "version": self._table.version}
        put(self._path / NAME, (json.dumps(self._document, indent=1) + "\n").encode())

    def _found(self, rows: pa.Table) -> Found:
        if not len(rows):
            return nothing()
        apart = rows.column("_distance").to_numpy().astype(np.float32)
        scores = 1 - apart if self._metric == "cosine" else -np.sqrt(np.maximum(apart, 0))
        found = Found(scores=scores, places=_places(rows), origins=self._origins)
        return Found.merged([found], len(scores))


def condition(filters: Filters) -> str | None:
    """The filters as SQL; None for all rows.

    Raises
    ------
    InvalidParameterError
        The region is no box in degrees, which is all that SQL has here.
    """
    parts = []
    space, interval = filters.spatial_extent, filters.temporal_extent
    if space is not None:
        if space.crs != LONLAT or space.polygons is not None:
            raise InvalidParameterError(
                "An index of LanceDB takes boxes in degrees only; one of the kind arrow takes any."
            )
        west, south, east, north = space.bounds
        parts += [f"lon >= {west!r}", f"lon <= {east!r}", f"lat >= {south!r}", f"lat <= {north!r}"]
    if interval is not None:
        start = None if interval.start is None else microseconds(interval.start)
        parts.append(f"time >= {start}" if start is not None else f"time > {-(2**62)}")
        if interval.end is not None:
            parts.append(f"time < {microseconds(interval.end)}")
    return " AND ".join(parts) or None


def _table_of(path: Path) -> str | None:
    """The table that an index names; None where there is no index of this kind."""
    try:
        named = json.loads((path / NAME).read_text(encoding="utf-8")).get("table")
    except (OSError, ValueError):
        return None
    return None if named is None else str(named)


def _connect(path: Path) -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise ResourceUnavailableError(
            "Indexes of LanceDB need the extra: pip install 'openeo-nc[lancedb]'."
        ) from error
    return lancedb.connect(str(path))


def _index(table: Any, metric: Metric) -> None:
    from lancedb.index import BTree, IvfPq

    for column in ("lon", "lat", "time"):
        table.create_index(column, config=BTree())
    if table.count_rows() >= INDEXED_FROM:
        table.create_index("vector", config=IvfPq(distance_type=_METRICS[metric]))


def _batches(
    rows: Iterable[Rows], dim: int | None, metric: Metric, origins: dict[Origin, int]
) -> Iterator[pa.Table]:
    for chunk in rows:
        if not len(chunk):
            continue
        dim = chunk.vectors.shape[1] if dim is None else dim
        if chunk.vectors.shape[1] != dim:
            raise InvalidParameterError(
                f"The vectors of this index have {dim} values; given {chunk.vectors.shape[1]}."
            )
        numbers = np.array([origins.setdefault(o, len(origins)) for o in chunk.origins], np.int64)
        flat = pa.array(prepared(chunk.vectors, metric).ravel())
        columns: dict[str, Any] = {name: getattr(chunk.places, name) for name in COLUMNS}
        columns |= {"origin": numbers[chunk.places.origin]}
        arrays = {name: pa.array(values) for name, values in columns.items()}
        yield pa.table(arrays | {"vector": pa.FixedSizeListArray.from_arrays(flat, dim)})


def _places(rows: pa.Table) -> Places:
    return Places(**{name: rows.column(name).to_numpy() for name in COLUMNS})
