"""Exact nearest vectors by a scan that looks at a few leading components of most.

Vectors are rotated so that their energy is in the first components (a KLT; a rotation changes no
product). By Cauchy and Schwarz the rest of a product is at most |rest of the query| times |rest of the
vector|, so only rows that may still be among the nearest are looked at whole. What is found is what a
scan of everything finds; how many rows are looked at whole depends on the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from openeo_nc.errors import InvalidParameterError
from openeo_nc.search.rows import Doubles, Flags, Floats, Integers

Metric = Literal["cosine", "euclidean"]
METRICS = ("cosine", "euclidean")
BLOCK = 8192
"""Rows looked at together; their leading components stay in a processor's cache."""
_SPARSE = 4
"""With less than one in so many rows kept, these are picked out first."""
_SLACK = np.float32(1e-5)
"""More than what rounding does to a bound of unit vectors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Vectors as they are scanned."""

    head: Floats
    """`(rows, leading)` components of the rotated vectors."""
    tail: Floats
    """`(rows, dim - leading)`, the others."""
    rest: Floats
    """`(rows,)` lengths of `tail`."""
    half: Floats
    """`(rows,)` half the squared lengths of the vectors."""

    @classmethod
    def of(cls, vectors: Floats, rotation: Floats) -> Self:
        """The segment of `(rows, dim)` vectors."""
        rotated = vectors @ rotation
        lead = leading(vectors.shape[1])
        tail = np.ascontiguousarray(rotated[:, lead:])
        return cls(
            head=np.ascontiguousarray(rotated[:, :lead]), tail=tail,
            rest=np.linalg.norm(tail, axis=1).astype(np.float32),
            half=(np.einsum("ij,ij->i", vectors, vectors) / 2).astype(np.float32),
        )  # fmt: skip


def leading(dim: int) -> int:
    """Components of the head: a quarter."""
    return max(1, dim // 4)


def rotation_of(vectors: Floats) -> Floats:
    """`(dim, dim)` orthonormal columns, those of most energy first."""
    moments: Doubles = vectors.T.astype(np.float64) @ vectors
    return np.ascontiguousarray(np.linalg.eigh(moments)[1][:, ::-1]).astype(np.float32)


def prepared(vectors: Floats, metric: Metric) -> Floats:
    """`(rows, dim)` vectors as a metric compares them: of length 1 for cosine."""
    vectors = np.ascontiguousarray(vectors).astype(np.float32, copy=False)
    if metric == "euclidean":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return unit


def known_metric(name: str) -> Metric:
    """The metric of a name; InvalidParameterError if it is none."""
    if name == "cosine":
        return "cosine"
    if name == "euclidean":
        return "euclidean"
    raise InvalidParameterError(f"Metrics are {' and '.join(METRICS)}; given {name!r}.")


def nearest(
    segment: Segment, rotation: Floats, query: Floats, k: int, *, metric: Metric,
    keep: Flags | None = None,
) -> tuple[Integers, Floats]:  # fmt: skip
    """Positions and scores of the nearest k rows, the nearest first.

    Parameters
    ----------
    query
        `(dim,)`, as `prepared` makes it.
    keep
        Which rows count; None is all.
    """
    turned = query @ rotation
    lead = segment.head.shape[1]
    ahead, behind = np.ascontiguousarray(turned[:lead]), np.ascontiguousarray(turned[lead:])
    reach = np.float32(np.linalg.norm(behind))
    half = segment.half if metric == "euclidean" else None
    slack = _SLACK * (1 + np.float32(query @ query))
    best, rows = np.full(k, -np.inf, np.float32), np.full(k, -1, np.int64)
    for place in _blocks(len(segment.head), keep):
        products = segment.head[place] @ ahead
        if half is not None:
            products -= half[place]
        hits = products + segment.rest[place] * reach >= best[-1] - slack
        if isinstance(place, slice) and keep is not None:
            hits &= keep[place]
        near = np.flatnonzero(hits)
        if not len(near):
            continue
        at = near + place.start if isinstance(place, slice) else place[near]
        scores = np.concatenate([best, products[near] + segment.tail[at] @ behind])
        order = np.argsort(-scores, kind="stable")[:k]
        best, rows = scores[order], np.concatenate([rows, at])[order]
    best, rows = best[rows >= 0], rows[rows >= 0]
    return rows, best if half is None else _distances(best, query)


def _blocks(rows: int, keep: Flags | None) -> list[slice | Integers]:
    """The rows to look at, piece by piece."""
    if keep is None or np.count_nonzero(keep) * _SPARSE > rows:
        return [slice(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    kept = np.flatnonzero(keep)
    return [kept[start : start + BLOCK] for start in range(0, len(kept), BLOCK)]


def _distances(best: Floats, query: Floats) -> Floats:
    """Distances, less than 0, of products less half the squared lengths."""
    squared = np.float64(query @ query) - 2 * best.astype(np.float64)
    return (-np.sqrt(np.maximum(squared, 0))).astype(np.float32)
