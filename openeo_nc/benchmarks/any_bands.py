"""Measures what `auto` does with cubes of any bands, beside every classical codec at equal PSNR.

The universal codec codes a tile at a quality; every classical codec is then asked for the PSNR that
it reached, as `compress_cube(target_psnr=...)` asks. `auto` is the payload of `codecs.alternatives`.
PSNR refers to 10000 for 16-bit integers, 255 for 8-bit ones, and else to the tile's range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openeo_nc.benchmarks.kinds import Kind, kinds
from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.codecs import payloads
from openeo_nc.codecs.alternatives import encode_freely
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile, psnr
from openeo_nc.codecs.registry import UNIVERSAL, list_codecs, open_card, open_codec
from openeo_nc.cubes.rates import fallbacks
from openeo_nc.tables import table as columns

QUALITIES = (3.0, 5.0, 8.0)
SHORT_BY = 0.3
"""dB that a rival may miss the PSNR by and still be compared."""

Report = dict[str, Any]


def run(data: Path, qualities: Sequence[float] | None = None, *, progress: bool = True) -> Report:
    """Measure and report; `table` prints the report."""
    found = list(kinds(data))
    rows = measure(found, tuple(qualities or QUALITIES), progress=progress)
    return {"versions": versions(), "rows": rows}


def measure(
    tiles: Iterable[Kind], qualities: Sequence[float], *, progress: bool = False
) -> list[Report]:
    """A row a kind and quality: bytes and PSNR of the universal codec, of `auto`, of the rivals."""
    pairs = [(kind, quality) for kind in tiles for quality in qualities]
    return [_row(*pair) for pair in tqdm(pairs, unit="tile", disable=not progress)]


def table(report: Mapping[str, Any]) -> str:
    """Bytes at equal PSNR, and what `auto` takes."""
    rows = [
        (
            row["kind"],
            f"{row['quality']:g}",
            _number(row["psnr"], 1),
            str(row["bytes"]),
            str(row["best"]["bytes"]) if row["best"] else "-",
            row["best"]["codec"] if row["best"] else "-",
            _number(row["bytes"] / row["best"]["bytes"] if row["best"] else None, 2),
            str(row["auto"]["bytes"]),
            row["auto"]["codec"],
            _number(row["auto"]["psnr"], 1),
        )
        for row in report["rows"]
    ]
    head = (
        "kind", "quality", "dB", UNIVERSAL, "classical", "which", "ratio", "auto", "codec",
        "dB of auto",
    )  # fmt: skip
    legend = (
        "Bytes of one tile of each kind: the universal codec's at a quality, the best classical "
        "codec's\nat its PSNR, and auto's. '-': exact, or no classical codec reaches the PSNR."
    )
    return f"{legend}\n\n{columns(head, rows)}"


def _row(kind: Kind, quality: float) -> Report:
    x, nodata = kind.pixels, kind.nodata
    codec = open_codec(UNIVERSAL)
    payload = codec.encode(x, quality, nodata=nodata)
    reached = psnr(x, codec.decode(payload), codec.card, nodata)
    rivals = {} if math.isinf(reached) else _rivals(kind, reached)
    best = min(rivals, key=rivals.__getitem__, default=None)
    others = [open_card(card) for card in fallbacks(codec.card, x.dtype)]
    cards = [other.card for other in others]
    auto = encode_freely(codec, x, Rate(quality=quality), nodata=nodata, others=others)
    wrote = payloads.codec_of(auto, cards) or codec.card
    decibel = psnr(x, payloads.decode(auto, codec, open_card, cards), codec.card, nodata)
    return {
        "kind": kind.name,
        "shape": list(x.shape),
        "dtype": x.dtype.name,
        "quality": quality,
        "bytes": len(payload),
        "psnr": reached if math.isfinite(reached) else None,
        "rivals": rivals,
        "best": best and {"codec": best, "bytes": rivals[best]},
        "auto": {
            "codec": wrote.codec_id,
            "bytes": len(auto),
            "psnr": decibel if math.isfinite(decibel) else None,
        },
    }


def _rivals(kind: Kind, wanted: float) -> dict[str, int]:
    """Bytes of each classical codec that takes such pixels and reaches the PSNR."""
    found = {}
    for card in list_codecs():
        if card.weights is not None or kind.pixels.dtype.name not in card.dtypes:
            continue
        rival = open_card(card)
        payload = encode_tile(rival, kind.pixels, Rate(target_psnr=wanted), nodata=kind.nodata)
        if psnr(kind.pixels, rival.decode(payload), card, kind.nodata) > wanted - SHORT_BY:
            found[card.codec_id] = len(payload)
    return found


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
