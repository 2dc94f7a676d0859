"""Error of the vegetation index NDVI = (nir - red) / (nir + red): what users compute from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from openeo_nc.cubes.comparison import Comparison, Dims, mean
from openeo_nc.cubes.dims import BANDS, labels
from openeo_nc.errors import BandMismatchError

RED = ("B04", "B4", "red")
"""Labels that name a red band, compared without case; the first that is there counts."""
NIR = ("B08", "B8", "nir", "B8A", "nir08")
"""Labels that name a near-infrared band."""


def ndvi_mae(
    x: xr.DataArray, x_hat: xr.DataArray, *, red: str | None = None, nir: str | None = None,
    nodata: float | None = None, dim: Dims = None,
) -> xr.DataArray:  # fmt: skip
    """Mean absolute error of NDVI; see `ndvi_rmse`."""
    pair = Comparison.of(x, x_hat, nodata)
    error, use = ndvi_errors(pair, red, nir)
    return mean(abs(error), use, _over(pair, dim))


def ndvi_rmse(
    x: xr.DataArray, x_hat: xr.DataArray, *, red: str | None = None, nir: str | None = None,
    nodata: float | None = None, dim: Dims = None,
) -> xr.DataArray:  # fmt: skip
    """Root mean square error of NDVI, a number without unit; NaN if no pixel has both bands.

    Pixels whose original has no index, since nir + red is not above zero, are left out; where only
    the reconstruction has none it counts as 0. Both are kept within -1..1. See `metrics.mse` for
    the parameters.

    Parameters
    ----------
    red, nir
        Labels of the bands; default the first known name that is there, see `RED` and `NIR`.

    Raises
    ------
    BandMismatchError
        The cube has no such bands.
    GridMismatchError, DimensionMissingError
    """
    pair = Comparison.of(x, x_hat, nodata)
    error, use = ndvi_errors(pair, red, nir)
    root: xr.DataArray = mean(error**2, use, _over(pair, dim)) ** 0.5
    return root


def ndvi_errors(
    pair: Comparison, red: str | None = None, nir: str | None = None
) -> tuple[xr.DataArray, xr.DataArray]:
    """NDVI of the reconstruction less that of the original, and which pixels have one."""
    pair.require_bands("NDVI")
    chosen = ndvi_bands(labels(pair.original), red, nir)
    if chosen is None:
        given = " and ".join(str(name) for name in (red, nir) if name is not None)
        raise BandMismatchError(
            f"NDVI needs a red and a near-infrared band{f', here {given}' if given else ''}; "
            f"the cube has {', '.join(labels(pair.original))}."
        )
    places = {BANDS: list(chosen)}
    valid = pair.valid.isel(places).all(BANDS)
    (a, has_a), (b, has_b) = (
        _ndvi(
            values.isel({BANDS: chosen[0]}, drop=True), values.isel({BANDS: chosen[1]}, drop=True)
        )
        for values in (pair.original, pair.reconstruction)
    )
    return b.where(has_b, 0.0) - a, valid & has_a


def ndvi_bands(
    names: Sequence[str], red: str | None = None, nir: str | None = None
) -> tuple[int, int] | None:
    """Places of the red and the near-infrared band among labels; None if one is not there."""
    known = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
    wanted = ((red,) if red else RED, (nir,) if nir else NIR)
    places = [next((known[n.lower()] for n in some if n.lower() in known), None) for some in wanted]
    first, second = places
    return None if first is None or second is None else (first, second)


def _ndvi(red: xr.DataArray, nir: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The index, and where there is one; lost pixels have an index that is NaN."""
    total = nir + red
    there = ~(total <= 0)
    return ((nir - red) / total.where(there, 1.0)).clip(-1.0, 1.0), there


def _over(pair: Comparison, dim: Dims) -> list[Any]:
    return [name for name in pair.dims(dim) if name != BANDS]
