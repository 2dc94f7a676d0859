"""The report as one HTML file: pictures inline, no script, light and dark, phone and desktop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from openeo_nc.demo.chart import Curve, chart
from openeo_nc.demo.pictures import Pixels, data_uri, heat

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


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _figure(pixels: Pixels, caption: str, *, crisp: bool = False) -> str:
    height, width = pixels.shape[:2]
    style = ' class="crisp"' if crisp else ""
    return (
        f'<figure><img{style} src="{data_uri(pixels)}" width="{width}" height="{height}" '
        f'alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, sum_row: bool = False) -> str:
    body = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if sum_row:
        body[-1] = body[-1].replace("<tr>", '<tr class="sum">')
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><tr>{titles}</tr>{"".join(body)}</table></div>'


def _facts(report: Report) -> str:
    total = report["total"]
    cards = [
        (total["ratio"], "{:.1f} : 1", "smaller than uint16 on one grid"),
        (total["native_ratio"], "{:.1f} : 1", "smaller than uint16 at the bands' own resolutions"),
        (total["psnr_db"], "{:.1f} dB", "PSNR, mean over tiles"),
        (total["bpppb"], "{:.3f}", "bits per pixel per band (bpppb)"),
        (size(total["bytes"]), "{}", f"of payloads for {size(total['raw_bytes'])} of pixels"),
    ]
    shown = [(form.format(value), text) for value, form, text in cards if value is not None]
    return (
        '<div class="facts">'
        + "".join(f"<div><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in shown)
        + "</div>"
    )


def _comparison(report: Report, pictures: Pictures) -> str:
    rows = []
    for date, row in zip(pictures.dates, report["dates"], strict=True):
        lost = row["psnr_db"]
        rows.append(
            '<div class="trio">'
            + _figure(date.original, f"{date.date}: original")
            + _figure(date.reconstruction, f"decoded from {size(row['bytes'])}")
            + _figure(date.error, "error" if lost is None else f"error, {lost:.1f} dB")
            + "</div>"
        )
    ramp = ", ".join(
        "rgb({:.0f} {:.0f} {:.0f})".format(*colour) for colour in heat(np.linspace(0, 1, 7)).T * 255
    )
    scale = (
        f'<div class="scale">0 <i style="background: linear-gradient(90deg, {ramp})"></i> '
        f"{pictures.error_limit:.3g} {escape(report['cube']['units'])}, root mean square over bands; "
        "hatched: no data</div>"
    )
    first, second = pictures.detail
    detail = (
        '<p class="note">A part of the first date, pixel for pixel:</p><div class="pair">'
        + _figure(first, "original", crisp=True)
        + _figure(second, "decoded", crisp=True)
        + "</div>"
    )
    return "".join(rows) + scale + detail


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
    return _table(head, rows, sum_row=True)


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
    table = _table(("Codec", "Level", "Bytes", "bpppb", "PSNR in dB"), rows)
    return (
        f"<p>{escape(part['note'])}</p>{chart(curves)}"
        f"<details><summary>The points in numbers</summary>{table}</details>"
    )


def _embedding(report: Report, pictures: Pictures) -> str:
    part = report["embedding"]
    if part is None:
        return "<p>No installed codec gives embeddings of these bands.</p>"
    shown = [(d.date, d.embedding) for d in pictures.dates if d.embedding is not None]
    return (
        f"<p>{escape(part['note'])}</p><div class='trio'>"
        + "".join(_figure(pixels, date, crisp=True) for date, pixels in shown)
        + "</div>"
    )


def _timing(report: Report) -> str:
    rows = [(step["step"], f"{step['seconds']:.1f} s") for step in report["timing"]]
    rows.append(("all", f"{sum(step['seconds'] for step in report['timing']):.1f} s"))
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return (
        _table(("Step", "Time"), rows, sum_row=True) + f'<p class="note">On: {escape(machine)}.</p>'
    )


def _graphs(graphs: Mapping[str, Any]) -> str:
    return "".join(
        f"<details><summary>{escape(name)}</summary><pre><code>"
        f"{escape(json.dumps(graph, indent=2))}</code></pre></details>"
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
    css = files("openeo_nc.demo").joinpath("page.css").read_text(encoding="utf-8")
    notice = report["notice"]
    codec = report["codec"]
    sections = (
        ("", _facts(report)),
        ("Original, decoded, error", _comparison(report, pictures)),
        ("Bytes and quality", _dates(report)),
        ("Rate and distortion", _rates(report)),
        ("Embedding", _embedding(report, pictures)),
        ("Time", _timing(report)),
        (
            "Read it again",
            _read_again(report),
        ),
        ("The process graphs", _graphs(graphs)),
    )
    body = "".join(
        (f"<section><h2>{escape(title)}</h2>{content}</section>" if title else content)
        for title, content in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report['title'])}</title><style>{css}</style></head><body><main>"
        f"<h1>{escape(report['title'])}</h1><p class='soft'>{escape(codec['title'])}, "
        f"<code>{escape(codec['id'])}</code>, quality {codec['quality']:g}; openeo_nc "
        f"{escape(report['openeo_nc'])}</p>"
        + (f'<p class="notice">{escape(notice)}</p>' if notice else "")
        + body
        + "</main></body></html>"
    )
