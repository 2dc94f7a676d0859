"""Measures the guard on places left out of training: what it detects, and what shifts do to codecs.

Every tile is cut into windows of about 130 pixels a side, and every window is scored clean, with each
corruption at each strength, and turned by a quarter, which is no shift. AUROC is the chance that a
shifted window scores above a clean one, both drawn from all places. Foreign tiles are scored whole;
kinds that calibration saw other tiles of say so.

How quality degrades: one window a tile is coded as it is and corrupted; PSNR is that of the decoded
window against what was coded, both clipped to 0..10000, peak 10000.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from openeo_nc.benchmarks.foreign import foreign_tiles
from openeo_nc.benchmarks.guard_output import plot
from openeo_nc.benchmarks.rate_distortion_output import require_matplotlib
from openeo_nc.benchmarks.tiles import Tile, given
from openeo_nc.codecs.guard import Guard, Shift
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.cubes.metrics import bpppb, psnr
from openeo_nc.errors import InvalidParameterError, OutputExistsError

CODECS = ("s2l2a-hyperprior", "klt-dct", "s2l2a-restoration")
WINDOW = 120
"""Least side of a window, unless the tile is smaller."""
PEAK = 10000.0
TURNED = "turned by a quarter"
FILES = ("guard.json", "guard.png")

Row = dict[str, Any]


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] = CODECS,
    out: Path | None = None,
    *,
    tiles: Path | None = None,
    quality: float = 5.0,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure and report; `guard_output.table` prints the report.

    Parameters
    ----------
    data
        Folder that the split's paths are relative to; gives foreign tiles too.
    split
        Split whose evaluation places are scored: a shipped name or a JSON file.
    codecs
        Ids of codecs to code windows with; the first one's card names the guard.
    out
        Folder for `guard.json` and `guard.png`; None writes nothing.
    tiles
        Folder of GeoTIFFs to score instead of a split.
    quality
        Of the codecs.
    progress
        Show a progress bar on standard error.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, OutputExistsError, NoDataAvailableError
    """
    if not codecs:
        raise InvalidParameterError("No codec was given; the first one's card names the guard.")
    if out is not None:
        _claim(out)
    measured, source = given(data, split, tiles)
    guard = Guard.load(get_card(codecs[0]))
    cut = [window for tile in measured for window in windows(tile)]
    rows = score_windows(guard, cut, progress=progress)
    report = {"source": source, "peak": PEAK, "quality": quality, **summarise(rows)}
    if data is not None:
        clean = [row["score"] for row in rows if row["kind"] == ""]
        report["foreign"] = score_foreign(guard, data, cut, clean)
    firsts = {(w.place, w.name.partition("/")[0]): w for w in reversed(cut)}
    report["coding"] = [
        row
        for codec in codecs
        for row in coding(guard, codec, [*firsts.values()][::-1], quality, progress=progress)
    ]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / FILES[0]).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        plot(report, out / FILES[1])
    return report


