"""Fits the head of `udfs/crop_type.py` and measures it: `python -m udfs.fit.crop_type --data DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from sklearn.cluster import DBSCAN

from udfs.fit import heads, scores, writing
from udfs.fit.command import command

FILE = "labels/crop_features/srr2_crop_s1s2_features.nc"
KINDS = ("NDVI", "NDMI", "NDGI", "NDRE1", "NDRE2", "NDRE5", "B06", "B12")
"""Of the table's twelve series, those whose definition is known."""
APART = 20_000.0
"""Metres between places: fields that a chain of shorter steps connects are one place."""


@command
def fit(data: Path) -> None:
    """Write the weights of udfs/crop_type.py and its card."""
    with xr.open_dataset(data / FILE) as table:
        names = [
            n for kind in KINDS for n in table.feature.values.tolist() if n.startswith(f"{kind}_")
        ]
        features = table.features.sel(feature=names).values.astype(np.float32)
        crops = table.crop.values.astype(int)
        labels = str(table.crop.attrs["flag_meanings"]).split()
        ground = np.stack([table.x.values, table.y.values], -1)
    number = DBSCAN(eps=APART, min_samples=1).fit_predict(ground)
    places = {
        f"{ground[number == one][:, 0].mean() / 1e3:.0f}E {ground[number == one][:, 1].mean() / 1e3:.0f}N":
        heads.Sample(features=features[number == one], classes=crops[number == one])
        for one in np.unique(number)
    }  # fmt: skip
    udf = writing.udf("crop_type")
    named = {"labels": labels, "features": names}
    tables = {}
    for place, held in places.items():
        head = heads.fitted(
            {n: one for n, one in places.items() if n != place}, len(labels), "each"
        )
        cube = xr.DataArray(held.features[None], dims=("y", "x", "bands"), coords={"bands": names})
        found = udf.apply_datacube(cube, {"weights": named | head, "output": "class"}).values[0, 0]
        tables[place] = scores.confusion(held.classes, found.astype(int), len(labels))
    head = heads.fitted(places, len(labels), "each")
    writing.write(
        "crop_type",
        named | head,
        {
            "title": "Crop from a year's series of Sentinel-2",
            "input": "reflectance x 10000, `(t: 31 to 37 of ten days, bands: 8, y, x)`; or the 80 features",
            "output": "bands: probabilities of the crops; or one band `class`, their number",
            "encoder": None,
            "classes": {label: n for n, label in enumerate(labels)},
            "parameters": int(np.size(head["weight"]) + np.size(head["bias"])),
            "training_places": {
                place: [f"{FILE}: {len(one.classes)} fields around {place} (UTM 31N, km)"]
                for place, one in places.items()
            },
            "left_out_places": "each place in turn, by a head of the others",
            "fields": len(crops),
            "score": scores.score("accuracy", tables, scores.accuracy),
            "more_scores": [scores.score("mean F1 of classes", tables, scores.macro_f1)],
            "licence": "Apache-2.0; table of openEOPlatform/SRR2_notebooks, Apache-2.0",
            "attributions": [writing.COPERNICUS],
            "limits": [
                "Belgium and its surroundings, one year, five crops: anything else is one of these, too.",
                "Many places of the table have one crop only.",
                "The score is of the head on the table's features.",
                "How a series becomes features follows the table's names and its repository's formulas.",
                "The series behind the table are not at hand: that step is tested, not measured.",
                "VV, VH, their ratio and ANIR of the table are not used: their scale is not stated.",
                "Takes reflectance, not embeddings: no images lie under these labels.",
            ],
        },
    )


if __name__ == "__main__":
    fit()
