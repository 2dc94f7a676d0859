"""The openEO process compress_cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import compress
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    import xarray as xr


def compress_cube(
    data: xr.DataArray,
    codec: str = "auto",
    quality: float | None = None,
    target_psnr: float | None = None,
    target_ratio: float | None = None,
    max_error: float | Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """A cube as a codec gives it back, carrying its payloads; see `cubes.compress`."""
    given = take(options, "scale", "guard", "dates")
    return compress.compress_cube(
        data,
        codec,
        quality,
        given["scale"],
        target_psnr=target_psnr,
        target_ratio=target_ratio,
        max_error=max_error,
        guard=given["guard"] or "off",
        dates=given["dates"],
    )
