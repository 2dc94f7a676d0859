"""What a reconstruction is worth: PSNR of its tiles, bytes, and the pictures that show both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes.metrics import bpppb, psnr
from openeo_nc.demo.page import DatePictures, Pictures
from openeo_nc.report.pictures import (
    Pixels,
    error_map,
    principal_colours,
    shrink,
    stretch,
    true_colour,
)
from openeo_nc.sentinel2 import RESOLUTION

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.cubes.grid import Window

Values = npt.NDArray[np.floating[Any]]
_TRUE_COLOUR = ("B04", "B03", "B02")
_UINT16_BITS = 16
_PICTURE, _DETAIL = 420, 170
"""Longest side in pixels of the overviews and of the detail."""


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The tiles that a cube is cut into."""

    tile: int
    """Side of a tile in pixels."""
    window: Window
    """How the tiles lie round the cube."""

    def of(self, values: Values) -> list[Values]:
        """The parts of `(bands, y, x)` that lie in each tile, row by row."""
        height, width = values.shape[1:]
        tops = range(-self.window.pad_top, height, self.tile)
        lefts = range(-self.window.pad_left, width, self.tile)
        return [
            values[:, max(y, 0) : y + self.tile, max(x, 0) : x + self.tile]
            for y in tops
            for x in lefts
        ]


def mean_psnr(original: Values, restored: Values, slices: Slices, peak: float) -> float | None:
    """Mean of the tiles' PSNR in dB of `(bands, y, x)`; None without valid or without lossy tiles."""
    pairs = zip(slices.of(original), slices.of(restored), strict=True)
    found = [psnr(a, b, peak=peak) for a, b in pairs if np.isfinite(a).any()]
    finite = [value for value in found if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def native_share(bands: Sequence[str]) -> float | None:
    """Pixels of Sentinel-2 bands at their own resolutions over pixels at 10 m; None for others."""
    if any(band not in RESOLUTION for band in bands):
        return None
    return float(np.mean([(10 / RESOLUTION[band]) ** 2 for band in bands]))


def row(
    date: str, original: Values, restored: Values, nbytes: int, slices: Slices, peak: float
) -> dict[str, Any]:
    """One line of the table: a date's bytes and quality."""
    rate = bpppb(nbytes, original.shape)
    return {
        "date": date,
        "valid_share": float(np.isfinite(original).mean()),
        "bytes": nbytes,
        "bpppb": rate,
        "ratio": _UINT16_BITS / rate,
        "psnr_db": mean_psnr(original, restored, slices, peak),
    }


def total(rows: Sequence[dict[str, Any]], elements: int, bands: Sequence[str]) -> dict[str, Any]:
    """The last line: all dates together; PSNR is the mean over dates."""
    nbytes = sum(r["bytes"] for r in rows)
    rate, share = bpppb(nbytes, (elements,)), native_share(bands)
    known = [r["psnr_db"] for r in rows if r["psnr_db"] is not None]
    return {
        "valid_share": float(np.mean([r["valid_share"] for r in rows])),
        "bytes": nbytes,
        "raw_bytes": elements * _UINT16_BITS // 8,
        "bpppb": rate,
        "ratio": _UINT16_BITS / rate,
        "native_ratio": None if share is None else share * _UINT16_BITS / rate,
        "psnr_db": float(np.mean(known)) if known else None,
    }


def _colour_bands(cube: xr.DataArray) -> list[int]:
    labels = [str(label) for label in cube["bands"].values]
    if all(band in labels for band in _TRUE_COLOUR):
        return [labels.index(band) for band in _TRUE_COLOUR]
    return [2, 1, 0] if len(labels) > 2 else [0, 0, 0]


def _detail(original: Values) -> tuple[slice, slice]:
    """The part of `(3, y, x)` with most structure: the largest deviation, no data left out."""
    height, width = original.shape[1:]
    side = min(_DETAIL, height, width)
    spots = [
        (float(np.std(part)), y, x)
        for y in range(0, height - side + 1, max(side // 3, 1))
        for x in range(0, width - side + 1, max(side // 3, 1))
        if np.isfinite(part := original[:, y : y + side, x : x + side]).all()
    ]
    _, y, x = max(spots, default=(0.0, 0, 0))
    return slice(y, y + side), slice(x, x + side)


def pictures(
    dates: Sequence[str],
    original: xr.DataArray,
    restored: xr.DataArray,
    embedding: xr.DataArray | None,
    error_limit: float,
) -> Pictures:
    """Pictures of cubes `(t, bands, y, x)`, computed, and of an embedding cube if there is one."""
    channels = _colour_bands(original)
    before = np.asarray(original.values[:, channels], dtype=np.float64)
    after = np.asarray(restored.values[:, channels], dtype=np.float64)
    limits = stretch(before)
    part = (slice(None), *_detail(before[0]))
    colours: list[Pixels | None] = [None] * len(dates)
    if embedding is not None:
        colours = list(principal_colours(embedding))
    return Pictures(
        dates=[
            DatePictures(
                date=date,
                original=shrink(true_colour(before[i], limits), _PICTURE),
                reconstruction=shrink(true_colour(after[i], limits), _PICTURE),
                error=shrink(
                    error_map(original.values[i], restored.values[i], error_limit), _PICTURE
                ),
                embedding=colours[i],
            )
            for i, date in enumerate(dates)
        ],
        detail=(true_colour(before[0][part], limits), true_colour(after[0][part], limits)),
        error_limit=error_limit,
    )
