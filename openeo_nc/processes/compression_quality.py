"""The openEO process compression_quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import quality
from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    import xarray as xr


def compression_quality(
    data: xr.DataArray, reference: xr.DataArray, options: Mapping[str, Any] | None = None
) -> quality.QualityReport:
    """How far a cube is from its original (lazy); see `cubes.quality`."""
    given = take(options, "peak", "red", "nir", "qualities", "codecs")
    return quality.compression_quality(
        data,
        reference,
        peak=_number("peak", given["peak"]),
        red=given["red"],
        nir=given["nir"],
        qualities=[_number("qualities", q) or 0.0 for q in given["qualities"] or ()],
        codecs=given["codecs"],
    )


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidParameterError(f"{name} is made of numbers; given {value!r}.")
    return float(value)
