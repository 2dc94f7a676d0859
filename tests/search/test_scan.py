"""Exact nearest vectors, against all products in float64."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.errors import InvalidParameterError
from openeo_nc.search.scan import BLOCK, Segment, known_metric, nearest, prepared, rotation_of


def oracle(vectors, query, k, metric, keep):
    """Rows and scores from all products in float64."""
    v, q = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        scores = v @ q / np.linalg.norm(v, axis=1) / np.linalg.norm(q)
    else:
        scores = -np.linalg.norm(v - q, axis=1)
    scores = np.where(keep, scores, -np.inf)
    best = np.argsort(-scores, kind="stable")[:k]
    best = best[np.isfinite(scores[best])]
    return best, scores[best]


def made(kind, n, dim):
    rng = np.random.default_rng(4)
    spread = 0.7 ** np.arange(dim) if kind == "spread" else np.ones(dim)
    return (rng.normal(size=(n, dim)) * spread + 0.1).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["spread", "even"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01, 0.0])
def test_it_finds_what_a_scan_of_everything_finds(metric, kind, share):
    vectors = made(kind, 2 * BLOCK + 77, 24)
    rng = np.random.default_rng(1)
    keep = rng.random(len(vectors)) < share
    rotation = rotation_of(vectors)
    segment = Segment.of(prepared(vectors, metric), rotation)
    for query in made(kind, 3, 24) + vectors[:3] * 0.5:
        rows, scores = nearest(
            segment, rotation, prepared(query[None], metric)[0], 10, metric=metric,
            keep=None if share == 1 else keep,
        )  # fmt: skip
        expected, true = oracle(vectors, query, 10, metric, keep if share < 1 else True)
        np.testing.assert_allclose(scores, true, atol=2e-5, rtol=1e-4)
        assert len(set(rows) & set(expected)) == len(expected)


def test_it_finds_all_of_fewer_than_k():
    vectors = made("even", 3, 1)
    segment = Segment.of(vectors, np.eye(1, dtype=np.float32))
    rows, _ = nearest(
        segment, np.eye(1, dtype=np.float32), vectors[0], 10, metric="euclidean", keep=None
    )
    assert sorted(rows) == [0, 1, 2]


def test_a_rotation_is_one():
    rotation = rotation_of(made("spread", 500, 12))
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(12), atol=1e-5)


def test_other_metrics_are_refused():
    with pytest.raises(InvalidParameterError, match="cosine and euclidean"):
        known_metric("manhattan")
