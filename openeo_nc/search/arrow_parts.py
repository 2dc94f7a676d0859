"""Parts of an index: Arrow files of vectors that are mapped and scanned as they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from openeo_nc.errors import (
    DataTypeUnsupportedError,
    InvalidParameterError,
    NoDataAvailableError,
    PayloadError,
)
from openeo_nc.search.rows import COLUMNS, Floats, Origin, Places, Rows, joined
from openeo_nc.search.scan import Metric, Segment, leading, prepared, rotation_of

BATCH = 131_072
"""Rows of a record batch, at least; fewer at the end."""
_WHOLE = ("time", "origin")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A mapped record batch."""

    segment: Segment
    """Its vectors."""
    places: Places
    """Where they are from."""
    rotation: Floats
    """What they are rotated by."""
    origins: tuple[Origin, ...]
    """What `places.origin` counts."""


def write_part(
    folder: Path, rows: Iterable[Rows], dim: int | None, metric: Metric
) -> tuple[int, dict[str, Any]]:
    """Write a part whole or not at all; gives dim, and what `mapped` is to be told.

    Raises
    ------
    NoDataAvailableError, InvalidParameterError, DataTypeUnsupportedError
    """
    name = f"{uuid4().hex}.arrow"
    growing = folder / f".{name}.part"
    origins: dict[Origin, int] = {}
    count, rotation, writer = 0, None, None
    try:
        with pa.OSFile(str(growing), "wb") as sink:
            for chunk in _batches(rows):
                dim = chunk.vectors.shape[1] if dim is None else dim
                vectors = _checked(chunk, dim, metric)
                if rotation is None or writer is None:
                    rotation = rotation_of(vectors)
                    schema = _schema(dim, rotation)
                    writer = pa.ipc.new_file(sink, schema)
                writer.write_batch(_batch(chunk, vectors, rotation, origins, schema))
                count += len(chunk)
            if writer is None or dim is None:
                raise NoDataAvailableError("There is no vector to add.")
            writer.close()
        growing.replace(folder / name)
    finally:
        growing.unlink(missing_ok=True)
    return dim, {"file": name, "rows": count, "origins": [asdict(origin) for origin in origins]}


def mapped(folder: Path, told: Mapping[str, Any]) -> Iterator[Part]:
    """The batches of a part; PayloadError if it is damaged."""
    origins = tuple(Origin(**origin) for origin in told["origins"])
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(folder / told["file"])))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (OSError, pa.ArrowInvalid) as error:
        raise PayloadError(f"The index {folder} is damaged: {error}") from error
    rotation = np.frombuffer(reader.schema.metadata[b"rotation"], np.float32)
    for batch in batches:
        head, tail = (_matrix(batch.column(name)) for name in ("head", "tail"))
        dim = head.shape[1] + tail.shape[1]
        segment = Segment(
            head=head, tail=tail, rest=batch.column("rest").to_numpy(),
            half=batch.column("half").to_numpy(),
        )  # fmt: skip
        places = Places(**{name: batch.column(name).to_numpy() for name in COLUMNS})
        turned = rotation.reshape(dim, dim)
        yield Part(segment=segment, places=places, rotation=turned, origins=origins)


def _batches(rows: Iterable[Rows]) -> Iterator[Rows]:
    """Rows joined into pieces of `BATCH` and more, as small ones are slow to scan."""
    waiting: list[Rows] = []
    for chunk in rows:
        if not len(chunk):
            continue
        if waiting and waiting[0].vectors.shape[1] != chunk.vectors.shape[1]:
            raise InvalidParameterError(
                "The vectors of an index have as many values each; given "
                f"{waiting[0].vectors.shape[1]} and {chunk.vectors.shape[1]}."
            )
        waiting.append(chunk)
        if sum(map(len, waiting)) >= BATCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Rows]) -> Rows:
    places, origins = joined([(part.places, part.origins) for part in parts])
    vectors = np.concatenate([part.vectors for part in parts])
    return Rows(vectors=vectors, places=places, origins=origins)


def _checked(rows: Rows, dim: int, metric: Metric) -> Floats:
    if rows.vectors.shape[1] != dim:
        raise InvalidParameterError(
            f"The vectors of this index have {dim} values; given {rows.vectors.shape[1]}."
        )
    if not np.isfinite(rows.vectors).all():
        raise DataTypeUnsupportedError("Vectors of an index are finite numbers.")
    return prepared(rows.vectors, metric)


def _schema(dim: int, rotation: Floats) -> pa.Schema:
    lead = leading(dim)
    columns = [
        ("head", pa.list_(pa.float32(), lead)), ("tail", pa.list_(pa.float32(), dim - lead)),
        ("rest", pa.float32()), ("half", pa.float32()),
        *((name, pa.int64() if name in _WHOLE else pa.float64()) for name in COLUMNS),
    ]  # fmt: skip
    return pa.schema(columns, metadata={"rotation": rotation.tobytes()})


def _batch(
    rows: Rows, vectors: Floats, rotation: Floats, origins: dict[Origin, int], schema: pa.Schema
) -> pa.RecordBatch:
    segment = Segment.of(vectors, rotation)
    table = np.array([origins.setdefault(o, len(origins)) for o in rows.origins], np.int64)
    columns: dict[str, Any] = {name: getattr(rows.places, name) for name in COLUMNS}
    columns |= {"origin": table[rows.places.origin], "rest": segment.rest, "half": segment.half}
    arrays = []
    for field in schema:
        if field.name in columns:
            arrays.append(pa.array(columns[field.name], type=field.type))
            continue
        flat = pa.array(getattr(segment, field.name).ravel())
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _matrix(column: Any) -> Floats:
    values: Floats = column.flatten().to_numpy()
    return values.reshape(len(column), column.type.list_size)
