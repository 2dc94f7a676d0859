"""Vessel candidates: pixels on water that stand out of the water around them, in optical or radar images.

Takes a cube with `bands`, y and x (t may be there): B03 and B08 as reflectance x 10000 (or 0 to 1, with
`{"scale": 1}`), or VV or VH in decibels. Water is where the index (B03 - B08) / (B03 + B08) is above `water_index`, in radar where the signal is below
`water_level` decibels. A candidate is a pixel
of B08 (of VV, else VH, in radar) that lies `factor` deviations above the mean of the ring around it, of
water pixels only, and at least `contrast` above. The ring spans `guard` to `ring` pixels from the pixel.
Land is what is not water and holds a square of 2 `land` + 1 pixels, wider than a vessel; on it, and within
`shore` pixels of it, nothing is a candidate.

Gives `bands`: `candidate` (1 or 0) and `contrast`, deviations above the ring; or one of them, with
`{"output": "candidate"}`. NaN stays NaN. Pixels within `ring` of an edge see less water, so give chunks an
overlap: in `apply_neighborhood` a cube of two bands keeps their names, with these values.

Needs NumPy and xarray only. Parameters by `udfs/fit/vessels.py`; see `vessels.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "guard": 6,
 "water_index": 0.0,
 "ring": 20,
 "factor": 15.0,
 "contrast": 500.0,
 "land": 3,
 "shore": 5
}
""")
_FEWEST = 20  # pixels of water in a ring
RADAR = {"factor": 6.0, "contrast": 6.0, "water_level": -14.0}


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Candidates and their contrast `(..., bands, y, x)` float32."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    output = context.get("output", "both")
    if output not in ("both", "candidate", "contrast"):
        raise ValueError(f"output is 'both', 'candidate' or 'contrast', not {output!r}")
    if missing := {"bands", "y", "x"} - {*cube.dims}:
        raise ValueError(f"dimensions {sorted(missing)} are needed; there are {cube.dims}")
    given = [str(label) for label in cube["bands"].values]
    if "B08" in given and "B03" in given:
        rule = {**WEIGHTS, **context}
        unit = float(rule.get("scale", 0.0001)) / 0.0001
        green, signal = (_band(cube, name) * np.float32(unit) for name in ("B03", "B08"))
        water = (green - signal) / np.maximum(green + signal, 1) > rule["water_index"]
    elif radar := [name for name in ("VV", "VH") if name in given]:
        rule = {**WEIGHTS, **RADAR, **context}
        signal = _band(cube, radar[0])
        water = signal < rule["water_level"]
    else:
        raise ValueError(f"bands B03 and B08, or VV or VH, are needed; there are {given}")
    found, contrast = _candidates(signal, water, rule)
    layers = {"candidate": found, "contrast": contrast}
    kept = list(layers) if output == "both" else [output]
    rest = [name for name in cube.dims if name not in ("bands", "y", "x")]
    coords = {n: cube[n] for n in (*rest, "y", "x") if n in cube.coords} | {"bands": kept}
    values = np.stack([layers[name] for name in kept], -3).astype(np.float32)
    made = xr.DataArray(values, dims=(*rest, "bands", "y", "x"), coords=coords)
    return made.transpose(*cube.dims)


def _band(cube: xr.DataArray, name: str) -> np.ndarray:
    return cube.sel(bands=name, drop=True).transpose(..., "y", "x").values.astype(np.float32)


def _candidates(signal: np.ndarray, water: np.ndarray, rule: dict) -> tuple:
    there = np.isfinite(signal)
    wet = (there & water).astype(np.float64)
    value = np.where(wet > 0, signal, 0).astype(np.float64)
    guard, ring = int(rule["guard"]), int(rule["ring"])
    count, total, square = (
        _box(layer, ring) - _box(layer, guard) for layer in (wet, value, value**2)
    )
    mean = total / np.maximum(count, 1)
    spread = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0))
    least = float(rule["contrast"]) / float(rule["factor"])
    above = (signal - mean) / np.maximum(spread, least)
    sea = (count >= _FEWEST) & ~_land(there & ~water, int(rule["land"]), int(rule["shore"]))
    above = np.where(there, np.where(sea, above, 0), np.nan)
    return np.where(there, above >= rule["factor"], np.nan), above


def _land(dry: np.ndarray, radius: int, shore: int) -> np.ndarray:
    """What a square fits into, and what is near that: opening, and some pixels more."""
    whole = _box(dry.astype(np.float64), radius) >= (2 * radius + 1) ** 2
    return _box(whole.astype(np.float64), radius + shore) > 0


def _box(layer: np.ndarray, radius: int) -> np.ndarray:
    """Sums over squares of 2 radius + 1 pixels, cut at the edges, along the last two axes."""
    for axis in (-2, -1):
        size = layer.shape[axis]
        sums = np.concatenate([np.zeros_like(layer.take([0], axis)), layer.cumsum(axis)], axis)
        last = np.minimum(np.arange(size) + radius + 1, size)
        first = np.maximum(np.arange(size) - radius, 0)
        layer = sums.take(last, axis) - sums.take(first, axis)
    return layer
