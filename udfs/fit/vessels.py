"""Chooses parameters of `udfs/vessels.py` and measures it: `python -m udfs.fit.vessels --data DIR`.

Each chip of 1.28 km has a known ship in its middle; others in it are not known, so each counts as a false
alarm. Chips that overlap, directly or through others, are one place. Parameters for a place are those
that do best at the other places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from udfs.fit import places, scores, writing
from udfs.fit.command import command

FIXED = {"guard": 6, "water_index": 0.0}
GRID = {
    "ring": (14, 20),
    "factor": (6.0, 10.0, 15.0),
    "contrast": (150.0, 300.0, 500.0),
    "land": (3, 4),
    "shore": (3, 5),
}
NEAR = 16
"""Pixels from a chip's middle within which a candidate is the known ship."""
PRICE = 0.2
"""What a false alarm a square kilometre of water costs, in recall."""
KM2 = 1e-4
"""Of a pixel."""
TARGETS, HEIGHT = 12, 12.0
"""Made-up vessels in a radar image, and their height above the water around them in dB."""
WATER = 1

Array = npt.NDArray[Any]


@command
def fit(data: Path) -> None:
    """Write the parameters of udfs/vessels.py and its card."""
    paths = sorted((data / "s2/ships_l2a").glob("*.tif"))
    chips, bounds = zip(*map(_chip, paths), strict=True)
    number = _grouped(bounds)
    udf = writing.udf("vessels")
    choices = [FIXED | dict(zip(GRID, one, strict=True)) for one in product(*GRID.values())]
    counts = np.array([[_counts(udf, chip, choice) for chip in chips] for choice in choices])
    tables: dict[str, Array] = {}
    for one in range(number.max() + 1):
        held = number == one
        best = _best(counts[:, ~held])
        tables[f"chips of {paths[int(np.flatnonzero(held)[0])].stem}"] = counts[best][held].sum(0)
    chosen = choices[_best(counts)]
    wide = {n: t for n, t in tables.items() if t[2] >= 0.9 * t[3]}
    radar, radar_places = _radar(data, udf)
    writing.write(
        "vessels",
        chosen,
        {
            "title": "Vessel candidates in optical and radar images",
            "input": "B03 and B08, reflectance x 10000, or VV or VH in dB; `(..., bands, y, x)` at 10 m",
            "output": "bands: `candidate`, 1 or 0, and `contrast`, deviations above the water around",
            "encoder": None,
            "parameters": len(chosen),
            "training_places": {
                f"chips of {paths[int(np.flatnonzero(number == one)[0])].stem}": [
                    f"s2/ships_l2a/{path.name}"
                    for path, n in zip(paths, number, strict=True)
                    if n == one
                ]
                for one in range(number.max() + 1)
            },
            "left_out_places": "each place in turn, with the parameters that are best for the others",
            "chips": len(chips),
            "score": scores.score("recall", tables, _recall),
            "more_scores": [
                scores.score("false alarms per km2 of water", tables, _alarms),
                scores.score("recall, chips of at least 90 % water", wide, _recall),
                scores.score("false alarms per km2, chips of at least 90 % water", wide, _alarms),
                scores.score("recall in radar, made-up vessels", radar, _recall),
                scores.score("false alarms per km2 in radar", radar, _alarms),
            ],
            "injected": (
                f"Radar: {TARGETS} vessels in each of {', '.join(radar_places)}, at random on water of the "
                f"land cover, 5 pixels or more from land: a Gaussian of 3 pixels (FWHM) that is {HEIGHT:g} dB "
                "above the local mean. The radar's parameters are not fitted."
            ),
            "licence": "Apache-2.0",
            "attributions": [writing.COPERNICUS],
            "limits": [
                "Only one ship of each chip is known: real ships, buoys and piers are false alarms here.",
                "In harbours a candidate within 160 m of the middle may be another one than the known ship.",
                "A vessel at a quay belongs to the land. Most misses and alarms are in harbours and canals.",
                "All chips are of one day, one region, with calm sea and no cloud; waves and clouds alarm.",
                "There are no labelled vessels in radar images here.",
            ],
        },
    )


def _chip(path: Path) -> tuple[Array, Any]:
    with rasterio.open(path) as file:
        names = list(file.descriptions)
        return file.read([names.index("B03") + 1, names.index("B08") + 1]), file.bounds


def _grouped(bounds: Sequence[Any]) -> Array:
    """Numbers of places: chips that overlap share one."""
    meet = [
        [
            a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top
            for b in bounds
        ]
        for a in bounds
    ]
    return np.asarray(connected_components(np.array(meet))[1])


def _counts(udf: Any, chip: Array, choice: Mapping[str, float]) -> tuple[float, ...]:
    """Ships found, false alarms, km2 of water, km2, ships."""
    cube = xr.DataArray(chip, dims=("bands", "y", "x"), coords={"bands": ["B03", "B08"]})
    marked, count = _components(
        udf.apply_datacube(cube, {**choice, "output": "candidate"}).values[0]
    )
    middle = [slice(side // 2 - NEAR, side // 2 + NEAR) for side in marked.shape]
    near = len(np.setdiff1d(marked[tuple(middle)], 0))
    green, nir = chip.astype(np.float32)
    water = (green - nir) / np.maximum(green + nir, 1) > FIXED["water_index"]
    return float(near > 0), float(count - (near > 0)), water.sum() * KM2, water.size * KM2, 1.0


def _components(found: Array) -> tuple[Array, int]:
    marked, count = ndimage.label(found > 0, np.ones((3, 3)))
    return marked, count


def _best(counts: Array) -> int:
    total = counts.sum(1)
    return int(np.argmax(total[:, 0] / total[:, 4] - PRICE * total[:, 1] / total[:, 2]))


def _recall(tables: Sequence[Array]) -> float:
    total = np.sum(tables, 0)
    return float(total[0] / total[4])


def _alarms(tables: Sequence[Array]) -> float:
    total = np.sum(tables, 0)
    return float(total[1] / total[2])


def _radar(data: Path, udf: Any) -> tuple[dict[str, Array], list[str]]:
    """Counts as above for made-up vessels in the radar images of places with water."""
    rng = np.random.default_rng(3)
    found = {}
    for place in places.majortom(data):
        water = place.labels[0] == WATER
        far = np.argwhere(ndimage.binary_erosion(water, iterations=5))
        if len(far) < 1000:
            continue
        with rasterio.open(data / "s1/majortom_rtc" / f"{place.name}.tif") as file:
            power = 10 ** (file.read(1).astype(np.float64) / 10)
        spots = np.zeros(power.shape)
        spots[tuple(far[rng.choice(len(far), TARGETS, replace=False)].T)] = 1
        peak = ndimage.gaussian_filter(spots, 3 / 2.355) * (2 * np.pi * (3 / 2.355) ** 2)
        made = 10 * np.log10(power + ndimage.uniform_filter(power, 15) * 10 ** (HEIGHT / 10) * peak)
        cube = xr.DataArray(made[None], dims=("bands", "y", "x"), coords={"bands": ["VV"]})
        marked, count = _components(udf.apply_datacube(cube, {"output": "candidate"}).values[0])
        reach = ndimage.binary_dilation(spots > 0, iterations=3)
        hits = sum(marked[y - 3 : y + 4, x - 3 : x + 4].any() for y, x in np.argwhere(spots))
        true = len(np.setdiff1d(marked[reach], 0))
        area = water.sum() * KM2
        found[place.name] = np.array([hits, count - true, area, water.size * KM2, spots.sum()])
    return found, list(found)


if __name__ == "__main__":
    fit()
