"""Change between dates from embeddings, in units of what usually changes where nothing happened.

Takes a cube of `s2-embed-small` vectors: dimensions t and `embedding` (or `bands`) of 64, any others, such
as y and x. Gives one label, `change`, in place of the vectors' 64: the length of the difference between each
date's vector and its reference, in units of the usual one between clear dates of a place: about 1 is usual.
NaN stays NaN.

Context: `{"reference": "previous"}` (the default; the first date is 0), `"first"`, or `"median"` of all
dates. `{"threshold": 2}` gives 1 and 0 instead. `{"weights": {"dim": 64, "usual": 0.4}}` is another unit.

Needs NumPy and xarray only. Fitted and measured by `udfs/fit/change.py`; see `change.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "dim": 64,
 "usual": 0.445
}
""")


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Change float32, 1 and 0 with a threshold."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    weights = context.get("weights") or WEIGHTS
    reference = context.get("reference", "previous")
    if reference not in ("previous", "first", "median"):
        raise ValueError(f"reference is 'previous', 'first' or 'median', not {reference!r}")
    time = next((name for name in ("t", "time") if name in cube.dims), None)
    dim = next((name for name in ("embedding", "bands", "band") if name in cube.dims), None)
    if time is None or dim is None:
        raise ValueError(
            f"dimensions 't' and 'embedding' or 'bands' are needed; there are {cube.dims}"
        )
    if cube.sizes[dim] != weights["dim"]:
        raise ValueError(
            f"vectors of {weights['dim']} values are needed, as of s2-embed-small; "
            f"dimension {dim!r} has {cube.sizes[dim]}"
        )
    rest = [name for name in cube.dims if name not in (time, dim)]
    vectors = cube.transpose(time, *rest, dim).values.astype(np.float32)
    distance = np.linalg.norm(vectors - _before(vectors, reference), axis=-1, keepdims=True)
    change = distance / np.float32(weights["usual"])
    if (threshold := context.get("threshold")) is not None:
        change = np.where(
            np.isnan(change), np.float32(np.nan), np.float32(1) * (change >= threshold)
        )
    coords = {name: cube[name] for name in (time, *rest) if name in cube.coords}
    made = xr.DataArray(change, dims=(time, *rest, dim), coords={**coords, dim: ["change"]})
    return made.transpose(*cube.dims)


def _before(vectors: np.ndarray, reference: str) -> np.ndarray:
    if reference == "previous":
        return np.concatenate([vectors[:1], vectors[:-1]])
    if reference == "first":
        return vectors[:1]
    there = np.isfinite(vectors).all(-1).any(0)
    middle = np.full(vectors.shape[1:], np.nan, np.float32)
    middle[there] = np.nanmedian(vectors[:, there], 0)
    return middle[None]
