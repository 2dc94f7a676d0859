"""Writes embedding cubes as GeoParquet: a row a patch, its vector as a list; no rows without data."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
import xarray as xr

from openeo_nc.cubes import conventions
from openeo_nc.cubes.dims import T, X, Y, crs_name, crs_of
from openeo_nc.cubes.embedding_codes import (
    QUANTIZATION,
    edges,
    names_of,
    of_text,
    prepared,
    quantised,
    text_of,
)
from openeo_nc.cubes.embedding_files import Description, described
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.ledger import Written, file_written, fingerprint, keep_file, known
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.places import Place, put, remove
from openeo_nc.cubes.task_layer import TaskLayer, block
from openeo_nc.errors import InvalidParameterError, OutputExistsError

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.models.quantisation import Quantiser

Array = npt.NDArray[Any]
GEOMETRIES = ("polygon", "point")
"""What a row's geometry is: the patch, or its centre."""
METADATA = b"openeo_nc"
"""Key of the schema's metadata with what the cube was, JSON."""
TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What all rows have in common; plain values."""

    document: str
    """JSON text of the quantiser."""
    geometry: str
    """One of `GEOMETRIES`."""
    crs: str
    """`EPSG:n` or WKT of geometry, x and y."""
    size: tuple[float, float]
    """Width and height of a patch in its units."""
    bounds: tuple[float, float, float, float]
    """Outer edges of all patches."""
    cube: Mapping[str, Any]
    """Labels, attributes and shape of the cube, as JSON has them."""

    @property
    def chosen(self) -> Quantiser:
        """The quantiser."""
        return of_text(self.document)

    def schema(self) -> pa.Schema:
        """Arrow's schema, with GeoParquet's metadata."""
        chosen = self.chosen
        value = pa.field("element", pa.from_numpy_dtype(np.dtype(chosen.dtype)), nullable=False)
        fields = [
            pa.field("geometry", pa.binary()),
            pa.field("datetime", pa.timestamp("us", tz="UTC")),
            pa.field("x", pa.float64()),
            pa.field("y", pa.float64()),
            pa.field("embedding", pa.list_(value, chosen.columns)),
        ]
        if chosen.scaled:
            fields.append(pa.field("scale", pa.float32()))
        kind = "Polygon" if self.geometry == "polygon" else "Point"
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {
                "geometry": {
                    "encoding": "WKB",
                    "geometry_types": [kind],
                    "crs": pyproj.CRS.from_user_input(self.crs).to_json_dict(),
                    "bbox": list(self.bounds),
                }
            },
        }
        own = {**self.cube, QUANTIZATION: json.loads(self.document), "size": list(self.size)}
        return pa.schema(fields, {b"geo": json.dumps(geo), METADATA: json.dumps(own)})


def plan_table(
    cube: xr.DataArray, chosen: Quantiser, outputs: Outputs, name: str, geometry: str = "polygon"
) -> Delayed:
    """A task that writes the cube to `<name>.parquet`, its STAC beside it; gives `Saved`.

    Raises
    ------
    InvalidParameterError, DimensionMissingError, CRSMissingError, GridMismatchError,
    FormatUnsuitableError
    """
    if geometry not in GEOMETRIES:
        raise InvalidParameterError(
            f"geometry must be {' or '.join(GEOMETRIES)}; given {geometry!r}."
        )
    laid = prepared(cube)
    size = resolution_of(laid)
    bounds = edges(laid[X].values, laid[Y].values, size)
    crs = crs_name(crs_of(laid))
    attrs = {k: v for k, v in conventions.plain(cube.attrs).items() if k != QUANTIZATION}
    dated = T in cube.coords
    told = {"labels": list(names_of(laid)), "attrs": attrs, "dims": [*map(str, cube.dims)]}
    spec = TableSpec(
        document=text_of(chosen), geometry=geometry, crs=crs, size=size, bounds=bounds, cube=told
    )
    path = outputs.folder / f"{name}.parquet"
    mark = fingerprint(
        spec.document, geometry, crs, bounds, json.dumps(told, sort_keys=True), laid.shape
    )
    tasks = TaskLayer([laid.data])
    if (found := known(outputs.ledger, path.name, mark).get(path.name)) is not None:
        written = tasks.add("keep", keep_file, found, path, place=(path.name,))
    else:
        parts = path.with_name(f".{path.name}.parts")
        outputs.discards.append(partial(remove, parts))
        rows = [
            tasks.add("rows", _write_part, block(laid.data, *index), spec, corner, parts,
                      place=(path.name, *index))
            for index, corner in _corners(laid, dated)
        ]  # fmt: skip
        written = tasks.add("table", partial(_gather, parts, path, spec, mark), rows)
    outputs.objects.append(tasks.delayed(written))
    description = Description(
        name=name, crs=crs, bounds=bounds, shape=(laid.sizes[Y], laid.sizes[X]), attrs=attrs,
        document=spec.document, type=TYPE,
        moments=(tuple(map(str, laid[T].values)),) if dated else ((),),
    )  # fmt: skip
    return tasks.delayed(tasks.add("saved", partial(_saved, description), [written]))


def _corners(cube: xr.DataArray, dated: bool) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """Index of each block, and what its rows say of place and time."""
    starts = [np.cumsum([0, *c]) for c in cube.chunks or ()]
    found = []
    for index in np.ndindex(*cube.data.numblocks):
        spans = [slice(int(s[i]), int(s[i + 1])) for s, i in zip(starts, index, strict=True)]
        moment = str(cube[T].values[index[0]]) if dated else None
        corner = {"x": cube[X].values[spans[3]], "y": cube[Y].values[spans[2]], "moment": moment}
        found.append((index, corner))
    return found


def _write_part(values: Array, spec: TableSpec, corner: Mapping[str, Any], parts: Place) -> Place:
    """Write the rows of a block as a table of its own; gives its place."""
    codes, scale = quantised(values, spec.chosen)
    known_ = np.isfinite(values[0]).all(0).ravel()
    y, x = (v.ravel()[known_] for v in np.meshgrid(corner["y"], corner["x"], indexing="ij"))
    flat = codes[0].reshape(codes.shape[1], -1).T[known_]
    schema = spec.schema()
    moment = None if corner["moment"] is None else pd.Timestamp(corner["moment"], tz="UTC")
    columns = [
        pa.array(shapely.to_wkb(_shapes(x, y, spec)), pa.binary()),
        pa.array([moment] * len(x), schema.field("datetime").type),
        pa.array(x, pa.float64()),
        pa.array(y, pa.float64()),
        pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(flat).ravel()), type=schema.field("embedding").type
        ),
    ]
    if scale is not None:
        columns.append(pa.array(scale.ravel()[known_], pa.float32()))
    data = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), data)
    label = f"{corner['moment']}-{corner['y'][0]}-{corner['x'][0]}".replace(":", "")
    if isinstance(parts, Path):
        parts.mkdir(parents=True, exist_ok=True)
    place = parts / f"{label}.parquet"
    put(place, data.getvalue())
    return place


def _shapes(x: Array, y: Array, spec: TableSpec) -> Array:
    if spec.geometry == "point":
        points: Array = shapely.points(x, y)
        return points
    half_x, half_y = spec.size[0] / 2, spec.size[1] / 2
    boxes: Array = shapely.box(x - half_x, y - half_y, x + half_x, y + half_y)
    return boxes


def _gather(parts: Place, path: Place, spec: TableSpec, mark: str, rows: list[Place]) -> Written:
    """One file of all parts, a row group each; never more than a part in memory."""
    if path.exists():
        if isinstance(path, ObjectPath) or not parts.exists():  # this very task ran before
            return file_written(path, mark)
        raise OutputExistsError(f"{path} exists; nothing in it was touched.")
    with tempfile.TemporaryDirectory() as folder:
        local = path.with_name(f".{path.name}.part") if isinstance(path, Path) else None
        target = local or Path(folder, "table")
        with pq.ParquetWriter(target, spec.schema(), compression="zstd") as writer:
            for place in rows:
                table = pq.read_table(io.BytesIO(place.read_bytes()))
                if table.num_rows:
                    writer.write_table(table)
        if isinstance(path, ObjectPath):
            path.upload(target)
        else:
            os.replace(target, path)
    remove(parts)
    return file_written(path, mark)


def _saved(description: Description, written: list[Written]) -> Saved:
    return described(description, written, "PARQUET")