def windows(tile: Tile) -> Iterator[Tile]:
    """A tile cut into equal parts, each side WINDOW or a little more."""
    height, width = tile.pixels.shape[1:]
    rows, columns = (max(1, n // WINDOW) for n in (height, width))
    for i in range(rows):
        for j in range(columns):
            part = tile.pixels[
                :,
                i * (height // rows) : (i + 1) * (height // rows),
                j * (width // columns) : (j + 1) * (width // columns),
            ]
            yield Tile(
                place=tile.place,
                name=f"{tile.name}/{i}{j}",
                pixels=np.ascontiguousarray(part),
                nodata=tile.nodata,
                native_bpppb=tile.native_bpppb,
            )


def score_windows(guard: Guard, cut: Sequence[Tile], *, progress: bool = False) -> list[Row]:
    """One row a window and form: clean (kind ""), corrupted, or turned."""
    rows = []
    for i, window in enumerate(tqdm(cut, unit="window", disable=not progress)):
        for kind, strength, pixels in forms(window.pixels, seed=i):
            shift = guard.score(pixels, nodata=window.nodata)
            rows.append({"place": window.place, "kind": kind, "strength": strength, **_said(shift)})
    return [row for row in rows if not math.isnan(row["score"])]


def forms(x: npt.NDArray[Any], *, seed: int) -> Iterator[tuple[str, int, npt.NDArray[Any]]]:
    """(kind, strength, pixels): as it is, turned, and with every corruption."""
    yield "", 0, x
    yield TURNED, 0, np.ascontiguousarray(np.rot90(x, 1, axes=(1, 2)))
    for kind in CORRUPTIONS:
        for strength in STRENGTHS:
            yield kind, strength, corrupt(x, kind, strength, seed=seed)


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """False alarms, and AUROC and share flagged of every kind and strength, and of all."""
    clean = [row for row in rows if row["kind"] == ""]
    scores = [row["score"] for row in clean]
    shifted = [row for row in rows if row["kind"] in CORRUPTIONS]
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["kind"]:
            groups.setdefault((row["kind"], row["strength"]), []).append(row)
    detection = [
        {"kind": kind, "strength": strength, **_detected(scores, group), "named": _named(group)}
        for (kind, strength), group in groups.items()
    ]
    return {
        "windows": len(clean),
        "false_alarms": _share(clean),
        "false_alarms_by_place": {
            place: _share([row for row in clean if row["place"] == place])
            for place in dict.fromkeys(row["place"] for row in clean)
        },
        "detection": detection,
        "overall": _detected(scores, shifted),
    }


def score_foreign(
    guard: Guard, data: Path, cut: Sequence[Tile], clean: Sequence[float]
) -> list[Row]:
    """AUROC and share flagged of every foreign kind, of tiles that calibration did not see."""
    tiles = foreign_tiles(data, [window.pixels for window in cut])
    seen = {tile.kind for tile in tiles if tile.calibrates}
    groups: dict[str, list[Row]] = {}
    for tile in tiles:
        shift = guard.score(tile.pixels)
        if not tile.calibrates and not math.isnan(shift.score):
            groups.setdefault(tile.kind, []).append(_said(shift))
    return [
        {"kind": kind, "tiles": len(group), "kind_calibrates": kind in seen}
        | _detected(clean, group)
        for kind, group in groups.items()
    ]


def coding(
    guard: Guard, codec: str, cut: Sequence[Tile], quality: float, *, progress: bool = False
) -> list[Row]:
    """Mean bpppb and PSNR of every kind and strength, and AUROC of scores that saw the payload."""
    opened = open_codec(codec)
    groups: dict[tuple[str, int], list[Row]] = {}
    for i, window in enumerate(tqdm(cut, desc=codec, unit="window", disable=not progress)):
        for kind, strength, pixels in forms(window.pixels, seed=i):
            payload = opened.encode(pixels, quality, nodata=window.nodata)
            decoded = opened.decode(payload)
            row = _said(guard.score(pixels, nodata=window.nodata, payload=payload))
            row["bpppb"] = bpppb(len(payload), pixels.shape)
            row["psnr"] = psnr(pixels, decoded, peak=PEAK, nodata=window.nodata, clip=True)
            groups.setdefault((kind, strength), []).append(row)
    clean = groups["", 0]
    return [
        {
            "codec": codec,
            "kind": kind or "clean",
            "strength": strength,
            "windows": len(group),
            "bpppb": float(np.mean([row["bpppb"] for row in group])),
            "psnr": float(np.mean([min(row["psnr"], 120.0) for row in group])),
            "auroc": auroc([row["score"] for row in clean], [row["score"] for row in group]),
        }
        for (kind, strength), group in groups.items()
    ]


def auroc(clean: Sequence[float], shifted: Sequence[float]) -> float:
    """Chance that one of the shifted scores is above one of the clean ones; equal ones count half."""
    a, b = np.array(shifted)[:, None], np.array(clean)
    return float(np.mean((a > b) + 0.5 * (a == b)))


def _detected(clean: Sequence[float], group: Sequence[Row]) -> Row:
    return {"auroc": auroc(clean, [row["score"] for row in group]), "flagged": _share(group)}


def _named(group: Sequence[Row]) -> str:
    """What most flagged windows are said to look like; empty without any."""
    said = [row["said"] for row in group if row["flagged"]]
    return max(sorted(set(said)), key=said.count, default="")


def _share(group: Sequence[Row]) -> float:
    return float(np.mean([row["flagged"] for row in group]))


def _said(shift: Shift) -> Row:
    return {"score": shift.score, "flagged": shift.flagged, "said": shift.kind}


def _claim(out: Path) -> None:
    require_matplotlib()
    for name in FILES:
        if (out / name).exists():
            raise OutputExistsError(f"{out / name} exists; nothing was measured or overwritten.")
