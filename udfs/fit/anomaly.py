"""Fits the scatter of `udfs/anomaly.py` and measures it: `python -m udfs.fit.anomaly --data DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from udfs.fit import injected, left_out, places, scores, writing
from udfs.fit.command import command
from udfs.fit.embedded import embed

DRAWS = 3
"""Times that blocks are put into each image."""

Array = npt.NDArray[Any]


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/anomaly.py and its card."""
    training = places.of_training(data)
    weights = {"scatter": writing.rows(_scatter([embed(one.pixels) for one in training]))}
    udf = writing.udf("anomaly")
    curves: dict[str, dict[str, list[float]]] = {"anomaly": {}, "pixels": {}}
    rng = np.random.default_rng(2)
    for pair in injected.pairs(data):
        for _ in range(DRAWS):
            image, truth = injected.inject(pair.before, injected.donors(data, pair.place), rng)
            vectors = embed(image[None])
            cube = xr.DataArray(vectors, dims=("t", "embedding", "y", "x"))
            found = udf.apply_datacube(cube, {"weights": weights}).values[0, 0]
            bands = left_out.moments(image[None])[:, : len(image)]
            kept = bands[:, np.isfinite(bands).any(0)]
            spectral = np.abs((kept - np.nanmean(kept, 0)) / np.nanstd(kept, 0)).mean(-1)
            for way, one in {"anomaly": found, "pixels": spectral.reshape(truth.shape)}.items():
                known = np.isfinite(one)
                curves[way].setdefault(pair.place, []).append(scores.auc(truth[known], one[known]))
    of = {w: {place: float(np.mean(v)) for place, v in one.items()} for w, one in curves.items()}
    writing.write(
        "anomaly",
        weights,
        {
            "title": "How unusual patches of 80 m are in their image",
            "input": writing.EMBEDDINGS,
            "output": "labels of embedding: `anomaly`, about 1 where nothing is unusual; or 1 and 0",
            "encoder": writing.encoder_document(),
            "parameters": int(np.size(weights["scatter"])),
            "training_places": left_out.described(training),
            "left_out_places": sorted(of["anomaly"]),
            "injected": " ".join((injected.__doc__ or "").split())
            + " Images: the first of each pair of `change`.",
            "score": scores.score("AUC of injected blocks", of["anomaly"], scores.mean),
            "baseline": scores.score(
                "AUC, mean distance of the bands from the image's", of["pixels"], scores.mean
            ),
            "licence": "Apache-2.0",
            "attributions": [writing.COPERNICUS],
            "limits": [
                "Anomalies are made up: blocks of other places.",
                "What is rare in an image is anomalous in it: a pond, a farm, the one town.",
                "A chunk is compared with itself: results depend on how the cube is cut.",
            ],
        },
    )


def _scatter(series: list[Array]) -> Array:
    """Mean scatter `(dim, dim)` of vectors around their image's mean; places count alike."""
    found = []
    for vectors in series:
        images = np.moveaxis(vectors, 1, -1).reshape(len(vectors), -1, vectors.shape[1])
        apart = (images - np.nanmean(images, 1, keepdims=True)).reshape(-1, images.shape[-1])
        apart = apart[np.isfinite(apart).all(-1)].astype(np.float64)
        found.append(apart.T @ apart / len(apart))
    return np.asarray(np.mean(found, 0))


if __name__ == "__main__":
    fit()
