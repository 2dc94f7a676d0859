"""Measures bytes and PSNR of codecs beside classical baselines, tile by tile, on left-out places.

Every rate is that of finished payloads, headers and all; every PSNR that of what they decode to.
PSNR as `cubes.metrics` defines it with peak 10000. A mean is over tiles, of bpppb and of PSNR.

Rates at equal PSNR are read off the mean curves: monotone cubic (PCHIP) of log bpppb over PSNR,
never extrapolated. The rivals are both KLT + JPEG 2000 baselines; `klt-jpeg2000-joint` is the
stronger. Storage at native resolution means uint16 with 10, 20 and 60 m bands each on its own
grid: 7.41 bits for every pixel and band of the 12-band 10 m cube.

The classical rows of the project's reference table (20 tiles) are the defaults here: run with
`tiles` on the 20 example tiles of IBM/TerraCodec (Apache-2.0, folder `examples/S2L2A_images`).
They came out as, bpppb @ dB:

    jpeg2000-bands       0.317 @ 39.96   0.471 @ 42.99   0.666 @ 46.02   0.900 @ 49.20
    jpeg2000-components  0.246 @ 40.17   0.393 @ 43.22   0.581 @ 46.32   0.818 @ 49.38
    klt-jpeg2000         0.148 @ 40.10   0.384 @ 44.71   0.591 @ 47.18   0.856 @ 49.80
    klt-jpeg2000-joint   0.133 @ 40.31   0.265 @ 43.38   0.471 @ 46.42   0.765 @ 49.48
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from tqdm import tqdm

from openeo_nc.benchmarks.rate_distortion_output import plot, require_matplotlib
from openeo_nc.benchmarks.tiles import Tile, from_folder, from_split
from openeo_nc.codecs.classical import BASELINES
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.cubes.metrics import bpppb, psnr, sam
from openeo_nc.errors import InvalidParameterError, OutputExistsError

PEAK = 10000.0
TARGETS = (40.0, 43.0, 46.0)
"""PSNR in dB at which rates are compared."""
RIVALS = ("klt-jpeg2000", "klt-jpeg2000-joint")
CODECS = (*BASELINES, "klt-dct", "s2l2a-hyperprior")
MEAN = "mean"
"""Name of the row over all tiles."""

Qualities = Mapping[str, Sequence[float]] | Sequence[float] | None
Row = dict[str, Any]


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] = CODECS,
    qualities: Qualities = None,
    out: Path | None = None,
    *,
    tiles: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure and report; `rate_distortion_output.table` prints the report.

    Parameters
    ----------
    data
        Folder that the split's paths are relative to.
    split
        Split whose evaluation places are measured: a shipped name or a JSON file.
    codecs
        Ids of registered codecs and names of baselines.
    qualities
        Levels a codec id, or one list for all registered codecs; default each one's own.
    out
        Folder for `rate_distortion.json` and `rate_distortion.png`; None writes nothing.
    tiles
        Folder of GeoTIFFs to measure instead of a split.
    progress
        Show a progress bar on standard error.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, OutputExistsError, NoDataAvailableError
    """
    levels = {name: _levels(name, qualities) for name in codecs}
    if out is not None:
        _claim(out)
    if tiles is not None:
        measured, source = from_folder(tiles), tiles.name
    elif data is not None:
        measured, source = from_split(data, split), Path(split).stem
    else:
        raise InvalidParameterError("Neither data nor tiles was given; one says what to measure.")
    report = summarise(measure(measured, levels, progress=progress), measured)
    report = {"source": source, "versions": _versions(), "peak": PEAK, **report}
    if out is not None:
        write(report, out)
    return report


def measure(
    tiles: Sequence[Tile], levels: Mapping[str, Sequence[float]], *, progress: bool = False
) -> list[Row]:
    """One row a codec, quality and tile: bytes, bpppb, PSNR in dB, mean spectral angle in degrees.

    PSNR is None where the tile came back exactly.
    """
    total = len(tiles) * sum(map(len, levels.values()))
    rows: list[Row] = []
    with tqdm(total=total, unit="tile", disable=not progress) as bar:
        for codec, qualities in levels.items():
            bar.set_description(codec)
            for quality in qualities:
                for tile in tiles:
                    rows.append(_row(tile, codec, quality))
                    bar.update()
    return rows


def summarise(rows: Sequence[Row], tiles: Sequence[Tile]) -> dict[str, Any]:
    """Rows, their means a place and over all tiles, and the rates at equal PSNR."""
    places = list(dict.fromkeys(row["place"] for row in rows))
    groups = {place: [r for r in rows if r["place"] == place] for place in places}
    native = {place: _native([t for t in tiles if t.place == place]) for place in places}
    if len(places) > 1:
        groups[MEAN], native[MEAN] = list(rows), _native(tiles)
    means = [mean for place, group in groups.items() for mean in _means(place, group)]
    return {
        "places": {place: len([t for t in tiles if t.place == place]) for place in places},
        "tiles": list(rows),
        "means": means,
        "at_psnr": [row for place in groups for row in _compared(place, means, native[place])],
    }


