"""Reads rows of tables of embeddings: places and dates first, vectors of chosen rows when asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from openeo_nc.cubes.embedding_codes import QUANTIZATION
from openeo_nc.cubes.embedding_table import METADATA
from openeo_nc.cubes.query import LONLAT, Query
from openeo_nc.cubes.remote_file import Source
from openeo_nc.errors import AssetMissingError, FormatUnsuitableError, NoDataAvailableError
from openeo_nc.models.layout import labels_of
from openeo_nc.models.quantisation import Codes, quantiser_of

Array = npt.NDArray[Any]
GEOMETRY = "geometry"
VECTORS = ("embedding", "embeddings", "vector")
DATES = ("datetime", "date", "timestamp", "time")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The rows of a table without their vectors."""

    source: Source
    """The file."""
    vector: str
    """Column of vectors."""
    own: Mapping[str, Any]
    """What our files say of the cube they were; empty of others."""
    labels: tuple[str, ...]
    """Dimensions of a vector."""
    crs: str
    """Of the geometries."""
    rows: npt.NDArray[np.int64]
    """Numbers of the rows in the file."""
    shapes: Array
    """Their geometries."""
    times: npt.NDArray[np.datetime64]
    """Their dates, NaT where not known."""

    @classmethod
    def of(cls, source: Source) -> Table:
        """All rows of a file.

        Raises
        ------
        AssetMissingError, FormatUnsuitableError
        """
        try:
            with source.open() as file:
                return _read(source, pq.ParquetFile(file))
        except (OSError, pa.ArrowException) as error:
            raise AssetMissingError(
                f"{source.href} cannot be opened as Parquet: {error}"
            ) from error

    def chosen(self, query: Query) -> Table:
        """The rows whose date, and whose geometry's centre, are in the extents."""
        keep = np.ones(len(self.rows), bool)
        if query.temporal is not None:
            for i, moment in enumerate(self.times):
                stamp = pd.Timestamp(moment)
                if not pd.isna(stamp):
                    at = stamp.tz_localize("UTC").to_pydatetime()
                    keep[i] = query.temporal.overlaps(at, at)
        if query.spatial is not None:
            left, bottom, right, top = query.spatial.bounds_in(self.crs)
            x, y = self.centres.T
            keep &= (x >= left) & (x < right) & (y > bottom) & (y <= top)
            if (polygons := query.spatial.polygons_in(self.crs)) is not None:
                keep &= shapely.intersects_xy(polygons, x, y)
        if not keep.any():
            raise NoDataAvailableError(f"{self.source.href} has no patches in the extents.")
        return replace(self, rows=self.rows[keep], shapes=self.shapes[keep], times=self.times[keep])

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """`(rows, 2)` centres."""
        found: npt.NDArray[np.float64] = shapely.get_coordinates(shapely.centroid(self.shapes))
        return found

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the cube."""
        told = {**self.own.get("attrs", {}), "emb:dimensions": len(self.labels)}
        if QUANTIZATION in self.own:
            told[QUANTIZATION] = json.dumps(
                self.own[QUANTIZATION], separators=(",", ":"), sort_keys=True
            )
        return told


def vectors_of(
    source: Source, column: str, dim: int, document: Mapping[str, Any] | None, rows: Array
) -> npt.NDArray[np.float32]:
    with source.open() as opened:
        file = pq.ParquetFile(opened)
        starts = np.cumsum([0, *(file.metadata.row_group(g).num_rows
                                 for g in range(file.num_row_groups))])  # fmt: skip
        groups = np.unique(np.searchsorted(starts, rows, side="right") - 1)
        names = [column, *(n for n in ("scale",) if document and n in file.schema_arrow.names)]
        found = file.read_row_groups(groups.tolist(), columns=names)
    first = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in groups])
    taken = found.take(pa.array(np.searchsorted(first, rows)))
    flat = taken[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values = flat.reshape(len(rows), -1)
    if document is None:
        if values.shape[1] != dim:
            raise FormatUnsuitableError(f"{source.href} has vectors of several lengths.")
        return np.asarray(values, np.float32)
    scale = taken["scale"].to_numpy() if "scale" in taken.column_names else None
    return quantiser_of(document).dequantise(Codes(values=values, scale=scale))


def _read(source: Source, file: pq.ParquetFile) -> Table:
    """All but the vectors of an open file."""
    href = source.href
    schema = file.schema_arrow
    metadata = schema.metadata or {}
    own = json.loads(metadata.get(METADATA, b"{}"))
    vector = next((name for name in VECTORS if name in schema.names), None)
    if vector is None or not pa.types.is_nested(schema.field(vector).type):
        raise FormatUnsuitableError(
            f"{href} has no column of vectors ({', '.join(VECTORS)}); it has "
            f"{', '.join(schema.names)}."
        )
    date = next((name for name in DATES if name in schema.names), None)
    geo = json.loads(metadata.get(b"geo", b"{}"))
    geometry = geo.get("primary_column", GEOMETRY)
    places = [geometry] if geometry in schema.names else ["centre_lon", "centre_lat"]
    if missing := [name for name in places if name not in schema.names]:
        raise FormatUnsuitableError(f"{href} has no place: {', '.join(missing)} is missing.")
    rows = file.read(columns=[*places, *([date] if date else [])])
    if not rows.num_rows:
        raise NoDataAvailableError(f"{href} has no rows.")
    if len(places) == 1:
        shapes = shapely.from_wkb(rows[geometry].to_numpy(zero_copy_only=False))
    else:
        shapes = shapely.points(*(rows[name].to_numpy() for name in places))
    return Table(
        source=source,
        vector=vector,
        own=own,
        labels=tuple(own.get("labels") or _labels(file, vector)),
        crs=_crs(geo, geometry),
        rows=np.arange(rows.num_rows),
        shapes=np.asarray(shapes, object),
        times=_times(rows[date].to_pandas() if date else None, rows.num_rows),
    )


def _labels(file: pq.ParquetFile, vector: str) -> list[str]:
    kind = file.schema_arrow.field(vector).type
    if pa.types.is_fixed_size_list(kind):
        return labels_of(kind.list_size)
    first = next(file.iter_batches(batch_size=1, columns=[vector]))
    return labels_of(len(first.column(0)[0]))


def _crs(geo: Mapping[str, Any], geometry: str) -> str:
    told = geo.get("columns", {}).get(geometry, {}).get("crs")
    if told is None:
        return LONLAT
    crs = CRS.from_json_dict(told) if isinstance(told, dict) else CRS.from_user_input(told)
    if crs.to_authority() == ("OGC", "CRS84"):
        return LONLAT
    code = crs.to_epsg()
    return crs.to_wkt() if code is None else f"EPSG:{code}"


def _times(column: pd.Series | None, count: int) -> npt.NDArray[np.datetime64]:
    if column is None:
        return np.full(count, np.datetime64("NaT", "ns"))
    stamps = pd.to_datetime(column, utc=True, format="mixed", errors="coerce")
    found: npt.NDArray[np.datetime64] = stamps.dt.tz_convert(None).to_numpy("datetime64[ns]")
    return found
