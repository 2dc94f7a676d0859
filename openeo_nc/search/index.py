"""The contract of indexes: rows with vectors that are added to and searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError
from openeo_nc.search.filters import Filters
from openeo_nc.search.rows import Floats, Found, Rows
from openeo_nc.search.scan import Metric, prepared

SOURCES_SHOWN = 20
"""Most sources that a report lists."""


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index holds."""

    path: str
    """Its folder."""
    kind: str
    """`arrow` or `lancedb`."""
    rows: int
    """How many vectors."""
    dim: int
    """Values of each."""
    metric: str
    """What is near: `cosine` or `euclidean`."""
    bytes: int
    """Bytes of its files."""
    models: tuple[str, ...]
    """Models that made them."""
    sources: tuple[str, ...]
    """Items that they are from."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "path": self.path, "kind": self.kind, "rows": self.rows, "dim": self.dim,
            "metric": self.metric, "bytes": self.bytes, "models": list(self.models),
            "source_count": len(self.sources), "sources": list(self.sources[:SOURCES_SHOWN]),
        }  # fmt: skip


class VectorIndex(Protocol):
    """Vectors on disk. Searches of an opened index see what it held when it was opened."""

    def info(self) -> IndexInfo:
        """What it holds."""

    def search(self, query: Floats, k: int, filters: Filters = ...) -> Found:
        """The nearest k rows of those that the filters keep.

        Parameters
        ----------
        query
            `(dim,)`.

        Raises
        ------
        InvalidParameterError
            The query has another length, or NaN, or k is no number of rows.
        """

    def vector_at(self, lon: float, lat: float) -> Floats | None:
        """The mean vector `(dim,)` of the patch that has a place, over its dates; None if none."""

    def add(self, rows: Iterable[Rows]) -> int:
        """Add rows, all or none of them; gives how many."""


def asked(query: npt.ArrayLike, k: int, dim: int, metric: Metric) -> Floats:
    """The query `(dim,)` as it is compared; InvalidParameterError if it, or k, is none."""
    vector = np.asarray(query, np.float32)
    if vector.shape != (dim,):
        raise InvalidParameterError(
            f"The query has the shape {vector.shape}; the vectors searched have {dim} values."
        )
    if not np.isfinite(vector).all():
        raise InvalidParameterError("The query has no data, or numbers that are not finite.")
    if k < 1:
        raise InvalidParameterError(f"k is a number of results, 1 or more; given {k!r}.")
    found: Floats = prepared(vector[None], metric)[0]
    return found
