"""Fits the head of `udfs/cloud.py` and measures it: `python -m udfs.fit.cloud --data DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from udfs.fit import left_out, places, scores, writing
from udfs.fit.command import command
from udfs.fit.heads import fitted

SCENE = {8: 1, 9: 1, 10: 1, 4: 0, 5: 0, 6: 0, 11: 0}
"""Sen2Cor's codes: cloud of medium and high probability and cirrus; vegetation, soil, water, snow."""


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/cloud.py and its card."""
    scenes = places.scenes(data)
    labelled = {
        place.name: left_out.labelled(place, SCENE, left_out.thinned(place)) for place in scenes
    }
    udf = writing.udf("cloud")
    tables = left_out.confusions(
        labelled,
        2,
        lambda head, v: (left_out.call(udf, v, {"weights": head})[:, 0] > 0.5).astype(int),
    )
    head = fitted(left_out.samples(labelled), 2, "one")
    writing.write(
        "cloud",
        head,
        {
            "title": "Clouds of patches of 80 m",
            "input": writing.EMBEDDINGS,
            "output": "labels of embedding: `cloud`, a probability, or 1 and 0",
            "encoder": writing.encoder_document(),
            "parameters": int(np.size(head["weight"]) + np.size(head["bias"])),
            "training_places": left_out.described(scenes),
            "left_out_places": "each place in turn, by a head of the others",
            "patches": sum(len(one.classes) for one in labelled.values()),
            "score": scores.score("accuracy", tables, scores.accuracy),
            "more_scores": [scores.score("F1 of cloud", tables, scores.f1(1))],
            "baseline": left_out.baseline(labelled, 2, "accuracy", scores.accuracy),
            "licence": "Apache-2.0; labels: Copernicus Sentinel data, free and open",
            "attributions": [writing.COPERNICUS],
            "limits": [
                "Labels are Sen2Cor's scene classification, which errs itself, most at thin cloud.",
                "Patches that Sen2Cor calls shadow, dark, or cloud of low probability are left out.",
                "The places have different bands: four lack most of the twelve. One is at 60 m.",
                writing.CHOSEN,
            ],
        },
    )


if __name__ == "__main__":
    fit()
