"""Multi-scale structural similarity (MS-SSIM), with no data left out.

Wang, Simoncelli, Bovik: Multiscale structural similarity for image quality assessment, Asilomar
2003; windows and constants are those of its reference code (11 x 11 Gaussian, sigma 1.5, K 0.01
and 0.03, five scales, the luminance of the coarsest).

Where data are missing, local means weigh what is there (normalised convolution), and a window
counts if its centre is valid; a halved image averages the valid ones of four pixels. Without
missing data that is the paper's definition. A plane too small for all five scales (less than 176
pixels) takes those that fit, their weights scaled to the same sum.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.comparison import Array, Comparison, Dims, as_given
from openeo_nc.cubes.dims import X, Y
from openeo_nc.cubes.metrics import check_peak
from openeo_nc.errors import DimensionMissingError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from fine to coarse; the paper's, which sum to 1.0001."""
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03

Plane = npt.NDArray[np.float64]


@overload
def ms_ssim(
    x: xr.DataArray, x_hat: xr.DataArray, *, peak: float | None, nodata: float | None = ...,
    dim: Dims = ...,
) -> xr.DataArray: ...  # fmt: skip
@overload
def ms_ssim(x: Array, x_hat: Array, *, peak: float | None, nodata: float | None = ...) -> float: ...
def ms_ssim(
    x: Any, x_hat: Any, *, peak: float | None, nodata: float | None = None, dim: Dims = None
) -> Any:
    """MS-SSIM of each plane `(y, x)`, then the mean over the other dimensions to reduce; 1 is equal.

    NaN for planes of less than 11 pixels, without a valid one, or with lost ones. On dask cubes a
    plane is one task, so tile a large cube first. See `metrics.psnr` for the parameters; `dim`
    must hold y and x.

    Raises
    ------
    GridMismatchError, DimensionMissingError, InvalidParameterError
    """
    check_peak(peak)
    pair = Comparison.of(x, x_hat, nodata)
    over = pair.dims(dim)
    if missing := [name for name in (Y, X) if name not in over]:
        raise DimensionMissingError(
            f"MS-SSIM is of planes; it reduces y and x, and {', '.join(missing)} is not among "
            f"{', '.join(map(str, over))}."
        )
    span = pair.spread(over) if peak is None else xr.DataArray(float(peak))
    clipped = pair.clipped(peak, [Y, X])
    planes = xr.apply_ufunc(
        similarity,
        clipped.original,
        clipped.reconstruction,
        clipped.valid,
        span,
        input_core_dims=[[Y, X]] * 3 + [[]],
        vectorize=True,
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[np.float64],
    )
    return as_given(x, planes.mean([name for name in over if name not in (Y, X)], skipna=False))


def similarity(a: Plane, b: Plane, valid: npt.NDArray[np.bool_], span: float) -> float:
    """MS-SSIM of two planes `(y, x)` float64 whose values span `span`; valid says what counts."""
    scales = _scales(a.shape)
    if not scales or not span > 0 or not valid.any() or np.isnan(b[valid]).any():
        return float("nan")
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]) * sum(WEIGHTS)
    a, b = (np.where(valid, values, 0.0) for values in (a, b))
    product = 1.0
    for scale in range(scales):
        structure, both = _means(a, b, valid, span)
        term = both if scale == scales - 1 else structure
        product *= max(term, 0.0) ** weights[scale] if np.isfinite(term) else float("nan")
        a, b, valid = _halved(a, b, valid)
    return float(product)


def _scales(shape: tuple[int, ...]) -> int:
    """Scales at which the plane holds a window."""
    return sum(min(shape) >> scale >= WINDOW for scale in range(len(WEIGHTS)))


def _means(a: Plane, b: Plane, valid: npt.NDArray[np.bool_], span: float) -> tuple[float, float]:
    """Mean of contrast times structure, and of that times luminance, over windows that count."""
    edge = WINDOW // 2
    use = valid[edge:-edge, edge:-edge]
    if not use.any():
        return float("nan"), float("nan")
    weight = 1.0 if valid.all() else np.where(use, _smooth(valid.astype(np.float64)), 1.0)
    mean_a, mean_b, aa, bb, ab = (_smooth(v) / weight for v in (a, b, a * a, b * b, a * b))
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    covariance, variances = ab - mean_a * mean_b, aa - mean_a**2 + bb - mean_b**2
    structure = (2 * covariance + c2) / (variances + c2)
    both = structure * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(structure[use].mean()), float(both[use].mean())


def _smooth(values: Plane) -> Plane:
    """Gaussian means of all whole windows of a plane."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    height, width = (side - WINDOW + 1 for side in values.shape)
    rows = sum(k * values[i : i + height] for i, k in enumerate(kernel))
    smoothed: Plane = sum(k * rows[:, i : i + width] for i, k in enumerate(kernel))
    return smoothed


def _halved(
    a: Plane, b: Plane, valid: npt.NDArray[np.bool_]
) -> tuple[Plane, Plane, npt.NDArray[np.bool_]]:
    """Means over the valid ones of 2 x 2 pixels; a last odd row or column is left out."""
    count = _sums(valid.astype(np.float64))
    low, high = (_sums(values) / np.maximum(count, 1) for values in (a, b))
    return low, high, count > 0


def _sums(values: Plane) -> Plane:
    height, width = (side // 2 * 2 for side in values.shape)
    whole = values[:height, :width]
    sums: Plane = whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]
    return sums
