"""What is searched: vectors with the patch, the moment and the source item of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
NO_TIME = int(np.iinfo(np.int64).min)
"""The moment of a row without one; what NumPy has for NaT."""
COLUMNS = ("lon", "lat", "x", "y", "width", "height", "time", "origin")
"""Numbers of a row besides its vector."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What many rows have in common."""

    source: str = ""
    """Address of the item that they are from; empty if unknown."""
    model: str = ""
    """Id of the model that made them; empty if unknown."""
    crs: str = "EPSG:4326"
    """CRS of their patches, `EPSG:n` or WKT."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where and when rows are, arrays `(rows,)`."""

    lon: Doubles
    """Longitude of the middle of the patch, degrees."""
    lat: Doubles
    """Latitude of it."""
    x: Doubles
    """Middle of the patch in the CRS of its origin."""
    y: Doubles
    """The same, northwards."""
    width: Doubles
    """Extent of the patch along x in that CRS."""
    height: Doubles
    """Extent along y."""
    time: Integers
    """Microseconds since 1970-01-01 UTC; `NO_TIME` for none."""
    origin: Integers
    """Position in a list of origins."""

    def __len__(self) -> int:
        return len(self.lon)

    def take(self, chosen: Any) -> Self:
        """Some of the rows."""
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def joined(parts: Sequence[tuple[Places, tuple[Origin, ...]]]) -> tuple[Places, tuple[Origin, ...]]:
    """Places of several lists of origins, one after the other, and the one list of all."""
    origins = tuple(dict.fromkeys(origin for _, own in parts for origin in own))
    at = {origin: number for number, origin in enumerate(origins)}
    renumbered = [np.array([at[o] for o in own], np.int64)[p.origin] for p, own in parts]
    columns = {name: np.concatenate([getattr(p, name) for p, _ in parts]) for name in COLUMNS}
    return Places(**columns | {"origin": np.concatenate(renumbered)}), origins


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Vectors and where they are from."""

    vectors: Floats
    """`(rows, dim)`, none with NaN."""
    places: Places
    """Of each."""
    origins: tuple[Origin, ...]
    """What `places.origin` counts."""

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The nearest rows, the nearest first."""

    scores: Floats
    """Cosine similarity, or distance with its sign changed: more is nearer."""
    places: Places
    """Of each."""
    origins: tuple[Origin, ...]
    """What `places.origin` counts."""

    @classmethod
    def merged(cls, parts: Sequence[Found], k: int) -> Found:
        """The nearest k of several searches; of equal ones the earlier."""
        places, origins = joined([(part.places, part.origins) for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        best = np.argsort(-scores, kind="stable")[:k]
        return cls(scores=scores[best], places=places.take(best), origins=origins)


def nothing(origins: tuple[Origin, ...] = ()) -> Found:
    """A search that found no row."""
    none = np.empty(0)
    whole = np.empty(0, np.int64)
    columns: dict[str, Any] = dict.fromkeys(COLUMNS, none) | {"time": whole, "origin": whole}
    return Found(scores=np.empty(0, np.float32), places=Places(**columns), origins=origins)
