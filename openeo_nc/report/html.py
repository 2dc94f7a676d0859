"""The parts that every report page is made of, as HTML; one file, no script, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np

from openeo_nc.report.pictures import Pixels, data_uri, heat


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def figure(pixels: Pixels, caption: str, *, crisp: bool = False) -> str:
    """A picture with its caption; `crisp` shows pixels as squares where it is enlarged."""
    height, width = pixels.shape[:2]
    style = ' class="crisp"' if crisp else ""
    return (
        f'<figure><img{style} src="{data_uri(pixels)}" width="{width}" height="{height}" '
        f'alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def group(kind: str, *parts: str) -> str:
    """Parts side by side: `pair` or `trio`."""
    return f'<div class="{kind}">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, sum_row: bool = False) -> str:
    """A table of texts; with `sum_row` the last row stands out."""
    body = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if sum_row:
        body[-1] = body[-1].replace("<tr>", '<tr class="sum">')
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><tr>{titles}</tr>{"".join(body)}</table></div>'


def facts(shown: Iterable[tuple[str, str]]) -> str:
    """Large numbers, each with what it says."""
    return (
        '<div class="facts">'
        + "".join(f"<div><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in shown)
        + "</div>"
    )


def folded(title: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def colour_scale(dark: str, light: str) -> str:
    """The colours of `pictures.heat` between the texts of its darkest and its lightest."""
    ramp = ", ".join(
        "rgb({:.0f} {:.0f} {:.0f})".format(*colour) for colour in heat(np.linspace(0, 1, 7)).T * 255
    )
    return (
        f'<div class="scale">{escape(dark)} <i style="background: linear-gradient(90deg, {ramp})">'
        f"</i> {escape(light)}</div>"
    )


def page(title: str, subtitle: str, notice: str | None, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page.

    Parameters
    ----------
    title
        Heading, text.
    subtitle
        Line below it, HTML.
    notice
        What every reader must know, text.
    sections
        `(heading, HTML)` in order; one without heading stands free.
    """
    css = files("openeo_nc.report").joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>" if heading else content
        for heading, content in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='soft'>{subtitle}</p>"
        + (f'<p class="notice">{escape(notice)}</p>' if notice else "")
        + body
        + "</main></body></html>"
    )
