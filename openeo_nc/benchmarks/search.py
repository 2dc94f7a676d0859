"""Search among many vectors: milliseconds a query, and recall against all products in float64.

Real vectors are few, so they are jittered: each row is one of them, drawn at random, plus Gaussian noise
in each component, brought to length 1. Queries are made the same way and are no rows. Rows lie at random
in a degree square and in the days of 2024. Filters keep a share of the rows: a box of a tenth and of a
hundredth of the square, a twelfth of the year, and both. The first queries are left out of the time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.errors import InvalidParameterError
from openeo_nc.search.filters import Filters
from openeo_nc.search.opening import create_index
from openeo_nc.search.rows import Floats, Origin, Places, Rows
from openeo_nc.tables import table as text_table

JITTER = 0.02
"""Standard deviation of the noise, in each component of vectors of length 1."""
GOAL_MS, GOAL_RECALL = 20.0, 0.95
WARM = 3
"""Queries that are not timed."""
_SEED = 7
_PIECE = 50_000
_DAY = 86_400_000_000
_START = 1_704_067_200_000_000
_WEST, _SOUTH = 11.0, 46.0
FILTERS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "a tenth of the area": {"spatial_extent": (0.2, 0.5)},
    "a hundredth of the area": {"spatial_extent": (0.1, 0.1)},
    "a month": {"temporal_extent": ("2024-06-01", "2024-07-01")},
    "a month of a hundredth": {
        "spatial_extent": (0.1, 0.1), "temporal_extent": ("2024-06-01", "2024-07-01"),
    },
}  # fmt: skip


def vectors_of(folder: Path) -> Floats:
    """`(samples, dim)` real vectors of the NetCDF files in a folder."""
    files = sorted(folder.glob("*.nc"))
    if not files:
        raise InvalidParameterError(f"There are no vectors (*.nc) in {folder}.")
    parts = []
    for file in files:
        with xr.open_dataset(file) as dataset:
            parts.append(dataset["embedding"].values.astype(np.float32))
    return np.concatenate(parts)


def run(
    real: Floats, *, rows: int = 500_000, queries: int = 100, k: int = 10,
    kinds: Sequence[str] = ("arrow",),
) -> dict[str, Any]:  # fmt: skip
    """What searches cost and find, as JSON takes it."""
    rng = np.random.default_rng(_SEED)
    made = _rows(real, rows, rng)
    asked = _jittered(real, queries + WARM, rng)
    found = []
    with tempfile.TemporaryDirectory(prefix="openeo-nc-") as folder:
        for kind in kinds:
            start = time.perf_counter()
            index = create_index(Path(folder) / kind, _pieces(made), kind=kind)
            built = time.perf_counter() - start
            for name, told in FILTERS.items():
                one = _measured(index, made, asked, k, Filters.of(_filters(told)))
                found.append({"kind": kind, "filter": name, "build_seconds": built, **one})
    return {
        "rows": rows, "dim": real.shape[1], "queries": queries, "k": k, "jitter": JITTER,
        "real_vectors": len(real), "goal_ms": GOAL_MS, "goal_recall": GOAL_RECALL,
        "reached": all(o["ms"] < GOAL_MS and o["recall"] >= GOAL_RECALL for o in found),
        "searches": found,
    }  # fmt: skip


def table(report: Mapping[str, Any]) -> str:
    """The report for reading."""
    head = ("index", "filter", "kept", "ms a query", "slowest tenth ms", f"recall@{report['k']}")
    rows = [
        (o["kind"], o["filter"], o["kept"], f"{o['ms']:.2f}", f"{o['ms_p90']:.2f}", f"{o['recall']:.4f}")
        for o in report["searches"]
    ]  # fmt: skip
    about = f"{report['rows']} vectors of {report['dim']}, median of {report['queries']} queries"
    goal = f"goal: < {GOAL_MS:g} ms and recall >= {GOAL_RECALL}: "
    return f"{about}\n\n{text_table(head, rows)}\n\n{goal}{'yes' if report['reached'] else 'no'}"


def _measured(index: Any, made: Rows, asked: Floats, k: int, filters: Filters) -> dict[str, Any]:
    places = made.places
    keep = filters.keep(places.lon, places.lat, places.time)
    kept = np.flatnonzero(np.ones(len(places), bool) if keep is None else keep)
    times, recalls = [], []
    truth = _truth(made.vectors, kept, asked[WARM:], k)
    for number, query in enumerate(asked):
        start = time.perf_counter()
        found = index.search(query, k, filters)
        spent = time.perf_counter() - start
        if number < WARM:
            continue
        times.append(spent * 1000)
        rows = set(np.rint(found.places.x).astype(int).tolist())
        best = truth[number - WARM]
        recalls.append(len(rows & best) / len(best) if best else 1.0)
    return {
        "kept": len(kept),
        "ms": statistics.median(times),
        "ms_p90": float(np.percentile(times, 90)),
        "recall": statistics.mean(recalls),
    }


def _truth(
    vectors: Floats, kept: npt.NDArray[Any], queries: Floats, k: int
) -> list[set[int]]:  # fmt: skip
    """Rows of the k largest cosines of each query, in float64, piece by piece."""
    exact = queries.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    scores = np.full((len(queries), 0), -np.inf)
    rows = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(kept), _PIECE):
        piece = kept[start : start + _PIECE]
        part = vectors[piece].astype(np.float64)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        scores = np.concatenate([scores, exact @ part.T], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(piece, (len(queries), len(piece)))], axis=1)
        best = np.argsort(-scores, axis=1)[:, :k]
        scores, rows = (np.take_along_axis(one, best, axis=1) for one in (scores, rows))
    return [set(one.tolist()) for one in rows]


def _jittered(real: Floats, count: int, rng: np.random.Generator) -> Floats:
    noise = rng.normal(0, JITTER, (count, real.shape[1])).astype(np.float32)
    found: Floats = real[rng.integers(0, len(real), count)] + noise
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def _rows(real: Floats, count: int, rng: np.random.Generator) -> Rows:
    """Jittered rows; x is the row's number, by which it is known again."""
    numbers = np.arange(count, dtype=np.float64)
    size = np.full(count, 1e-4)
    places = Places(
        lon=_WEST + rng.random(count), lat=_SOUTH + rng.random(count), x=numbers,
        y=np.zeros(count), width=size, height=size,
        time=_START + rng.integers(0, 366, count) * _DAY, origin=np.zeros(count, np.int64),
    )  # fmt: skip
    origin = Origin(source="https://example.com/item.json", model="alphaearth")
    return Rows(vectors=_jittered(real, count, rng), places=places, origins=(origin,))


def _pieces(made: Rows) -> Iterator[Rows]:
    for start in range(0, len(made), _PIECE):
        part = slice(start, start + _PIECE)
        yield Rows(vectors=made.vectors[part], places=made.places.take(part), origins=made.origins)


def _filters(told: Mapping[str, Any]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if "spatial_extent" in told:
        width, height = told["spatial_extent"]
        filters["spatial_extent"] = {
            "west": _WEST + 0.3, "south": _SOUTH + 0.3,
            "east": _WEST + 0.3 + width, "north": _SOUTH + 0.3 + height,
        }  # fmt: skip
    if "temporal_extent" in told:
        filters["temporal_extent"] = list(told["temporal_extent"])
    return filters
