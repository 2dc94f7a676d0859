"""The measurements of tiles as one JSON object: overall, a band, a date and a tile.

RMSE, spectral angle, NDVI and borders are pooled over pixels, the largest error is the largest;
PSNR and MS-SSIM are means of the tiles' (and of the bands', for MS-SSIM), PSNR over the tiles that
have one. A number that does not exist is null, and so is every number that lost pixels enter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from openeo_nc.cubes.borders import border_decibel
from openeo_nc.cubes.metrics import bpppb
from openeo_nc.cubes.quality_subject import Subject
from openeo_nc.cubes.quality_tile import Sums, TileQuality


def document(
    subject: Subject, tiles: Sequence[TileQuality], curves: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The object that `compression_quality` gives; its definition says what each member means."""
    tiles = sorted(tiles, key=lambda tile: tile.place)
    bits = subject.reference_bits
    return {
        "codec": None if subject.codec is None else dict(subject.codec),
        "cube": {
            **subject.cube,
            "bands": list(subject.terms.bands),
            "peak": subject.terms.peak,
            "tile": subject.terms.tile,
            "ratio_to": f"uint{bits}" if bits == 16 else subject.cube["dtype"],
        },
        "overall": figures(tiles, bits),
        "bands": [
            {"band": band, **_band(tiles, place)} for place, band in enumerate(subject.terms.bands)
        ],
        "dates": [
            {"date": label, **figures([one for one in tiles if one.place[0] == date], bits)}
            for date, label in enumerate(subject.dates)
        ],
        "tiles": [
            {
                "date": subject.dates[tile.place[0]],
                "row": tile.place[1],
                "column": tile.place[2],
                "share": tile.share(subject.terms.tile),
                "coded": tile.coded,
                **figures([tile], bits),
            }
            for tile in tiles
        ],
        "rate_distortion": [dict(curve) for curve in curves],
    }


def figures(tiles: Sequence[TileQuality], bits: int = 16) -> dict[str, Any]:
    """The numbers of some tiles together."""
    values = sum(math.prod(tile.shape) for tile in tiles)
    valid = sum(int(tile.valid.sum()) for tile in tiles)
    lost = sum(tile.lost for tile in tiles)
    nbytes = _total(tile.nbytes for tile in tiles)
    rate = bpppb(nbytes, (values,)) if nbytes is not None and values else None
    decibels = [tile.psnr for tile in tiles]
    squared = Sums(total=sum(float(tile.squared.sum()) for tile in tiles), count=valid)
    absolute, ndvi = _pooled(t.ndvi_absolute for t in tiles), _pooled(t.ndvi_squared for t in tiles)
    angle = _pooled(tile.angle for tile in tiles)
    border, inside = (
        sum((getattr(t, part) for t in tiles), Sums()) for part in ("border", "inside")
    )
    return {
        "bytes": None if nbytes is None else round(nbytes),
        "bpppb": rate,
        "ratio": None if not rate else bits / rate,
        "tiles": len(tiles),
        "exact_tiles": sum(tile.exact for tile in tiles),
        "valid_share": valid / values if values else None,
        "lost": lost,
        "psnr": None if lost else _mean(decibels),
        "psnr_min": None if lost else min(filter(math.isfinite, decibels), default=None),
        "rmse": _number(squared.mean**0.5),
        "max_error": _largest(np.concatenate([t.largest for t in tiles]) if tiles else [], lost),
        "sam": None if angle is None else _number(angle.mean),
        "ms_ssim": None if lost else _mean(v for tile in tiles for v in tile.ms_ssim),
        "ndvi_mae": None if absolute is None else _number(absolute.mean),
        "ndvi_rmse": None if ndvi is None else _number(ndvi.mean**0.5),
        "border_db": border_decibel(border.mean, inside.mean),
    }


def _band(tiles: Sequence[TileQuality], place: int) -> dict[str, Any]:
    """The numbers of one band."""
    valid = sum(int(tile.valid[place]) for tile in tiles)
    values = sum(tile.shape[1] * tile.shape[2] for tile in tiles)
    squared = Sums(total=sum(float(tile.squared[place]) for tile in tiles), count=valid)
    lost = int(math.isnan(squared.total))
    return {
        "valid_share": valid / values,
        "psnr": None if lost else _mean(tile.band_psnr[place] for tile in tiles),
        "rmse": _number(squared.mean**0.5),
        "max_error": _largest([tile.largest[place] for tile in tiles], lost),
        "ms_ssim": None if lost else _mean(tile.ms_ssim[place] for tile in tiles),
    }


def _pooled(parts: Iterable[Sums | None]) -> Sums | None:
    known = [part for part in parts if part is not None]
    return sum(known, Sums()) if known else None


def _total(counts: Iterable[float | None]) -> float | None:
    known = list(counts)
    return None if not known or None in known else math.fsum(c for c in known if c is not None)


def _mean(values: Iterable[float]) -> float | None:
    """Mean of the finite ones."""
    known = [float(value) for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _largest(values: Iterable[float], lost: int) -> float | None:
    known = [float(value) for value in values if math.isfinite(value)]
    return max(known, default=None) if not lost else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
