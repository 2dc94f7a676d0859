"""What a comparison is of: codec, cube, dates, and the peak that PSNR takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openeo_nc.codecs import registry
from openeo_nc.codecs.klt_dct_side import fixed_peak
from openeo_nc.cubes.dims import BANDS, T, crs_name, crs_of, labels, nodata_of
from openeo_nc.cubes.quality_tile import Terms
from openeo_nc.cubes.scaling import SCALE, factor
from openeo_nc.errors import CodecNotFoundError
from openeo_nc.sentinel2 import BANDS as SENTINEL2

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.grid import TileGrid
    from openeo_nc.cubes.payloads import Payloads


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was compared, as the document states it."""

    terms: Terms
    """What the comparison went by."""
    codec: Mapping[str, Any] | None
    """Codec, weights and quality of the data; None if they are not known to be coded."""
    cube: Mapping[str, Any]
    """Sizes, dtype, CRS and grid of the data."""
    dates: tuple[str | None, ...]
    """Label of each date."""
    reference_bits: int
    """Bits of a value that the ratio compares with."""


def card_of(data: xr.DataArray, payloads: Payloads | None) -> CodecCard | None:
    """Card of the codec that the data were coded with, if they say and it is installed."""
    if payloads is not None:
        return payloads.card
    try:
        return registry.get_card(str(data.attrs["nc:codec"])) if "nc:codec" in data.attrs else None
    except CodecNotFoundError:
        return None


def peak_of(
    original: xr.DataArray, card: CodecCard | None, payloads: Payloads | None
) -> float | None:
    """Peak in the cube's numbers; None is the range of each tile."""
    if card is not None and card.peak is not None:
        return card.peak / factor(original, card)
    dtype = original.dtype if payloads is None else payloads.dtype
    if (own := fixed_peak(dtype)) is not None:
        return own * (1.0 if payloads is None else payloads.scale_factor)
    if SCALE in original.attrs and set(labels(original)) <= set(SENTINEL2):
        return 1.0 / float(original.attrs[SCALE])
    return None


def integer_nodata(cube: xr.DataArray) -> float | None:
    """`nodata_of` of an integer cube, None of others."""
    nodata = nodata_of(cube)
    return None if nodata is None or math.isnan(nodata) else nodata


def subject_of(
    terms: Terms, restored: xr.DataArray, card: CodecCard | None, attrs: Mapping[str, Any],
    grid: TileGrid,
) -> Subject:  # fmt: skip
    """The subject of a comparison; `attrs` are those of the data."""
    codec = None
    if card is not None:
        codec = {
            "id": card.codec_id,
            "title": card.title,
            "version": card.version,
            "weights_sha256": card.weights_sha256,
            "quality": attrs.get("nc:quality"),
        }
    small = restored.dtype.itemsize <= 2 or (card is not None and card.scale is not None)
    times = restored[T].values if T in restored.coords else [None] * restored.sizes[T]
    return Subject(
        terms=terms,
        codec=codec,
        cube={
            **{str(dim): int(n) for dim, n in restored.sizes.items() if dim != BANDS},
            "dtype": restored.dtype.name,
            "crs": crs_name(crs_of(restored)),
            "grid": grid.id,
        },
        dates=tuple(None if time is None else _text(time) for time in times),
        reference_bits=16 if small else 8 * restored.dtype.itemsize,
    )


def _text(time: Any) -> str:
    """ISO text of a label, without a time of day that is midnight."""
    text = str(time).removesuffix("000000000").rstrip(".")
    return text.removesuffix("T00:00:00")
