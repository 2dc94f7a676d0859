"""Fits the head of `udfs/water.py` and measures it: `python -m udfs.fit.water --data DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from udfs.fit import left_out, places, scores, writing
from udfs.fit.command import command
from udfs.fit.heads import fitted

LAND_COVER = {1: 1, 2: 0, 4: 0, 5: 0, 6: 0, 9: 0}
"""Esri's codes: water, or land; flooded vegetation is neither."""
SCENE = {6: 1, 4: 0, 5: 0}
"""Sen2Cor's codes: water, or vegetation and bare soil."""


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/water.py and its card."""
    covers, scenes = places.majortom(data), places.scenes(data)
    labelled = {place.name: left_out.labelled(place, LAND_COVER) for place in covers}
    for place in scenes:
        labelled[place.name] = left_out.labelled(place, SCENE, left_out.thinned(place))
    udf = writing.udf("water")
    tables = left_out.confusions(
        labelled,
        2,
        lambda head, v: (left_out.call(udf, v, {"weights": head})[:, 0] > 0.5).astype(int),
    )
    head = fitted(left_out.samples(labelled), 2, "one")
    wet = {name: one for name, one in tables.items() if one[1].sum() > 0}
    writing.write(
        "water",
        head,
        {
            "title": "Water and flood of patches of 80 m",
            "input": writing.EMBEDDINGS,
            "output": "labels of embedding: `water`, and `flood` with a reference; probabilities, or 1 and 0",
            "encoder": writing.encoder_document(),
            "parameters": int(np.size(head["weight"]) + np.size(head["bias"])),
            "training_places": left_out.described([*covers, *scenes]),
            "left_out_places": "each place in turn, by a head of the others",
            "patches": sum(len(one.classes) for one in labelled.values()),
            "score": scores.score("F1 of water", tables, scores.f1(1)),
            "more_scores": [
                scores.score("accuracy", tables, scores.accuracy),
                scores.score("F1 of water, places that have water", wet, scores.f1(1)),
            ],
            "baseline": left_out.baseline(labelled, 2, "F1 of water", scores.f1(1)),
            "licence": "Apache-2.0; labels: Esri / Impact Observatory, CC-BY-4.0, and Copernicus",
            "attributions": [
                writing.COPERNICUS,
                "Esri / Impact Observatory land cover (CC-BY-4.0)",
            ],
            "limits": [
                "Four places have water, one of them at 60 m, for which the encoder was not made.",
                "Labels are maps: Esri's of a year, Sen2Cor's of the same image.",
                "A river narrower than half a patch, 40 m, is land.",
                "`flood` is the difference of two maps of water; there are no labelled floods here.",
                writing.CHOSEN,
            ],
        },
    )


if __name__ == "__main__":
    fit()
