"""Water and flood of patches from embeddings.

Takes a cube of `s2-embed-small` vectors: dimension `embedding` (or `bands`) of 64, any others, such as t,
y and x. Gives labels of that dimension instead: `water`, the probability that most of a patch is water. NaN stays NaN.

Context: `{"threshold": 0.5}` gives 1 and 0 instead of probabilities. `{"reference": "first"}` adds
`flood`: water that is not there at the first date; `"driest"` compares with the date of least water of
each patch. `{"weights": {"weight": [[...]], "bias": [...]}}` is another head.

Needs NumPy and xarray only. Fitted and measured by `udfs/fit/water.py`; see `water.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "weight": [
  [-7.1747, 1.749, 18.649, -2.1291, -3.2438, 0.88075, -4.459, 2.4663, -1.9912, 1.4186, -3.375, -4.3239, -3.8766, -1.0431, -1.2346, -2.994, 5.8867, -3.8816, -1.9034, 3.2059, -2.0834, -1.1794, 6.0828, -2.9564, 1.6725, 0.52822, -3.3299, 2.0196, -1.4614, -1.1465, 0.68933, -1.1357, -3.4829, -4.1564, 3.3103, 0.82798, 1.2455, -0.048415, -3.5777, 4.7731, 1.3581, 4.4994, -0.43506, -1.7059, 1.1036, 0.66885, 0.62783, 0.41147, -2.2229, 2.9661, -4.1471, -1.5167, 0.73125, 0.11975, -0.44867, -0.38524, -0.73871, -0.62465, -1.132, 0.53632, 0.81577, -1.084, 0.55738, -1.0481]
 ],
 "bias": [-5.3206]
}
""")


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Water, and flood if there is a reference, float32."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    reference = context.get("reference")
    if reference not in (None, "first", "driest"):
        raise ValueError(f"reference is 'first' or 'driest', not {reference!r}")
    dim = _vectors(cube)
    water = _water(cube, dim, context.get("weights") or WEIGHTS)
    bands = [water]
    if reference is not None:
        time = _time(cube)
        dry = water.isel({time: [0]}) if reference == "first" else water.min(time, keepdims=True)
        bands.append((water * (1 - dry.values)).assign_coords({dim: ["flood"]}))
    made = xr.concat(bands, dim) if len(bands) > 1 else water
    threshold = context.get("threshold")
    if threshold is not None:
        made = (made >= float(threshold)).astype(np.float32).where(made.notnull())
    return made.transpose(*cube.dims)


def _water(cube: xr.DataArray, dim: str, head: dict) -> xr.DataArray:
    weight = np.asarray(head["weight"], np.float32)
    if cube.sizes[dim] != weight.shape[1]:
        raise ValueError(
            f"vectors of {weight.shape[1]} values are needed, as of s2-embed-small; "
            f"dimension {dim!r} has {cube.sizes[dim]}"
        )
    vectors = cube.transpose(..., dim).values.astype(np.float32)
    score = vectors @ weight.T + np.asarray(head["bias"], np.float32)
    rest = [name for name in cube.dims if name != dim]
    coords = {name: cube[name] for name in rest if name in cube.coords}
    share = 1 / (1 + np.exp(-np.clip(score, -30, 30)))
    return xr.DataArray(share, dims=(*rest, dim), coords={**coords, dim: ["water"]})


def _vectors(cube: xr.DataArray) -> str:
    for name in ("embedding", "bands", "band"):
        if name in cube.dims:
            return name
    raise ValueError(f"a dimension 'embedding' or 'bands' is needed; there are {cube.dims}")


def _time(cube: xr.DataArray) -> str:
    for name in ("t", "time"):
        if name in cube.dims:
            return name
    raise ValueError(f"a flood needs a dimension 't' of dates; there are {cube.dims}")
