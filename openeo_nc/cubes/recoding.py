"""Codes a cube again at several qualities: curves of rate and distortion, each byte counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy.typing as npt

from openeo_nc.codecs.rate_control import psnr
from openeo_nc.cubes.dims import fill_value, labels
from openeo_nc.cubes.grid import pad_to_tiles
from openeo_nc.cubes.scaling import to_card
from openeo_nc.cubes.tile_graph import cell, per_tile
from openeo_nc.cubes.tiles import check_bands
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.placement import on_device
from openeo_nc.inference.spec import CodecSpec

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard


@dataclass(frozen=True, kw_only=True)
class Point:
    """One tile, codec and quality."""

    codec: str
    """Id of the codec."""
    title: str
    """What its card calls it."""
    quality: float
    """Level it was coded at."""
    nbytes: int
    """Bytes of the payload."""
    psnr: float
    """dB; infinite for an exact or empty tile."""


def recodings(
    original: xr.DataArray, cards: Sequence[CodecCard], qualities: Sequence[float]
) -> list[da.Array]:
    """`Point`s `(t, tile_y, tile_x)` object of `(t, bands, y, x)`, one array a codec and quality.

    Raises
    ------
    InvalidParameterError
        A quality is out of the first codec's range; others leave it out.
    BandMismatchError, DataTypeUnsupportedError
    """
    return [
        array
        for number, card in enumerate(cards)
        for array in _of_codec(original, card, _levels(card, qualities, strict=number == 0))
    ]


def _levels(card: CodecCard, qualities: Sequence[float], *, strict: bool) -> list[float]:
    low, high, _ = card.quality
    inside = [float(level) for level in qualities if low <= level <= high]
    if strict and len(inside) < len(qualities):
        raise InvalidParameterError(
            f"qualities of '{card.codec_id}' go from {low:g} to {high:g}; "
            f"given {', '.join(f'{level:g}' for level in qualities)}."
        )
    return inside


def _of_codec(original: xr.DataArray, card: CodecCard, levels: Sequence[float]) -> list[da.Array]:
    check_bands(card, labels(original))
    padded = pad_to_tiles(to_card(original, card), card.tile)
    nodata = fill_value(padded) if padded.dtype.kind in "iu" else None
    spec = CodecSpec.of(card)
    point = on_device(_point, spec)
    return [per_tile("point", point, [padded.data], (spec, level, nodata)) for level in levels]


def _point(
    block: npt.NDArray[Any], spec: CodecSpec, quality: float, nodata: float | None
) -> npt.NDArray[Any]:
    codec, x = get_codec(spec), block[0]
    payload = codec.encode(x, quality, nodata=nodata)
    return cell(
        Point(
            codec=spec.codec_id,
            title=codec.card.title,
            quality=quality,
            nbytes=len(payload),
            psnr=psnr(x, codec.decode(payload), codec.card, nodata),
        )
    )


def curves_of(points: Iterable[Point], values: int) -> list[dict[str, Any]]:
    """Curves of codecs over a cube of `values` numbers, lowest quality first.

    PSNR is the mean over tiles that have an error.
    """
    groups: dict[str, dict[float, list[Point]]] = {}
    for point in points:
        groups.setdefault(point.codec, {}).setdefault(point.quality, []).append(point)
    return [
        {
            "codec": codec,
            "title": next(iter(by.values()))[0].title,
            "points": [_mean(quality, by[quality], values) for quality in sorted(by)],
        }
        for codec, by in groups.items()
    ]


def _mean(quality: float, points: Sequence[Point], values: int) -> dict[str, Any]:
    nbytes = sum(p.nbytes for p in points)
    finite = [p.psnr for p in points if math.isfinite(p.psnr)]
    return {
        "quality": quality,
        "bytes": nbytes,
        "bpppb": 8 * nbytes / values,
        "psnr": math.fsum(finite) / len(finite) if finite else None,
    }
