"""Measures what coding dates of a series together saves against coding each by itself.

A series is a folder of GeoTIFFs of one place with a date (2020-01-13) in each name. Every date is
coded alone at a quality, then the dates of each window of some days together where that is cheaper,
as `compress_cube` with the option `dates` does. Bytes are those of finished payloads; PSNR is as
everywhere, with the codec's peak or that of the dtype, and a mean over dates. Each row also gives
both for those dates only that share a payload with another.

The Boadella series is among the places that the tables of `klt-dct` were made from: its bytes are lower
than those of a new place, alone and together alike. The ratio is what is measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from openeo_nc.benchmarks.tiles import Tile, from_folder
from openeo_nc.codecs import payloads
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import psnr
from openeo_nc.codecs.registry import open_codec
from openeo_nc.cubes.date_windows import windows
from openeo_nc.errors import InvalidParameterError
from openeo_nc.tables import table as columns

SERIES = Path("s2") / "boadella_l2a"
"""The series that is measured by default, within the shared data."""
DAYS = (32, 128, 36525)
QUALITIES = (3.0, 5.0, 7.0)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
Report = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A window length at a quality."""

    days: int
    quality: float
    groups: tuple[tuple[str, ...], ...]
    """Dates that share a payload."""
    bytes_alone: int
    bytes_together: int
    psnr_alone: float
    psnr_together: float
    psnr_change_worst: float
    """Of the date that lost most."""
    grouped_alone: int
    """Bytes of those dates alone that share a payload in the end."""
    grouped_together: int

    @property
    def ratio(self) -> float:
        """Bytes of all dates, as a share of those of each date alone."""
        return self.bytes_together / self.bytes_alone

    @property
    def grouped_ratio(self) -> float | None:
        """The same of the dates that share a payload; None if none do."""
        return self.grouped_together / self.grouped_alone if self.grouped_alone else None


def run(
    series: Path,
    codec_id: str = "klt-dct",
    *,
    days: Sequence[int] = DAYS,
    qualities: Sequence[float] = QUALITIES,
    progress: bool = True,
) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    series
        Folder of GeoTIFFs of one place and one size, a date in each name.
    days
        Lengths of windows.

    Raises
    ------
    NoDataAvailableError, InvalidParameterError, CodecNotFoundError
    """
    codec = open_codec(codec_id)
    if not codec.joins_dates:
        raise InvalidParameterError(f"the codec '{codec_id}' codes each date alone")
    tiles = from_folder(series)
    names = [_date(tile) for tile in tiles]
    if len({tile.pixels.shape for tile in tiles}) > 1 or len(set(names)) < len(names):
        raise InvalidParameterError(f"{series} is no series of one tile: dates or sizes differ")
    rows = []
    with tqdm(total=len(qualities) * len(days), disable=not progress) as bar:
        for quality in qualities:
            alone = _coded(codec, tiles, Rate(quality=quality), [(i,) for i in range(len(tiles))])
            for length in days:
                found = windows(tuple(np.array(names, "datetime64[D]")), len(names), length)
                together = _coded(codec, tiles, Rate(quality=quality), found)
                rows.append(_row(codec, tiles, names, length, quality, alone, together))
                bar.update()
    return {
        "series": series.name,
        "codec": codec_id,
        "dates": names,
        "shape": list(tiles[0].pixels.shape),
        "rows": [
            {**asdict(row), "ratio": row.ratio, "grouped_ratio": row.grouped_ratio} for row in rows
        ],
    }


def table(report: Report) -> str:
    """A row for each quality and window."""
    head = (
        "quality", "days", "groups", "alone", "bytes alone", "together", "ratio", "dB alone",
        "dB together", "worst date", "ratio of grouped",
    )  # fmt: skip
    rows = []
    for row in report["rows"]:
        sizes = sorted((len(group) for group in row["groups"]), reverse=True)
        grouped = row["grouped_ratio"]
        rows.append(
            (
                f"{row['quality']:g}", row["days"], " + ".join(map(str, sizes)) or "none",
                len(report["dates"]) - sum(sizes), row["bytes_alone"], row["bytes_together"],
                f"{row['ratio']:.3f}", f"{row['psnr_alone']:.2f}", f"{row['psnr_together']:.2f}",
                f"{row['psnr_change_worst']:+.2f}", "-" if grouped is None else f"{grouped:.3f}",
            )
        )  # fmt: skip
    shape = " x ".join(map(str, report["shape"]))
    title = f"{report['codec']} on {report['series']}, {len(report['dates'])} dates of {shape}"
    return f"{title}\n\n{columns(head, rows)}"


def _date(tile: Tile) -> str:
    found = _DATE.search(tile.name)
    if found is None:
        raise InvalidParameterError(f"{tile.name}: expected a date like 2020-01-13 in the name")
    return found.group()


def _coded(
    codec: Codec, tiles: Sequence[Tile], rate: Rate, found: Sequence[tuple[int, ...]]
) -> list[bytes]:
    """The payload of each tile, with those of its window."""
    coded = [b""] * len(tiles)
    for window in found:
        xs = [tiles[i].pixels for i in window]
        parts = encode_dates(codec, xs, [rate] * len(xs), nodata=tiles[window[0]].nodata)
        for i, payload in zip(window, parts, strict=True):
            coded[i] = payload
    return coded


def _row(
    codec: Codec, tiles: Sequence[Tile], names: Sequence[str], days: int, quality: float,
    alone: Sequence[bytes], together: Sequence[bytes],
) -> Row:  # fmt: skip
    groups: dict[bytes, list[int]] = {}
    for i, payload in enumerate(together):
        groups.setdefault(payloads.split(payload)[1], []).append(i)
    shared = {body: dates for body, dates in groups.items() if len(dates) > 1}
    grouped = sorted(i for dates in shared.values() for i in dates)
    before, after = _psnrs(codec, tiles, alone), _psnrs(codec, tiles, together)
    return Row(
        days=days,
        quality=quality,
        groups=tuple(tuple(names[i] for i in dates) for dates in shared.values()),
        bytes_alone=sum(map(len, alone)),
        bytes_together=sum(map(len, groups)),
        psnr_alone=fmean(before),
        psnr_together=fmean(after),
        psnr_change_worst=min(b - a for a, b in zip(before, after, strict=True)),
        grouped_alone=sum(len(alone[i]) for i in grouped),
        grouped_together=sum(map(len, shared)),
    )


def _psnrs(codec: Codec, tiles: Sequence[Tile], coded: Sequence[bytes]) -> list[float]:
    decoded = payloads.decode_batch(coded, codec, lambda _: codec, cards=())
    pairs = zip(tiles, decoded, strict=True)
    return [psnr(tile.pixels, x, codec.card, tile.nodata) for tile, x in pairs]
