"""What is known of a tile once it is coded: how far it decodes from its source, and its shift.

A store keeps both by tile (`inspect.RECORD`), and in a few numbers for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.rate_control import psnr
from openeo_nc.cubes.coding import decode
from openeo_nc.inference.cache import get_codec

if TYPE_CHECKING:
    from openeo_nc.codecs.guard import Shift
    from openeo_nc.cubes.coding import Coding, Form

Array = npt.NDArray[Any]
Index = tuple[int, int, int]
"""Date, row and column of a tile in a store."""


@dataclass(frozen=True, kw_only=True)
class TileError:
    """How far the decoded pixels of one tile are from what was encoded."""

    tile: Index
    """Date, row and column of the tile in the store."""
    psnr: float | None
    """dB; None for a tile that has none: without error, or without a valid pixel."""
    max_error: float | None
    """Largest absolute error in the card's numbers; None without a valid pixel."""
    band_errors: tuple[float, ...] | None = None
    """Largest absolute error of each band in the cube's numbers, of a tile that has a bound."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> TileError:
        """From what `asdict` made of one, perhaps by way of JSON."""
        date, row, column = document["tile"]
        bands = document["band_errors"]
        return cls(
            tile=(date, row, column),
            psnr=document["psnr"],
            max_error=document["max_error"],
            band_errors=None if bands is None else tuple(bands),
        )


def measure(
    index: Index, coding: Coding, block: Array, source: Array, shift: Array | None = None
) -> TileError:
    """The error of a tile as it decodes.

    Parameters
    ----------
    block
        Its payload, in an array of one element.
    source
        `(1, bands, y, x)`, its card numbers before coding.
    shift
        The guard's `Shift` of it, as `block`.
    """
    x, x_hat = source[0], decode(block.item(), coding.spec, coding.others)
    ratio = psnr(x, x_hat, get_codec(coding.spec).card, coding.nodata)
    valid = ~np.isnan(x) if x.dtype.kind == "f" else np.full(x.shape, True)
    valid &= x != coding.nodata if coding.nodata is not None else True
    if valid.any() and _blank(x_hat, coding.nodata):  # it was given up; see `on_error`
        return TileError(tile=index, psnr=None, max_error=None, band_errors=None)
    difference = np.abs(x_hat.astype(np.float64) - x)[valid]
    guarded = coding.asked.flagged is not None and shift is not None and not shift.item().trusted
    bounded = coding.asked.max_error is not None or guarded
    return TileError(
        tile=index,
        psnr=float(ratio) if np.isfinite(ratio) else None,
        max_error=float(difference.max()) if difference.size else None,
        band_errors=_band_errors(x, x_hat, valid, coding.form) if bounded else None,
    )


def _blank(pixels: Array, nodata: float | None) -> bool:
    """Whether no pixel is valid."""
    if pixels.dtype.kind == "f":
        return bool(np.isnan(pixels).all())
    return nodata is not None and bool((pixels == nodata).all())


def _band_errors(x: Array, x_hat: Array, valid: Array, form: Form) -> tuple[float, ...]:
    """The largest error of each band in the cube's numbers; 0 without a valid pixel."""
    given, found = (form.restore(numbers).astype(np.float64) for numbers in (x, x_hat))
    errors = np.where(valid, np.abs(given - found), 0).max(axis=(1, 2))
    return tuple(map(float, errors))


def summary(errors: Iterable[TileError]) -> dict[str, Any] | None:
    """Errors of tiles in a few numbers; None if none has a valid pixel.

    `psnr` is the mean of the tiles' PSNR as everywhere in the package, over tiles that have one;
    `exact_tiles` counts those without any error. `band_errors` are over tiles that have a bound.
    """
    valid = [error for error in errors if error.max_error is not None]
    if not valid:
        return None
    finite = [error.psnr for error in valid if error.psnr is not None]
    by_band = [error.band_errors for error in valid if error.band_errors is not None]
    bands = {"band_errors": list(map(max, zip(*by_band, strict=True)))} if by_band else {}
    return {
        "tiles": len(valid),
        "exact_tiles": sum(error.max_error == 0 for error in valid),
        "psnr": math.fsum(finite) / len(finite) if finite else None,
        "psnr_min": min(finite, default=None),
        "max_error": max(error.max_error for error in valid if error.max_error is not None),
        **bands,
    }


def bound_held(rate: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool | None:
    """Whether tiles with a bound are within it, by `Asked.document` and `summary`; None if unknown."""
    errors = metrics.get("band_errors")
    if "max_error" not in rate or errors is None:
        return None
    return bool((np.asarray(errors) <= np.broadcast_to(rate["max_error"], len(errors))).all())


def shift_record(index: Index, shift: Shift) -> dict[str, Any]:
    """A tile's shift as JSON takes it; a score or feature that is not known is null."""
    found = asdict(shift)
    features = {name: _finite(value) for name, value in shift.features.items()}
    return {"tile": list(index), **found, "score": _finite(shift.score), "features": features}


def shift_summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Shifts of tiles in a few numbers, and which tiles are flagged; None without any."""
    if not records:
        return None
    scores = [record["score"] for record in records if record["score"] is not None]
    flagged = [record["tile"] for record in records if record["flagged"]]
    return {
        "tiles": len(scores),
        "flagged": len(flagged),
        "score_max": max(scores, default=None),
        "flagged_tiles": flagged,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
