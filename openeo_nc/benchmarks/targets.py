"""Measures how near the PSNR of finished payloads comes to the PSNR that was asked, tile by tile.

PSNR is of what payloads decode to, with the peak of the codec or the dtype. Seconds are those of a
processor, all threads, a tile. A mean is over tiles.

Of each tile the first `CROP` rows and columns are measured, since a search codes a tile several times:
whole tiles take over five minutes on one core. Rates of a part are a little above those of the whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.tiles import Tile, given
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile, psnr
from openeo_nc.codecs.registry import open_codec
from openeo_nc.cubes.metrics import bpppb
from openeo_nc.tables import table as columns

CODECS = (
    "klt-dct", "s2l2a-restoration", "s2l2a-hyperprior", "jpegxl", "sperr", "sz3", "zfp", "jpeg2000"
)  # fmt: skip
TARGETS = (40.0, 45.0, 50.0, 55.0, 60.0)
"""PSNR in dB."""
WITHIN = 0.3
"""dB that a tile may be off its target."""
CROP = 192
Report = dict[str, Any]


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] | None = None,
    targets: Sequence[float] | None = None,
    *,
    tiles: Path | None = None,
    crop: int = CROP,
    progress: bool = True,
) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    data, split, tiles
        As those of `rate_distortion.run`.
    codecs
        Ids of registered codecs; default `CODECS`.
    targets
        PSNR in dB; default `TARGETS`.
    crop
        Most rows and columns of a tile.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, NoDataAvailableError
    """
    opened = [open_codec(codec) for codec in codecs or CODECS]
    found, _ = given(data, split, tiles)
    rows = measure(found, opened, targets or TARGETS, crop=crop, progress=progress)
    return {
        "source": tiles.name if tiles is not None else Path(split).stem,
        "versions": versions(),
        "crop": crop,
        "tiles": rows,
        "means": means(rows),
    }


def measure(
    tiles: Sequence[Tile],
    codecs: Sequence[Codec],
    targets: Sequence[float],
    *,
    crop: int = CROP,
    progress: bool = False,
) -> list[Report]:
    """A row a codec, target and tile; its PSNR is None where the tile came back exactly."""
    cases = [(codec, t, tile) for codec in codecs for t in targets for tile in tiles]
    shown = tqdm(cases, unit="tile", disable=not progress)
    return [_row(codec, target, tile, crop) for codec, target, tile in shown]


def means(rows: Sequence[Report]) -> list[Report]:
    """Of each codec and target the mean rate, the largest miss, and how many tiles are `WITHIN`."""
    groups: dict[tuple[str, float], list[Report]] = {}
    for row in rows:
        groups.setdefault((row["codec"], row["target"]), []).append(row)
    return [_mean(codec, target, group) for (codec, target), group in groups.items()]


def table(report: Report) -> str:
    """The report as text: rates, misses and seconds, a line a codec and a column a target."""
    rows = report["means"]
    legend = (
        f"PSNR asked on {report['source']}, of each tile at most {report['crop']} x "
        f"{report['crop']} pixels; mean over tiles.\nmissed by: largest difference in dB (tiles "
        f"within {WITHIN} dB); exact: tiles that came back so."
    )
    blocks = [
        _matrix("bpppb at", rows, lambda row: f"{row['bpppb']:.3f}"),
        _matrix("missed by", rows, _missed),
        _matrix("seconds to encode", rows, lambda row: f"{row['encode_seconds']:.2f}"),
        _matrix("seconds to decode", rows, lambda row: f"{row['decode_seconds']:.2f}"),
    ]
    return "\n\n".join([legend, *blocks])


def _row(codec: Codec, target: float, tile: Tile, crop: int) -> Report:
    x = np.ascontiguousarray(tile.pixels[:, :crop, :crop])
    began = time.process_time()
    payload = encode_tile(codec, x, Rate(target_psnr=target), nodata=tile.nodata)
    encoded = time.process_time()
    out = codec.decode(payload)
    ended = time.process_time()
    found = psnr(x, out, codec.card, tile.nodata)
    return {
        "codec": codec.card.codec_id,
        "target": target,
        "place": tile.place,
        "tile": tile.name,
        "bytes": len(payload),
        "bpppb": bpppb(len(payload), x.shape),
        "psnr": found if math.isfinite(found) else None,
        "encode_seconds": encoded - began,
        "decode_seconds": ended - encoded,
    }


def _mean(codec: str, target: float, rows: Sequence[Report]) -> Report:
    missed = [abs(row["psnr"] - target) for row in rows if row["psnr"] is not None]
    return {
        "codec": codec,
        "target": target,
        "tiles": len(rows),
        "worst": max(missed, default=None),
        "within": sum(difference <= WITHIN for difference in missed),
        "exact": len(rows) - len(missed),
        **{
            name: fmean(row[name] for row in rows)
            for name in ("bpppb", "encode_seconds", "decode_seconds")
        },
    }


def _missed(row: Report) -> str:
    if row["worst"] is None:
        return "exact"
    exact = f", {row['exact']} exact" if row["exact"] else ""
    return f"{row['worst']:.2f} ({row['within']} of {row['tiles']}{exact})"


def _matrix(title: str, rows: Sequence[Report], cell: Callable[[Report], str]) -> str:
    cells = {(row["codec"], row["target"]): cell(row) for row in rows}
    targets = dict.fromkeys(target for _, target in cells)
    return columns(
        (title, *(f"{target:g} dB" for target in targets)),
        [
            (codec, *(cells[codec, target] for target in targets))
            for codec in dict.fromkeys(codec for codec, _ in cells)
        ],
    )
