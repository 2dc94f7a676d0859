"""The index that needs nothing besides Arrow and NumPy: files that are mapped and scanned, exactly.

    index.json      dim, metric, and the parts with their origins
    <token>.arrow   a part: what one build or add wrote

A part is written beside the others and counts once index.json, replaced in one step, names it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import shapely

from openeo_nc.cubes.places import put
from openeo_nc.errors import InvalidParameterError, OutputExistsError
from openeo_nc.search.arrow_parts import Part, mapped, write_part
from openeo_nc.search.filters import Filters
from openeo_nc.search.frame import outlines
from openeo_nc.search.index import IndexInfo, asked
from openeo_nc.search.rows import Floats, Found, Integers, Rows, nothing
from openeo_nc.search.scan import Metric, known_metric, nearest
from openeo_nc.search.writing import locked, removed_if_fails

NAME = "index.json"
KIND = "arrow"
FORMAT = 1
"""Of the files; another one is refused."""
_EVERYTHING = Filters()


class ArrowIndex:
    """An index in a folder; see `search.index.VectorIndex`."""

    def __init__(self, path: Path, document: Mapping[str, Any], parts: tuple[Part, ...]) -> None:
        self._path, self._document, self._parts = path, document, parts

    @classmethod
    def create(
        cls, path: Path, rows: Iterable[Rows], *, metric: str = "cosine", overwrite: bool = False
    ) -> Self:
        """A new index; in place of an old one, which readers see until this one is whole.

        Raises
        ------
        OutputExistsError
            There is one, and overwrite is false; or the folder holds something else.
        NoDataAvailableError, InvalidParameterError, DataTypeUnsupportedError
        """
        chosen = known_metric(metric)
        if path.exists() and not (overwrite and (path / NAME).is_file()):
            raise OutputExistsError(f"{path} exists; nothing in it was touched.")
        with removed_if_fails(path), locked(path):
            dim, part = write_part(path, rows, None, chosen)
            document = {"format": FORMAT, "kind": KIND, "metric": metric, "dim": dim}
            put(path / NAME, _text(document | {"parts": [part]}))
            for old in path.glob("*.arrow"):
                if old.name != part["file"]:
                    old.unlink()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in a folder, mapped.

        Raises
        ------
        InvalidParameterError
            There is none.
        PayloadError
            It is damaged.
        """
        document = _document(path)
        parts = [part for told in document["parts"] for part in mapped(path, told)]
        return cls(path, document, tuple(parts))

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return int(self._document["dim"])

    @property
    def metric(self) -> Metric:
        """What is near."""
        return known_metric(self._document["metric"])

    def info(self) -> IndexInfo:
        """What it holds."""
        parts = self._document["parts"]
        origins = [origin for part in parts for origin in part["origins"]]
        return IndexInfo(
            path=str(self._path), kind=KIND, rows=sum(part["rows"] for part in parts),
            dim=self.dim, metric=self.metric,
            bytes=sum((self._path / part["file"]).stat().st_size for part in parts),
            models=tuple(dict.fromkeys(o["model"] for o in origins if o["model"])),
            sources=tuple(dict.fromkeys(o["source"] for o in origins if o["source"])),
        )  # fmt: skip

    def search(self, query: Floats, k: int, filters: Filters = _EVERYTHING) -> Found:
        """The nearest k rows of those that the filters keep; see `VectorIndex`."""
        wanted = asked(query, k, self.dim, self.metric)
        found = []
        for part in self._parts:
            places = part.places
            keep = filters.keep(places.lon, places.lat, places.time)
            rows, scores = nearest(
                part.segment, part.rotation, wanted, k, metric=self.metric, keep=keep
            )
            if len(rows):
                found.append(Found(scores=scores, places=places.take(rows), origins=part.origins))
        return Found.merged(found, k) if found else nothing()

    def vector_at(self, lon: float, lat: float) -> Floats | None:
        """The mean vector of the patch that has a place, over its dates; see `VectorIndex`."""
        point = shapely.Point(lon, lat)
        vectors = []
        for part in self._parts:
            for row in _around(part, point):
                turned = np.concatenate([part.segment.head[row], part.segment.tail[row]])
                vectors.append(part.rotation @ turned)
        return np.stack(vectors).mean(axis=0) if vectors else None

    def add(self, rows: Iterable[Rows]) -> int:
        """Add rows, all or none of them; gives how many."""
        with locked(self._path):
            document = _document(self._path)
            _, part = write_part(self._path, rows, self.dim, self.metric)
            put(self._path / NAME, _text({**document, "parts": [*document["parts"], part]}))
        renewed = type(self).open(self._path)
        self._document, self._parts = renewed._document, renewed._parts
        return int(part["rows"])


def _around(part: Part, point: shapely.Point) -> Integers:
    """Rows of the patch that has a point: that of the nearest middle, if it has it."""
    places = part.places
    across = (places.lon - point.x) * math.cos(math.radians(point.y))
    apart = np.hypot(across, places.lat - point.y)
    rows = np.flatnonzero(apart <= apart.min() + 1e-9)
    shapes = outlines(places.take(rows), part.origins)
    near: Integers = rows[shapely.intersects(np.array(shapes, object), point)]
    return near


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads((path / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidParameterError(f"{path} is no index of vectors.") from error
    told = document if isinstance(document, Mapping) else {}
    if (told.get("format"), told.get("kind")) != (FORMAT, KIND):
        raise InvalidParameterError(f"{path} is no index of vectors of format {FORMAT}.")
    return told


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
