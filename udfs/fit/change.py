"""Fits the measure of `udfs/change.py` and measures it: `python -m udfs.fit.change --data DIR`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from udfs.fit import injected, left_out, places, scores, writing
from udfs.fit.command import command
from udfs.fit.embedded import embed

DRAWS = 2
"""Times that blocks are put into each pair."""

Array = npt.NDArray[Any]


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/change.py and its card."""
    training = places.of_training(data)
    vectors = [embed(one.pixels) for one in training]
    weights = {"dim": vectors[0].shape[1], "usual": _usual(vectors)}
    udf = writing.udf("change")
    ways = {"change": _called(udf, weights), "pixels": _spectral}
    curves: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    rng = np.random.default_rng(1)
    for pair in injected.pairs(data):
        for _ in range(DRAWS):
            after, truth = injected.inject(pair.after, injected.donors(data, pair.place), rng)
            images = np.stack([pair.before, after])
            vectors = embed(images)
            for way, measure in ways.items():
                found = measure(images, vectors)
                known = np.isfinite(found)
                curves[way].setdefault(pair.place, []).append(
                    scores.auc(truth[known], found[known])
                )
    of = {w: {place: float(np.mean(v)) for place, v in one.items()} for w, one in curves.items()}
    writing.write(
        "change",
        weights,
        {
            "title": "Change of patches of 80 m between dates",
            "input": writing.EMBEDDINGS + ", with t",
            "output": "labels of embedding: `change`, about 1 where nothing happened; or 1 and 0",
            "encoder": writing.encoder_document(),
            "parameters": 1,
            "training_places": left_out.described(training),
            "left_out_places": sorted(of["change"]),
            "injected": " ".join((injected.__doc__ or "").split())
            + " Pairs: "
            + " ".join((injected.pairs.__doc__ or "").split()),
            "score": scores.score("AUC of injected changes", of["change"], scores.mean),
            "baseline": scores.score(
                "AUC, mean difference of the bands", of["pixels"], scores.mean
            ),
            "licence": "Apache-2.0",
            "attributions": [writing.COPERNICUS],
            "limits": [
                "Changes are made up: blocks of other places. Real ones are often fainter.",
                "Differences between seasons count as usual only as far as the training places show them.",
                "A change shows in patches within 560 m, too, weaker.",
                "Mask clouds first: a cloud is a change.",
            ],
        },
    )


def _called(udf: Any, weights: dict[str, Any]) -> Any:
    def change(images: Array, vectors: Array) -> Array:
        cube = xr.DataArray(vectors, dims=("t", "embedding", "y", "x"))
        found: Array = udf.apply_datacube(cube, {"weights": weights}).values[1, 0]
        return found

    return change


def _spectral(images: Array, vectors: Array) -> Array:
    """Mean over bands of the difference of means, each in deviations of the first image."""
    there = np.isfinite(images).any((2, 3)).all(0)
    means = left_out.moments(images[:, there])[:, : there.sum()].reshape(2, -1, there.sum())
    scaled = np.abs(means[1] - means[0]) / np.nanstd(means[0], 0)
    found: Array = np.nanmean(scaled, -1).reshape(vectors.shape[-2:])
    return found


def _usual(series: list[Array]) -> float:
    """Median over places of the median length of differences between any two dates of a patch."""
    found = []
    for vectors in series:
        lengths = [np.linalg.norm(b - a, axis=0) for a, b in combinations(vectors, 2)]
        found.append(float(np.nanmedian(lengths)))
    return round(float(np.median(found)), 3)


if __name__ == "__main__":
    fit()
