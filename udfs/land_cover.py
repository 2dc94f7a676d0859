"""Land cover of patches: probabilities of classes, or the most probable class, from embeddings.

Takes a cube of `s2-embed-small` vectors: dimension `embedding` (or `bands`) of 64, any others, such as t,
y and x. Gives labels of that dimension instead: a probability a class, or with `{"output": "class"}` one
label `class` with the class's code (1 water, 2 trees, 4 crops, 5 built area, 9 rangeland). NaN stays NaN.

`{"weights": {"labels": [...], "codes": [...], "weight": [[...]], "bias": [...]}}` in the context is another
head: a row of weights a label.

Needs NumPy and xarray only. Fitted and measured by `udfs/fit/land_cover.py`; see `land_cover.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "labels": ["water", "trees", "crops", "built area", "rangeland"],
 "codes": [1, 2, 4, 5, 9],
 "weight": [
  [-1.9565, 0.59413, 10.446, -3.8514, 0.45754, 0.80772, -2.3198, 2.6171, -1.8167, -0.028881, -2.3477, -0.21801, -0.75078, -0.44206, -0.76025, -0.85966, 0.057643, 0.1316, 0.15765, 0.29793, -0.21248, -0.014459, 0.83986, -0.65867, -0.64806, 0.8467, -0.23833, -0.40373, -0.085221, -0.098521, -1.1011, 0.068255, -0.27628, -0.18588, 0.20132, 0.016683, 0.065006, -0.024747, -0.12683, 0.5716, 0.0078702, -0.050957, 0.09204, -0.00012796, 0.052989, 0.0056115, -0.06269, 0.12263, -0.21183, 0.42275, -0.26817, 0.079436, 0.15318, -0.02522, -0.10815, 0.035818, -0.016202, -0.048602, -0.12193, 0.037532, 0.022407, 0.024322, 0.022562, -0.043888],
  [-2.5209, -1.0791, -4.3021, -1.7526, 4.696, -2.1329, -5.1649, -1.5425, 2.4237, 2.6957, 1.4327, 4.5431, 1.5681, 0.41407, -3.6696, -2.2252, -0.50294, 2.3902, 1.3366, 3.6668, -4.1282, -0.67556, 1.0641, 0.58548, -1.2987, 0.62172, 1.3907, 0.1226, -0.69227, -1.2429, 0.13787, 2.4058, -1.5097, 0.20442, 0.544, 0.15001, -0.57579, 0.10167, -0.99766, -0.63745, 0.3616, 0.38981, -0.78141, 0.69289, -0.26027, 0.1278, 0.65453, 0.37874, -0.27967, 0.37674, 0.38192, 0.03641, 0.13564, -0.011395, -0.46159, -0.19326, 0.58834, 0.12317, 0.11804, -0.020001, 0.15018, 0.091541, -0.45337, 0.16111],
  [1.324, -0.034763, -2.6219, 1.4538, -1.657, 0.31044, 6.3327, 0.49425, 2.121, -4.4986, 1.5673, -7.1335, 1.8002, -0.53735, 5.9855, 2.0041, 0.97296, 0.54487, 1.3204, -0.182, 1.8618, 1.5088, -1.6937, 0.13826, -0.98008, -0.56237, 0.80633, 0.29577, 1.2832, 1.3493, -0.079546, -0.21646, 1.416, -0.64123, -0.039018, -0.19702, 0.54865, 0.18289, 0.83451, 0.12103, -0.69627, -0.13371, 0.51565, -0.73011, 0.40303, -0.40521, -0.71388, -0.010442, 0.28112, -0.25382, -0.33607, 0.11216, 0.21039, 0.41308, -0.075538, 0.023883, -0.29674, 0.0037437, -0.22012, -0.1436, -0.06267, 0.45597, 0.28942, -0.12299],
  [0.91407, 1.5458, -0.77794, 5.3782, -2.1018, 1.5857, -0.815, -4.002, -4.7496, 1.4383, -0.82648, 1.287, -4.3424, -2.9123, -3.1205, 1.5408, 0.88675, -0.091299, 0.082535, -0.62023, 0.99941, 0.83683, -0.61745, 0.50163, 3.0102, -0.8243, -2.2982, -0.61399, -0.26666, -0.13795, 1.2251, -2.1461, 0.44909, -0.18915, 1.1628, -0.082492, -0.28772, -0.27505, 0.069848, -0.97009, -0.33445, -0.2343, 0.22412, 0.80473, 0.37338, 0.025407, -0.1168, -0.25375, -0.64839, -0.4112, -0.056167, -0.1148, 0.00087538, 0.011759, 0.074183, -0.17923, -0.1735, 0.093717, -0.12583, -0.12469, -0.10242, -0.11584, 0.057038, 0.3975],
  [2.2393, -1.0261, -2.7446, -1.2279, -1.3947, -0.57098, 1.967, 2.4331, 2.0215, 0.3935, 0.17425, 1.5213, 1.7249, 3.4777, 1.5649, -0.46002, -1.4144, -2.9753, -2.8972, -3.1625, 1.4795, -1.6557, 0.40724, -0.5667, -0.083352, -0.081755, 0.33957, 0.59935, -0.23908, 0.13007, -0.1823, -0.11147, -0.079163, 0.81184, -1.8691, 0.11281, 0.24985, 0.015235, 0.22013, 0.91491, 0.66124, 0.02916, -0.050407, -0.76738, -0.56912, 0.24639, 0.23884, -0.23718, 0.85877, -0.13446, 0.27849, -0.1132, -0.50009, -0.38823, 0.5711, 0.31279, -0.1019, -0.17203, 0.34984, 0.25076, -0.007502, -0.456, 0.084349, -0.39173]
 ],
 "bias": [-0.86008, 0.50918, 0.38367, -0.65851, 0.62574]
}
""")


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Probabilities of classes float32, or their codes."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    head = context.get("weights") or WEIGHTS
    output = context.get("output", "probabilities")
    if output not in ("probabilities", "class"):
        raise ValueError(f"output is 'probabilities' or 'class', not {output!r}")
    scores = _scores(cube, head)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    shares = scores / scores.sum(-1, keepdims=True)
    labels = list(head["labels"])
    if output == "class":
        codes = np.asarray(head["codes"], np.float32)[shares.argmax(-1)]
        shares = np.where(np.isnan(shares[..., 0]), np.float32(np.nan), codes)[..., None]
        labels = ["class"]
    return _cube(shares, cube, labels)


def _scores(cube: xr.DataArray, head: dict) -> np.ndarray:
    weight = np.asarray(head["weight"], np.float32)
    dim = _vectors(cube)
    if cube.sizes[dim] != weight.shape[1]:
        raise ValueError(
            f"vectors of {weight.shape[1]} values are needed, as of s2-embed-small; "
            f"dimension {dim!r} has {cube.sizes[dim]}"
        )
    vectors = cube.transpose(..., dim).values.astype(np.float32)
    return vectors @ weight.T + np.asarray(head["bias"], np.float32)


def _vectors(cube: xr.DataArray) -> str:
    for name in ("embedding", "bands", "band"):
        if name in cube.dims:
            return name
    raise ValueError(f"a dimension 'embedding' or 'bands' is needed; there are {cube.dims}")


def _cube(values: np.ndarray, cube: xr.DataArray, labels: list) -> xr.DataArray:
    """Values `(..., labels)` with the cube's other dimensions and their labels, in its order."""
    dim = _vectors(cube)
    rest = [name for name in cube.dims if name != dim]
    coords = {name: cube[name] for name in rest if name in cube.coords}
    made = xr.DataArray(values, dims=(*rest, dim), coords={**coords, dim: labels})
    return made.transpose(*cube.dims)
