"""Clouds of patches from embeddings.

Takes a cube of `s2-embed-small` vectors: dimension `embedding` (or `bands`) of 64, any others, such as t,
y and x. Gives one label of that dimension instead: `cloud`, the probability that most of a patch is under cloud or cirrus.
NaN stays NaN. Shadows are no clouds here.

Context: `{"threshold": 0.5}` gives 1 and 0 instead, which openEO's `mask` takes. `{"weights": {"weight":
[[...]], "bias": [...]}}` is another head.

Needs NumPy and xarray only. Fitted and measured by `udfs/fit/cloud.py`; see `cloud.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "weight": [
  [1.8044, -3.3828, 5.1752, -1.0812, -0.86781, -1.2763, -3.6047, 7.0673, 0.055935, 1.079, 4.0905, 1.7276, 3.0648, 2.1263, -2.5389, 1.7013, 2.2702, -2.2355, -3.875, 1.3912, -0.60005, 0.46387, -0.62182, -0.99523, -1.8441, 0.04917, -0.35591, -1.8225, -1.4264, 1.5527, -0.73863, -2.3397, 0.6369, -0.19354, -0.63103, 2.1594, -3.4766, -1.4349, -1.269, -1.4848, 1.2, 2.6393, 0.092223, -0.24053, 0.99158, 1.4226, -0.21902, -0.18601, 0.87533, -0.80316, -2.6936, 0.28884, 0.75285, 0.55543, -1.8533, -1.1345, -0.75542, -1.702, -2.9976, -3.1134, -1.2897, 0.085874, -0.63933, -0.044099]
 ],
 "bias": [-2.8023]
}
""")


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Probability of cloud float32, or 1 and 0."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    head = context.get("weights") or WEIGHTS
    weight = np.asarray(head["weight"], np.float32)
    dim = next((name for name in ("embedding", "bands", "band") if name in cube.dims), None)
    if dim is None:
        raise ValueError(f"a dimension 'embedding' or 'bands' is needed; there are {cube.dims}")
    if cube.sizes[dim] != weight.shape[1]:
        raise ValueError(
            f"vectors of {weight.shape[1]} values are needed, as of s2-embed-small; "
            f"dimension {dim!r} has {cube.sizes[dim]}"
        )
    vectors = cube.transpose(..., dim).values.astype(np.float32)
    score = vectors @ weight.T + np.asarray(head["bias"], np.float32)
    cloud = 1 / (1 + np.exp(-np.clip(score, -30, 30)))
    if (threshold := context.get("threshold")) is not None:
        cloud = np.where(np.isnan(cloud), np.float32(np.nan), np.float32(1) * (cloud >= threshold))
    rest = [name for name in cube.dims if name != dim]
    coords = {name: cube[name] for name in rest if name in cube.coords}
    made = xr.DataArray(cloud, dims=(*rest, dim), coords={**coords, dim: ["cloud"]})
    return made.transpose(*cube.dims)
