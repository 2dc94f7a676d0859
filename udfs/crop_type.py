"""Crop of a field from a year's series of Sentinel-2: probabilities of five crops, or the likeliest.

Takes a cube `(t, bands, y, x)` of surface reflectance x 10000 with the bands B03, B04, B05, B06, B07, B08,
B11 and B12, one label every ten days from 1 January on (31 or more; gaps interpolated, as
`aggregate_temporal_period` by dekad and `apply_dimension` with `array_interpolate_linear` give it). Six
indices and two bands become 10th, 50th and 90th percentile, standard deviation, and the values at six
dates. A cube without t whose bands are these 80 features (`NDVI_p10`, ..., scaled to 0..250) is taken as
it is. Gives `bands` in place of both: a probability a crop, or with `{"output": "class"}` one band `class`
with the number of the crop in `labels`. A pixel with a gap is NaN.

Needs NumPy and xarray only. Fitted and measured by `udfs/fit/crop_type.py`; see `crop_type.json`.
"""

import json

import numpy as np
import xarray as xr

WEIGHTS = json.loads("""
{
 "labels": ["barley", "maize", "potatoes", "soy", "sugarbeet"],
 "features": ["NDVI_p10", "NDVI_p50", "NDVI_p90", "NDVI_sd", "NDVI_t0", "NDVI_t6", "NDVI_t12", "NDVI_t18", "NDVI_t24", "NDVI_t30", "NDMI_p10", "NDMI_p50", "NDMI_p90", "NDMI_sd", "NDMI_t0", "NDMI_t6", "NDMI_t12", "NDMI_t18", "NDMI_t24", "NDMI_t30", "NDGI_p10", "NDGI_p50", "NDGI_p90", "NDGI_sd", "NDGI_t0", "NDGI_t6", "NDGI_t12", "NDGI_t18", "NDGI_t24", "NDGI_t30", "NDRE1_p10", "NDRE1_p50", "NDRE1_p90", "NDRE1_sd", "NDRE1_t0", "NDRE1_t6", "NDRE1_t12", "NDRE1_t18", "NDRE1_t24", "NDRE1_t30", "NDRE2_p10", "NDRE2_p50", "NDRE2_p90", "NDRE2_sd", "NDRE2_t0", "NDRE2_t6", "NDRE2_t12", "NDRE2_t18", "NDRE2_t24", "NDRE2_t30", "NDRE5_p10", "NDRE5_p50", "NDRE5_p90", "NDRE5_sd", "NDRE5_t0", "NDRE5_t6", "NDRE5_t12", "NDRE5_t18", "NDRE5_t24", "NDRE5_t30", "B06_p10", "B06_p50", "B06_p90", "B06_sd", "B06_t0", "B06_t6", "B06_t12", "B06_t18", "B06_t24", "B06_t30", "B12_p10", "B12_p50", "B12_p90", "B12_sd", "B12_t0", "B12_t6", "B12_t12", "B12_t18", "B12_t24", "B12_t30"],
 "weight": [
  [0.00019624, 0.00097536, 0.00053651, 0.0010373, -0.00042712, -0.0029205, 0.0039966, 0.0019572, -0.0032198, 0.00047082, 0.0029225, 0.0019039, 0.0030775, 0.0048355, -0.00087546, -0.0058623, 0.0085631, 0.0096648, -0.0040411, 0.00089823, -0.0034084, -0.00198, 0.0062727, 0.016621, -0.0015025, -0.0098261, 0.021261, 0.00044476, -0.0097324, 0.0025478, 0.0061464, 0.00015707, -0.0032954, -0.011886, -0.0045991, -0.0060006, 0.0091322, -0.00035579, -0.0082552, 0.00085917, 0.024392, 0.0087926, -0.018494, -0.087407, -0.0098106, -0.011738, 0.0069921, 0.024095, -0.01513, 0.0077293, 0.00070547, -0.00055952, -0.0019701, -0.0015463, -0.0043551, -0.0057667, 0.0073483, 0.00072925, -0.0074256, -0.00077465, 0.0057166, 0.00075415, -0.008344, -0.029467, 4.6416e-05, -0.0048376, 0.021006, -0.013092, -0.0030813, 0.008242, -0.01204, -0.0043738, -0.0011846, -0.0027123, 0.0085939, 0.012877, 0.0019315, -0.020565, 0.00033844, 0.016555],
  [0.0098684, 0.00061082, 0.00067643, -0.0092813, 0.00094081, 0.00078687, 0.0012534, -0.0030723, 0.0027948, -0.0016802, -0.01855, 0.00014689, -0.00073423, 0.010632, 9.9947e-05, 0.0033348, -0.012575, -0.015142, 0.0010067, -0.0042555, 0.020081, 0.0035236, -0.0024036, -0.0025844, 0.0073659, 0.0031569, -0.0013532, -0.0091918, -0.00013024, -0.0028436, 0.010251, 0.0051257, 0.014295, 0.020761, 0.0014326, 0.00016074, -0.003977, -7.2684e-05, 0.013519, -0.0028064, 0.019569, 0.01758, 0.03591, 0.0093106, -0.011896, 0.0022848, -0.0069486, 0.027401, 0.049472, -0.015635, 0.006362, 0.0076986, 0.021022, 0.036433, 0.0015472, -0.00056935, -0.0034919, 0.0020589, 0.015381, -0.00037777, -0.001785, -0.0082172, -0.0149, -0.033443, 0.0022809, 0.0026683, -0.0095106, -0.01057, -0.012222, -0.0039969, -0.011069, -0.017065, -0.0037572, -0.0074522, 0.012063, -0.014593, 0.002022, 0.0060468, -0.0080188, -0.0060425],
  [-0.0024679, -0.0019296, 0.0011146, 0.0022683, -0.001466, 0.00024999, -0.00096635, 0.0041128, -0.0044803, -0.000616, 0.017928, -0.0039584, -8.9263e-05, -0.018057, 0.00057406, 0.0024073, 0.0029831, 0.007802, -0.0072553, -0.0027847, 0.0090619, -0.0057176, -0.0015928, -0.015436, 0.00023998, 0.0023928, -0.012955, 0.0062128, -0.011584, -0.0034943, 0.0075976, -0.00098008, 0.009321, 0.012517, -0.0010532, 0.0023609, 0.003598, 0.014949, -0.0062372, -0.0020101, -0.0093011, -0.016285, -0.013043, 0.0030502, -0.00047654, 0.012779, -0.0092327, 0.031004, -0.021195, 0.00040236, 0.013278, -0.0010781, 0.0078174, 0.0030791, -0.0013408, 0.0018181, 0.0055953, 0.013124, -0.0065661, -0.0020962, 0.0019325, 0.0045751, 0.012042, 0.032439, 0.0010316, 0.0055287, -0.0035017, 0.01519, -0.0053374, -0.0041237, 0.032174, 0.016057, -0.0038712, -0.021126, 0.012688, 0.011201, -0.004131, 0.0033401, 0.013252, -0.0077889],
  [-0.003745, -0.00086116, 0.00018146, 0.004781, 0.00093189, -0.00033876, -0.0023914, -0.0017046, 0.0026456, 0.00017305, -0.027247, -0.010104, -0.014649, -0.010263, -0.00024783, -0.0042872, -0.002924, -0.010896, 0.0021884, -0.0057155, 0.017999, -0.0039936, 2.5875e-06, -0.0093652, 0.00048895, 0.0012241, -0.00081481, -0.0060128, 0.012453, 0.0010029, -0.012062, -0.0066743, -0.0089955, -0.009397, 0.0066077, 0.00021404, -0.0068325, -0.008352, -0.0048936, -0.0025892, -0.0003224, -0.019456, 0.0060802, 0.005176, 0.025991, 0.0029293, 0.005352, -0.045307, -0.01946, -0.0092553, -0.012228, -0.005856, -0.012359, -0.01635, 0.0067513, 0.0007655, -0.0074602, -0.0082247, -0.0054558, -0.0018326, -0.0065006, -0.0029681, 0.0036472, 0.008135, 0.0018899, -0.0025139, 0.0026212, 0.0014024, 0.010747, -0.00056519, 0.017326, 0.0046591, 0.013009, 0.02173, -0.0074291, 0.0023397, 0.0051766, 0.007549, -0.0030973, 0.016786],
  [-0.0038517, 0.0012046, -0.002509, 0.0011947, 2.0443e-05, 0.0022224, -0.0018922, -0.001293, 0.0022596, 0.0016524, 0.024948, 0.012012, 0.012395, 0.012853, 0.00044928, 0.0044074, 0.0039532, 0.008571, 0.0081012, 0.011857, -0.043734, 0.0081677, -0.0022789, 0.010765, -0.0065924, 0.0030523, -0.0061387, 0.008547, 0.0089936, 0.0027872, -0.011934, 0.0023716, -0.011325, -0.011995, -0.0023879, 0.0032649, -0.0019207, -0.0061684, 0.0058675, 0.0065465, -0.034337, 0.0093689, -0.010454, 0.06987, -0.0038079, -0.0062552, 0.0038371, -0.037193, 0.0063122, 0.016759, -0.0081176, -0.00020505, -0.014511, -0.021616, -0.0026027, 0.0037525, -0.0019916, -0.0076877, 0.0040666, 0.0050812, 0.00063649, 0.005856, 0.0075548, 0.022337, -0.0052488, -0.00084544, -0.010615, 0.0070692, 0.009894, 0.00044378, -0.02639, 0.00072254, -0.0041957, 0.0095604, -0.025916, -0.011825, -0.0049991, 0.0036288, -0.0024746, -0.01951]
 ],
 "bias": [0.30991, -20.842, -10.932, 25.912, 5.5521]
}
""")
BANDS = ("B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
INDICES = {  # of b and a: (b - a) / (b + a)
    "NDVI": ("B04", "B08"),
    "NDMI": ("B11", "B08"),
    "NDGI": ("B04", "B03"),
    "NDRE1": ("B05", "B08"),
    "NDRE2": ("B06", "B08"),
    "NDRE5": ("B05", "B07"),
}
STEPS = (0, 6, 12, 18, 24, 30)
TOP = 250.0


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    """Probabilities of crops `(bands, ...)` float32, or the number of the likeliest."""
    if hasattr(cube, "get_array"):  # openeo.udf.XarrayDataCube
        return type(cube)(apply_datacube(cube.get_array(), context))
    context = context or {}
    head = context.get("weights") or WEIGHTS
    output = context.get("output", "probabilities")
    if output not in ("probabilities", "class"):
        raise ValueError(f"output is 'probabilities' or 'class', not {output!r}")
    table = _features(cube, head["features"])
    rest = [name for name in table.dims if name != "bands"]
    values = table.transpose(*rest, "bands").values
    scores = values @ np.asarray(head["weight"], np.float32).T + np.asarray(
        head["bias"], np.float32
    )
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    shares = scores / scores.sum(-1, keepdims=True)
    labels = list(head["labels"])
    if output == "class":
        best = shares.argmax(-1).astype(np.float32)
        shares = np.where(np.isnan(shares[..., 0]), np.float32(np.nan), best)[..., None]
        labels = ["class"]
    coords = {name: cube[name] for name in rest if name in cube.coords}
    made = xr.DataArray(shares, dims=(*rest, "bands"), coords={**coords, "bands": labels})
    return made.transpose("bands", ...)


def _features(cube: xr.DataArray, names: list) -> xr.DataArray:
    """The features `(..., bands)` float32 of a series, or of a cube that has them."""
    if "bands" not in cube.dims:
        raise ValueError(f"a dimension 'bands' is needed; there are {cube.dims}")
    time = next((name for name in ("t", "time") if name in cube.dims), None)
    given = [str(label) for label in cube["bands"].values]
    missing = [name for name in (names if time is None else BANDS) if name not in given]
    if missing:
        raise ValueError(f"bands are missing: {', '.join(missing[:8])}; there are {given[:12]}")
    if time is None:
        return cube.isel(bands=[given.index(name) for name in names]).astype(np.float32)
    if not STEPS[-1] < cube.sizes[time] <= 37:
        raise ValueError(f"a year has 31 to 37 labels of ten days; {time!r} has {cube.sizes[time]}")
    parts = []
    for name in dict.fromkeys(one.rsplit("_", 1)[0] for one in names):
        series = _scaled(cube, name)
        low, middle, high = series.quantile([0.1, 0.5, 0.9], time, skipna=False).values
        steps = [series.isel({time: step}).values for step in STEPS]
        parts += [low, middle, high, series.std(time, skipna=False).values, *steps]
    rest = [name for name in cube.dims if name not in (time, "bands")]
    coords = {name: cube[name] for name in rest if name in cube.coords}
    return xr.DataArray(np.stack(parts).astype(np.float32), dims=("bands", *rest), coords=coords)


def _scaled(cube: xr.DataArray, name: str) -> xr.DataArray:
    """An index or band from 0 to 250, as the table has it that the head was fitted to."""
    if name not in INDICES:
        return cube.sel(bands=name, drop=True).astype(np.float32) / 8000 * TOP
    low, high = (cube.sel(bands=band, drop=True).astype(np.float32) for band in INDICES[name])
    index = (high - low) / (high + low).where(high + low != 0)
    return (index if name == "NDVI" else (index + 1) / 2) * TOP
