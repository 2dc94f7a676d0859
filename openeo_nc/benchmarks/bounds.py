"""Measures what bounds on the error cost: bytes of every codec that keeps them, tile by tile.

Every payload is decoded and its largest error compared with the bound. `smallest` is what
`compress_cube` takes for a tile: the cheapest of the codec that `auto` chooses and of those that it
falls back to. A mean is over tiles, of bpppb; PSNR with peak 10000, of the smallest.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.rate_distortion import PEAK, versions
from openeo_nc.benchmarks.tiles import Tile, given
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.registry import UNIVERSAL, choose, list_codecs, open_codec
from openeo_nc.cubes.metrics import bpppb, psnr
from openeo_nc.cubes.rates import FALLBACKS
from openeo_nc.errors import OpenEONCError, OutputExistsError
from openeo_nc.sentinel2 import BANDS
from openeo_nc.tables import table as columns

BOUNDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""In reflectance x 10000; 0 is lossless."""
SMALLEST = "smallest"
FILE = "bounds.json"

Report = dict[str, Any]


def default_codecs() -> tuple[str, ...]:
    """What `auto` chooses for the twelve bands, the universal codec, and classical ones."""
    classical = [c.codec_id for c in list_codecs() if c.bands is None and c.weights is None]
    return tuple(dict.fromkeys((choose("auto", BANDS).codec_id, UNIVERSAL, *classical)))


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] | None = None,
    bounds: Sequence[float] | None = None,
    out: Path | None = None,
    *,
    tiles: Path | None = None,
    progress: bool = True,
) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    data, split, tiles
        As those of `rate_distortion.run`.
    codecs
        Ids of registered codecs; default `default_codecs`.
    bounds
        Largest absolute errors of every band; default `BOUNDS`.
    out
        Folder for `bounds.json`; None writes nothing.
    progress
        Show a progress bar on standard error.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, OutputExistsError, NoDataAvailableError
    """
    if out is not None and (out / FILE).exists():
        raise OutputExistsError(f"{out / FILE} exists; nothing was measured or overwritten.")
    found, _ = given(data, split, tiles)
    names = tuple(codecs or default_codecs())
    rows = measure(found, names, tuple(bounds or BOUNDS), progress=progress)
    report = {
        "source": tiles.name if tiles is not None else Path(split).stem,
        "versions": versions(),
        "tiles": rows,
        "means": means(rows),
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / FILE).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    return report


def measure(
    tiles: Sequence[Tile], codecs: Sequence[str], bounds: Sequence[float], *, progress: bool = False
) -> list[Report]:
    """A row a tile, bound and codec: bytes, or None if it does not keep the bound; and the smallest."""
    rows: list[Report] = []
    taken = {choose("auto", BANDS).codec_id, UNIVERSAL, *FALLBACKS}
    with tqdm(total=len(tiles) * len(bounds), unit="tile", disable=not progress) as bar:
        for tile in tiles:
            for bound in bounds:
                found = [_row(tile, codec, bound) for codec in codecs]
                kept = [row for row in found if row["codec"] in taken and row["bytes"] is not None]
                rows += found
                if kept:
                    best = min(kept, key=lambda row: row["bytes"])
                    rows.append({**best, "codec": SMALLEST, "by": best["codec"]})
                bar.update()
    return rows


def means(rows: Sequence[Report]) -> list[Report]:
    """Mean bpppb a codec and bound; None where it does not keep the bound of every tile."""
    groups: dict[tuple[str, float], list[Report]] = {}
    for row in rows:
        groups.setdefault((row["codec"], row["bound"]), []).append(row)
    return [
        {
            "codec": codec,
            "bound": bound,
            "bpppb": _mean([row["bpppb"] for row in group]),
            "psnr": _mean([row["psnr"] for row in group]),
            "by": dict(Counter(row["by"] for row in group if "by" in row)),
        }
        for (codec, bound), group in groups.items()
    ]


def table(report: Mapping[str, Any]) -> str:
    """Mean bpppb by codec and bound, and whose payloads the smallest are."""
    cells = {(m["codec"], m["bound"]): m for m in report["means"]}
    bounds = list(dict.fromkeys(bound for _, bound in cells))
    rows = [
        (codec, *(_number(cells[codec, bound]["bpppb"], 3) for bound in bounds))
        for codec in dict.fromkeys(codec for codec, _ in cells)
    ]
    smallest = [cells[SMALLEST, bound] for bound in bounds if (SMALLEST, bound) in cells]
    if smallest:
        rows.append(("dB of the smallest", *(_number(m["psnr"], 1) for m in smallest)))
    rows += [
        (f"tiles by {codec}", *(str(m["by"].get(codec, 0)) for m in smallest))
        for codec in dict.fromkeys(name for m in smallest for name in m["by"])
    ]
    head = ("bpppb at max_error", *(f"{bound:g}" for bound in bounds))
    legend = f"Bounds on {report['source']}, reflectance x 10000; mean over tiles, 0 is lossless."
    return f"{legend}\n\n{columns(head, rows)}"


def _row(tile: Tile, codec_id: str, bound: float) -> Report:
    codec = open_codec(codec_id)
    row: Report = {"codec": codec_id, "bound": bound, "place": tile.place, "tile": tile.name}
    try:
        payload = codec.encode_bounded(tile.pixels, [bound] * len(tile.pixels), nodata=tile.nodata)
    except OpenEONCError:
        return {**row, "bytes": None, "bpppb": None, "psnr": None, "error": None}
    out = codec.decode(payload)
    decibel = psnr(tile.pixels, out, peak=PEAK, nodata=tile.nodata, clip=True)
    return {
        **row,
        "bytes": len(payload),
        "bpppb": bpppb(len(payload), tile.pixels.shape),
        "psnr": decibel if math.isfinite(decibel) else None,
        "error": _largest_error(tile, out),
    }


def _largest_error(tile: Tile, out: npt.NDArray[Any]) -> float:
    gaps = missing.find(tile.pixels, tile.nodata)
    error = np.abs(tile.pixels.astype(np.float64) - out.astype(np.float64))
    return float(error.max() if gaps is None else error[~gaps].max(initial=0))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
