"""Fits the head of `udfs/land_cover.py` and measures it: `python -m udfs.fit.land_cover --data DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from udfs.fit import left_out, places, scores, writing
from udfs.fit.command import command
from udfs.fit.heads import fitted

CODES = (1, 2, 4, 5, 9)
LABELS = ("water", "trees", "crops", "built area", "rangeland")


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/land_cover.py and its card."""
    found = places.majortom(data)
    kinds = {code: number for number, code in enumerate(CODES)}
    labelled = {place.name: left_out.labelled(place, kinds) for place in found}
    named = {"labels": list(LABELS), "codes": list(CODES)}
    udf = writing.udf("land_cover")
    tables = left_out.confusions(
        labelled,
        len(CODES),
        lambda head, v: left_out.call(udf, v, {"weights": named | head}).argmax(-1),
    )
    head = fitted(left_out.samples(labelled), len(CODES), "one")
    writing.write(
        "land_cover",
        named | head,
        {
            "title": "Land cover of patches of 80 m",
            "input": writing.EMBEDDINGS,
            "output": "labels of embedding: probabilities of the classes; or one label `class` with Esri's codes",
            "encoder": writing.encoder_document(),
            "classes": dict(zip(LABELS, CODES, strict=True)),
            "parameters": int(np.size(head["weight"]) + np.size(head["bias"])),
            "training_places": left_out.described(found),
            "left_out_places": "each place in turn, by a head of the others",
            "patches": sum(len(one.classes) for one in labelled.values()),
            "score": scores.score("accuracy", tables, scores.accuracy),
            "more_scores": [scores.score("mean F1 of classes", tables, scores.macro_f1)],
            "baseline": left_out.baseline(labelled, len(CODES), "accuracy", scores.accuracy),
            "licence": "Apache-2.0; labels: Esri / Impact Observatory, CC-BY-4.0",
            "attributions": [
                writing.COPERNICUS,
                "Esri / Impact Observatory land cover (CC-BY-4.0)",
            ],
            "limits": [
                "Three places on three continents: a place left out looks unlike the two that are left.",
                "Labels are a yearly map of 10 m that is itself predicted; dates of the images are unknown.",
                "Flooded vegetation and bare ground occur at one place each and are left out.",
                writing.CHOSEN,
            ],
        },
    )


if __name__ == "__main__":
    fit()