def rate_at(curve: Iterable[tuple[float, float | None]], target: float) -> float | None:
    """bpppb of a curve of (bpppb, PSNR) points at a PSNR; None outside the curve."""
    points = sorted({p: r for r, p in curve if p is not None}.items())
    if len(points) < 2 or not points[0][0] <= target <= points[-1][0]:
        return None
    decibels, rates = zip(*points, strict=True)
    return math.exp(PchipInterpolator(decibels, np.log(rates))(target))


def write(report: Mapping[str, Any], out: Path) -> None:
    """`rate_distortion.json` and `rate_distortion.png` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, allow_nan=False)
    (out / "rate_distortion.json").write_text(text + "\n", encoding="utf-8")
    plot(report, out / "rate_distortion.png")


def _row(tile: Tile, codec: str, quality: float) -> Row:
    nbytes, x_hat = _round_trip(tile, codec, quality)
    decibel = psnr(tile.pixels, x_hat, peak=PEAK, nodata=tile.nodata)
    angle = sam(tile.pixels, x_hat, nodata=tile.nodata)
    return {
        "codec": codec,
        "quality": quality,
        "place": tile.place,
        "tile": tile.name,
        "bytes": nbytes,
        "bpppb": bpppb(nbytes, tile.pixels.shape),
        "psnr": decibel if math.isfinite(decibel) else None,
        "sam": angle if math.isfinite(angle) else None,
    }


def _round_trip(tile: Tile, codec: str, quality: float) -> tuple[int, npt.NDArray[Any]]:
    """Size of the payload, and what it decodes to."""
    if codec in BASELINES:  # these know no nodata: they code its value like any other
        payload = BASELINES[codec].encode(tile.pixels, quality)
        return len(payload), BASELINES[codec].decode(payload)
    opened = open_codec(codec)
    payload = opened.encode(tile.pixels, quality, nodata=tile.nodata)
    return len(payload), opened.decode(payload)


def _levels(codec: str, qualities: Qualities) -> tuple[float, ...]:
    given = qualities.get(codec) if isinstance(qualities, Mapping) else qualities
    if codec in BASELINES:
        chosen = given if isinstance(qualities, Mapping) else None
        return tuple(chosen or BASELINES[codec].qualities)
    low, high, _ = get_card(codec).quality
    levels = tuple(given or np.linspace(low, high, 8).tolist())
    if outside := [level for level in levels if not low <= level <= high]:
        raise InvalidParameterError(
            f"{codec} was asked for the qualities {outside}; it has {low:g} to {high:g}."
        )
    return levels


def _means(place: str, rows: Sequence[Row]) -> list[Row]:
    keys = dict.fromkeys((row["codec"], row["quality"]) for row in rows)
    means = []
    for codec, quality in keys:
        group = [r for r in rows if (r["codec"], r["quality"]) == (codec, quality)]
        mean: Row = {"place": place, "codec": codec, "quality": quality, "tiles": len(group)}
        mean["bytes"] = sum(r["bytes"] for r in group)
        for name in ("bpppb", "psnr", "sam"):
            values = [r[name] for r in group]
            mean[name] = None if None in values else float(np.mean(values))
        means.append(mean)
    return means


def _compared(place: str, means: Sequence[Row], native: float | None) -> list[Row]:
    """Rates at the targets, and their ratios to the rivals and to plain storage."""
    curves: dict[str, list[tuple[float, float | None]]] = {}
    for mean in means:
        if mean["place"] == place:
            curves.setdefault(mean["codec"], []).append((mean["bpppb"], mean["psnr"]))
    rows = []
    for codec, curve in curves.items():
        for target in TARGETS:
            rate = rate_at(curve, target)
            row: Row = {"place": place, "codec": codec, "psnr": target, "bpppb": rate}
            row["of_rival"] = {
                rival: _ratio(rate, rate_at(curves.get(rival, ()), target)) for rival in RIVALS
            }
            row["times_smaller_than_uint16"] = _ratio(16.0, rate)
            row["times_smaller_than_native"] = _ratio(native, rate)
            rows.append(row)
    return rows


def _native(tiles: Sequence[Tile]) -> float | None:
    values = [tile.native_bpppb for tile in tiles]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


def _claim(out: Path) -> None:
    require_matplotlib()
    for name in ("rate_distortion.json", "rate_distortion.png"):
        if (out / name).exists():
            raise OutputExistsError(f"{out / name} exists; nothing was measured or overwritten.")


def _versions() -> dict[str, str]:
    names = ("openeo-nc", "imagecodecs", "constriction", "torch", "numpy")
    installed = {str(d.metadata["Name"]).lower() for d in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in installed}
