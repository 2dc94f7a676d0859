"""The report as one HTML file: pictures inline, no script, light and dark, phone and desktop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from openeo_nc.report.chart import Curve, chart
from openeo_nc.report.html import (
    colour_scale,
    facts,
    figure,
    folded,
    group,
    page,
    size,
    table,
)
from openeo_nc.report.pictures import Pixels

Report = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DatePictures:
    """The pictures of one date."""

    date: str
    """ISO date."""
    original: Pixels
    """True colour of the source."""
    reconstruction: Pixels
    """True colour of what the store decodes to, in the same stretch."""
    error: Pixels
    """Error map."""
    embedding: Pixels | None
    """Principal components of the embedding, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All pictures of a report."""

    dates: Sequence[DatePictures]
    """One a date, in order."""
    detail: tuple[Pixels, Pixels]
    """Part of the first date, original and reconstruction, pixel for pixel."""
    error_limit: float
    """Error that the lightest colour of the error maps stands for, in the cube's units."""


def _facts(report: Report) -> str:
    total = report["total"]
    cards = [
        (total["ratio"], "{:.1f} : 1", "smaller than uint16 on one grid"),
        (total["native_ratio"], "{:.1f} : 1", "smaller than uint16 at the bands' own resolutions"),
        (total["psnr_db"], "{:.1f} dB", "PSNR, mean over tiles"),
        (total["bpppb"], "{:.3f}", "bits per pixel per band (bpppb)"),
        (size(total["bytes"]), "{}", f"of payloads for {size(total['raw_bytes'])} of pixels"),
    ]
    return facts((form.format(value), text) for value, form, text in cards if value is not None)


def _comparison(report: Report, pictures: Pictures) -> str:
    rows = []
    for date, row in zip(pictures.dates, report["dates"], strict=True):
        lost = row["psnr_db"]
        rows.append(
            group(
                "trio",
                figure(date.original, f"{date.date}: original"),
                figure(date.reconstruction, f"decoded from {size(row['bytes'])}"),
                figure(date.error, "error" if lost is None else f"error, {lost:.1f} dB"),
            )
        )
    limit = (
        f"{pictures.error_limit:.3g} {report['cube']['units']}, root mean square over bands; "
        "hatched: no data"
    )
    first, second = pictures.detail
    detail = '<p class="note">A part of the first date, pixel for pixel:</p>' + group(
        "pair", figure(first, "original", crisp=True), figure(second, "decoded", crisp=True)
    )
    return "".join(rows) + colour_scale("0", limit) + detail


def _dates(report: Report) -> str:
    head = ("Date", "Valid", "Bytes", "bpppb", "Ratio to uint16", "PSNR")
    rows = [
        (
            row["date"],
            f"{row['valid_share']:.1%}",
            f"{row['bytes']:,}",
            f"{row['bpppb']:.3f}",
            f"{row['ratio']:.1f}",
            "" if row["psnr_db"] is None else f"{row['psnr_db']:.2f} dB",
        )
        for row in (*report["dates"], {"date": "all", **report["total"]})
    ]
    return table(head, rows, sum_row=True)


def _rates(report: Report) -> str:
    part = report["rate_distortion"]
    curves = [
        Curve(
            title=curve["title"],
            points=[(point["bpppb"], point["psnr_db"]) for point in curve["points"]],
            own=curve["own"],
        )
        for curve in part["curves"]
    ]
    rows = [
        (
            c["title"],
            f"{p['quality']:g}",
            f"{p['bytes']:,}",
            f"{p['bpppb']:.3f}",
            f"{p['psnr_db']:.2f}",
        )
        for c in part["curves"]
        for p in c["points"]
    ]
    points = table(("Codec", "Level", "Bytes", "bpppb", "PSNR in dB"), rows)
    return f"<p>{escape(part['note'])}</p>{chart(curves)}" + folded("The points in numbers", points)


def _embedding(report: Report, pictures: Pictures) -> str:
    part = report["embedding"]
    if part is None:
        return "<p>No installed codec gives embeddings of these bands.</p>"
    shown = [(d.date, d.embedding) for d in pictures.dates if d.embedding is not None]
    pictured = group("trio", *(figure(pixels, date, crisp=True) for date, pixels in shown))
    return f"<p>{escape(part['note'])}</p>{pictured}"


def _timing(report: Report) -> str:
    rows = [(step["step"], f"{step['seconds']:.1f} s") for step in report["timing"]]
    rows.append(("all", f"{sum(step['seconds'] for step in report['timing']):.1f} s"))
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return (
        table(("Step", "Time"), rows, sum_row=True) + f'<p class="note">On: {escape(machine)}.</p>'
    )


def _graphs(graphs: Mapping[str, Any]) -> str:
    return "".join(
        folded(name, f"<pre><code>{escape(json.dumps(graph, indent=2))}</code></pre>")
        for name, graph in graphs.items()
    )


_READ = """import xarray as xr
cube = xr.open_zarr("{store}")["data"]   # lazy; chunks decode when they are read
print(cube.sel(bands="B08").mean().compute())"""


def _read_again(report: Report) -> str:
    code = escape(_READ.format(store=report["files"]["store"]))
    return (
        "<p>The store opens in plain xarray wherever openeo_nc is installed:</p>"
        f"<pre><code>{code}</code></pre>"
    )


def render(report: Report, pictures: Pictures, graphs: Mapping[str, Any]) -> str:
    """The page of a report.

    Parameters
    ----------
    report
        What `report.json` holds.
    pictures
        The pictures that go with it.
    graphs
        The process graphs that were run, by file name.
    """
    codec = report["codec"]
    sections = (
        ("", _facts(report)),
        ("Original, decoded, error", _comparison(report, pictures)),
        ("Bytes and quality", _dates(report)),
        ("Rate and distortion", _rates(report)),
        ("Embedding", _embedding(report, pictures)),
        ("Time", _timing(report)),
        ("Read it again", _read_again(report)),
        ("The process graphs", _graphs(graphs)),
    )
    subtitle = (
        f"{escape(codec['title'])}, <code>{escape(codec['id'])}</code>, quality "
        f"{codec['quality']:g}; openeo_nc {escape(report['openeo_nc'])}"
    )
    return page(report["title"], subtitle, report["notice"], sections)
