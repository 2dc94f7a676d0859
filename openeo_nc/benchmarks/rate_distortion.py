"""Measures bytes and PSNR of codecs beside classical baselines, tile by tile, on left-out places.

Every rate is that of finished payloads, headers and all; every PSNR that of what they decode to.
PSNR as `cubes.metrics` defines it with peak 10000. A mean is over tiles, of bpppb and of PSNR.

Rates at equal PSNR and BD-rates are read off the mean curves, see `curves`. The rivals are JPEG 2000
a band and both KLT + JPEG 2000 baselines; `klt-jpeg2000-joint` is the strongest. The best classical
codec is whichever of all baselines and registered classical codecs is smallest at that PSNR. Storage
at native resolution means uint16 with 10, 20 and 60 m bands each on its own grid: 7.41 bits for
every pixel and band of the 12-band 10 m cube.

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
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.baselines import BASELINES
from openeo_nc.benchmarks.curves import bd_rate, rate_at
from openeo_nc.benchmarks.rate_distortion_output import plot, require_matplotlib
from openeo_nc.benchmarks.tiles import Tile, given
from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.registry import SPECTRA, get_card, list_codecs, open_codec
from openeo_nc.cubes.metrics import bpppb, psnr, sam
from openeo_nc.errors import InvalidParameterError, OutputExistsError
from openeo_nc.sentinel2 import BANDS

PEAK = 10000.0
TARGETS = (40.0, 43.0, 46.0, 48.0, 50.0, 53.0, 60.0, 70.0)
"""PSNR in dB at which rates are compared."""
RIVALS = ("jpeg2000-bands", "klt-jpeg2000", "klt-jpeg2000-joint")
_HIGH = (69.0, 72.0, 78.0, 84.0, 90.0)
"""What the baselines are asked for beyond their own levels, up to about 75 dB."""
MEAN = "mean"
"""Name of the row over all tiles."""

Qualities = Mapping[str, Sequence[float]] | Sequence[float] | None
Row = dict[str, Any]
Curves = dict[str, list[tuple[float, float | None]]]


def all_codecs() -> tuple[str, ...]:
    """The baselines and every registered codec that takes the twelve bands."""
    cards = [card for card in list_codecs() if card.bands in (None, BANDS)]
    # SPECTRA is the universal codec once more, with smaller tiles
    return (*BASELINES, *(card.codec_id for card in cards if card.codec_id != SPECTRA))


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] | None = None,
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
        Ids of registered codecs and names of baselines; default `all_codecs`.
    qualities
        Levels a codec id, or one list for all registered codecs; default whole numbers.
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
    levels = {name: _levels(name, qualities) for name in codecs or all_codecs()}
    if out is not None:
        _claim(out)
    measured, source = given(data, split, tiles)
    report = summarise(measure(measured, levels, progress=progress), measured)
    report = {"source": source, "versions": versions(), "peak": PEAK, **report}
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
    """Rows, their means a place and over all tiles, rates at equal PSNR, and BD-rates."""
    places = list(dict.fromkeys(row["place"] for row in rows))
    groups = {place: [r for r in rows if r["place"] == place] for place in places}
    native = {place: _native([t for t in tiles if t.place == place]) for place in places}
    if len(places) > 1:
        groups[MEAN], native[MEAN] = list(rows), _native(tiles)
    means = [mean for place, group in groups.items() for mean in _means(place, group)]
    curves = {place: _curves(place, means) for place in groups}
    classical = [codec for codec in curves[places[0]] if is_classical(codec)]
    return {
        "places": {place: len([t for t in tiles if t.place == place]) for place in places},
        "classical": classical,
        "tiles": list(rows),
        "means": means,
        "at_psnr": [
            row
            for place, of_place in curves.items()
            for row in _compared(place, of_place, native[place], classical)
        ],
        "bd_rate": [row for place, of_place in curves.items() for row in _bd(place, of_place)],
    }


def is_classical(codec: str) -> bool:
    """Whether a name is a baseline's or a classical codec's."""
    return codec in BASELINES or not isinstance(open_codec(codec), LatentCodec)


def write(report: Mapping[str, Any], out: Path) -> None:
    """`rate_distortion.json` and `rate_distortion.png` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, allow_nan=False)
    (out / "rate_distortion.json").write_text(text + "\n", encoding="utf-8")
    plot(report, out / "rate_distortion.png")


def _row(tile: Tile, codec: str, quality: float) -> Row:
    nbytes, x_hat = _round_trip(tile, codec, quality)
    decibel = psnr(tile.pixels, x_hat, peak=PEAK, nodata=tile.nodata, clip=True)
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
        return tuple(chosen or (*BASELINES[codec].qualities, *_HIGH))
    low, high, _ = get_card(codec).quality
    levels = tuple(given or np.arange(low, high + 1e-6).tolist())
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


def _curves(place: str, means: Sequence[Row]) -> Curves:
    curves: Curves = {}
    for mean in means:
        if mean["place"] == place:
            curves.setdefault(mean["codec"], []).append((mean["bpppb"], mean["psnr"]))
    return curves


def _compared(
    place: str, curves: Curves, native: float | None, classical: Sequence[str]
) -> list[Row]:
    """Rates at the targets, and their ratios to the rivals and to plain storage."""
    rows = []
    for target in TARGETS:
        rates = {codec: rate_at(curve, target) for codec, curve in curves.items()}
        best = min((rate for codec in classical if (rate := rates[codec])), default=None)
        for codec, rate in rates.items():
            row: Row = {"place": place, "codec": codec, "psnr": target, "bpppb": rate}
            row["of_rival"] = {rival: _ratio(rate, rates.get(rival)) for rival in RIVALS}
            row["of_best_classical"] = _ratio(rate, best)
            row["times_smaller_than_uint16"] = _ratio(16.0, rate)
            row["times_smaller_than_native"] = _ratio(native, rate)
            rows.append(row)
    return rows


def _bd(place: str, curves: Curves) -> list[Row]:
    """BD-rate of every codec against every rival."""
    return [
        {"place": place, "codec": codec, "rival": rival, **asdict(difference)}
        for codec, curve in curves.items()
        for rival in RIVALS
        if rival != codec and (difference := bd_rate(curve, curves.get(rival, ())))
    ]


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


def versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    names = ("openeo-nc", "imagecodecs", "constriction", "torch", "numpy")
    installed = {str(d.metadata["Name"]).lower() for d in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in installed}
