"""The page of a quality report: numbers, bands, maps of tiles, rates, the worst tiles in pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np

from openeo_nc.cubes.quality import SLIVER, Quality
from openeo_nc.cubes.quality_tile import Sample
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
from openeo_nc.report.pictures import error_map, stretch, true_colour
from openeo_nc.report.tile_map import tile_map

Numbers = Mapping[str, Any]
MAPS = 6
"""Dates that have maps; the worst ones."""
ROWS = 500
"""Tiles that have a row in the table; the worst ones."""


def render(quality: Quality) -> str:
    """The page as HTML, all in one file."""
    report = quality.document
    sections = [
        ("", facts(_facts(report))),
        ("Bands", _bands(report)),
        ("Rate and distortion", _rates(report)),
        ("Worst tiles", _worst(report, quality.samples)),
        ("Tiles", _maps(report)),
        ("Borders of tiles", _borders(report)),
        ("Dates", _dates(report)),
        ("What the numbers mean", _meaning(report)),
    ]
    return page(
        "Compression quality",
        _subtitle(report),
        _notice(report),
        [section for section in sections if section[1]],
    )


def _subtitle(report: Numbers) -> str:
    codec, cube = report["codec"], report["cube"]
    shape = (
        f"{cube['t']} date{'s' if cube['t'] > 1 else ''}, {len(cube['bands'])} bands, "
        f"{cube['y']} x {cube['x']} pixels {cube['dtype']}"
    )
    named = "a data cube of no known codec"
    if codec is not None:
        level = "" if codec["quality"] is None else f", quality {codec['quality']:g}"
        named = f"{escape(codec['title'])}, <code>{escape(codec['id'])}</code>{level}"
    return f"{named}; {shape}; {escape(cube['crs'][:40])}; openeo_nc {escape(version('openeo-nc'))}"


def _notice(report: Numbers) -> str | None:
    lost = report["overall"]["lost"]
    return f"{lost:,} valid values were lost, so their metrics have no value." if lost else None


def _facts(report: Numbers) -> list[tuple[str, str]]:
    total = report["overall"]
    shown: list[tuple[Any, str, str]] = [
        (total["ratio"], "{:.1f} : 1", f"smaller than {report['cube']['ratio_to']}"),
        (total["bpppb"], "{:.3f}", "bits per pixel per band (bpppb)"),
        (total["psnr"], "{:.2f} dB", "PSNR, mean over tiles"),
        (total["psnr_min"], "{:.2f} dB", "PSNR of the worst tile"),
        (total["rmse"], "{:.4g}", "root mean square error"),
        (total["max_error"], "{:.4g}", "largest error"),
        (total["ms_ssim"], "{:.4f}", "MS-SSIM"),
        (total["sam"], "{:.2f}\N{DEGREE SIGN}", "mean spectral angle"),
        (total["ndvi_mae"], "{:.4f}", "mean absolute error of NDVI"),
        (total["border_db"], "{:+.2f} dB", "error at tile borders against inside"),
    ]
    found = [(form.format(value), text) for value, form, text in shown if value is not None]
    if total["exact_tiles"]:
        found.append((f"{total['exact_tiles']} of {total['tiles']}", "tiles without any error"))
    return found


def _text(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _bands(report: Numbers) -> str:
    head = ("Band", "Valid", "PSNR in dB", "RMSE", "Largest error", "MS-SSIM")
    rows = [
        (
            band["band"],
            f"{band['valid_share']:.1%}",
            _text(band["psnr"], "{:.2f}"),
            _text(band["rmse"], "{:.4g}"),
            _text(band["max_error"], "{:.4g}"),
            _text(band["ms_ssim"], "{:.4f}"),
        )
        for band in report["bands"]
    ]
    return table(head, rows)


def _figures_row(label: str, one: Numbers) -> tuple[str, ...]:
    return (
        label,
        _text(one["valid_share"], "{:.1%}"),
        _text(one["bytes"], "{:,}"),
        _text(one["bpppb"], "{:.3f}"),
        _text(one["psnr"], "{:.2f}") or ("exact" if one["exact_tiles"] == one["tiles"] else ""),
        _text(one["rmse"], "{:.4g}"),
        _text(one["max_error"], "{:.4g}"),
        _text(one["sam"], "{:.2f}"),
        _text(one["ms_ssim"], "{:.4f}"),
        _text(one["ndvi_mae"], "{:.4f}"),
        _text(one["border_db"], "{:+.2f}"),
    )


_HEAD = (
    "Valid", "Bytes", "bpppb", "PSNR", "RMSE", "Largest", "SAM", "MS-SSIM", "NDVI", "Border",
)  # fmt: skip


def _dates(report: Numbers) -> str:
    if len(report["dates"]) < 2:
        return ""
    rows = [
        _figures_row(date["date"] or str(place), date) for place, date in enumerate(report["dates"])
    ]
    return table(("Date", *_HEAD), [*rows, _figures_row("all", report["overall"])], sum_row=True)


# --- rates ---------------------------------------------------------------------------------------


def _rates(report: Numbers) -> str:
    drawn = report["rate_distortion"]
    curves = [
        Curve(
            title=curve["codec"],
            points=[(p["bpppb"], p["psnr"]) for p in curve["points"] if p["psnr"] is not None],
            own=place == 0,
        )
        for place, curve in enumerate(drawn)
    ]
    tiles = [
        tile
        for tile in report["tiles"]
        if tile["bpppb"] is not None and tile["psnr"] is not None and tile["share"] >= SLIVER
    ]
    if tiles:
        points = [(tile["bpppb"], tile["psnr"]) for tile in tiles]
        curves.append(Curve(title="tiles of this cube", points=points, own=True, line=False))
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    rows = [
        (
            curve["codec"],
            f"{p['quality']:g}",
            f"{p['bytes']:,}",
            f"{p['bpppb']:.3f}",
            _text(p["psnr"], "{:.2f}"),
        )
        for curve in drawn
        for p in curve["points"]
    ]
    numbers = table(("Codec", "Quality", "Bytes", "bpppb", "PSNR in dB"), rows)
    return (
        _rates_note(bool(drawn))
        + chart(curves)
        + (folded("The curves in numbers", numbers) if rows else "")
    )


def _rates_note(drawn: bool) -> str:
    note = "A point a tile, where the cube holds an eighth of it or more."
    if drawn:
        note = (
            "Curves: the reference coded again, all tiles together, every byte of the payloads "
            "counted. Dashed: codecs beside that of the data. Points: the tiles as they are stored, "
            "where the cube holds an eighth of them or more."
        )
    return f"<p>{note}</p>"


# --- tiles ---------------------------------------------------------------------------------------


def _worst(report: Numbers, samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    limit = max(3 * float(np.sqrt(np.nanmean(s.error.astype(float) ** 2))) for s in samples)
    scale = colour_scale("0", f"{limit:.3g}, root mean square over bands; hatched: no data")
    note = (
        "<p>The tiles of least PSNR, each where its error is largest, pixel for pixel: original, "
        "what it came back as, error. Tiles of which the cube holds less than an eighth come last."
        "</p>"
    )
    return note + "".join(_trio(report, sample, limit) for sample in samples) + scale


def _trio(report: Numbers, sample: Sample, limit: float) -> str:
    t, row, column = sample.place
    date = report["dates"][t]["date"] or f"date {t}"
    one = next(
        tile for tile in report["tiles"]
        if (tile["date"], tile["row"], tile["column"]) == (report["dates"][t]["date"], row, column)
    )  # fmt: skip
    original, again = sample.original.astype(float), sample.reconstruction.astype(float)
    limits = stretch(original[None]) if np.isfinite(original).any() else (0.0, 1.0)
    stored = "reconstruction" if one["bytes"] is None else f"from {size(one['bytes'])}"
    return group(
        "trio worst",
        figure(true_colour(original, limits), f"{date}, row {row}, column {column}", crisp=True),
        figure(true_colour(again, limits), stored, crisp=True),
        figure(
            error_map(np.zeros_like(sample.error)[None], sample.error[None], limit),
            f"error, {sample.psnr:.2f} dB",
            crisp=True,
        ),
    )


def _maps(report: Numbers) -> str:
    tiles = report["tiles"]
    if len(tiles) < 2:
        return ""
    shown = _worst_dates(report)
    parts = [
        _map_row(report, [t for t in tiles if t["date"] == report["dates"][d]["date"]], d)
        for d in shown
    ]
    note = ""
    if len(shown) < len(report["dates"]):
        note = f"<p>The {len(shown)} dates of least PSNR, of {len(report['dates'])}.</p>"
    worst = sorted(tiles, key=lambda t: np.inf if t["psnr"] is None else t["psnr"])[:ROWS]
    rows = [
        _figures_row(f"{t['date'] or ''} row {t['row']}, column {t['column']}".strip(), t)
        for t in worst
    ]
    title = "The tiles in numbers" + (f", the {ROWS} worst" if len(tiles) > ROWS else "")
    return note + "".join(parts) + folded(title, table(("Tile", *_HEAD), rows))


def _worst_dates(report: Numbers) -> list[int]:
    """Places of the dates that have maps, in order."""

    def psnr(place: int) -> float:
        value = report["dates"][place]["psnr"]
        return np.inf if value is None else float(value)

    return sorted(sorted(range(len(report["dates"])), key=psnr)[:MAPS])


def _limits(tiles: Sequence[Numbers], name: str) -> tuple[float, float] | None:
    known = [tile[name] for tile in tiles if tile[name] is not None]
    return (min(known), max(known)) if known else None


def _map_row(report: Numbers, tiles: Sequence[Numbers], date: int) -> str:
    maps = []
    for name, title, form, order in _MAPPED:
        limits = _limits(report["tiles"], name)
        if limits is not None:
            dark, light = limits[::order]
            drawn = tile_map({(t["row"], t["column"]): t[name] for t in tiles}, (dark, light), form)
            scale = colour_scale(form.format(dark), form.format(light))
            maps.append(f"<figure>{drawn}<figcaption>{title}</figcaption>{scale}</figure>")
    label = report["dates"][date]["date"]
    return (f'<p class="note">{escape(label)}</p>' if label else "") + group("maps", *maps)


_MAPPED = (
    ("psnr", "PSNR in dB, the lighter the worse", "{:.1f}", -1),
    ("bpppb", "bits per pixel per band", "{:.2f}", 1),
)
"""What is mapped: member, title, format, and whether low (-1) or high values are light."""


def _borders(report: Numbers) -> str:
    value = report["overall"]["border_db"]
    if value is None:
        return ""
    known = [t["border_db"] for t in report["tiles"] if t["border_db"] is not None]
    return (
        f"<p>Tiles are coded alone. The mean squared error in the 8 pixels along their borders is "
        f"{abs(value):.2f} dB {'above' if value > 0 else 'below'} that inside; of single tiles, "
        f"{min(known):+.2f} to {max(known):+.2f} dB.</p>"
    )


def _meaning(report: Numbers) -> str:
    peak: Callable[[float], str] = (
        "peak {0:g}, values clipped to 0..{0:g} where those of the reference lie in it".format
    )
    fixed = report["cube"]["peak"]
    return (
        "<p>PSNR: squared error pooled over bands and valid pixels of a tile, "
        f"{peak(fixed) if fixed is not None else 'peak the range of the tile'}; means are over "
        "tiles that have one. RMSE, spectral angle (SAM, degrees), NDVI and borders are "
        "pooled over pixels, in the numbers of the reference. MS-SSIM: Wang and others, 2003, a "
        "band and tile. bpppb counts the bytes of the compressed tiles over all pixels; "
        f"{report['cube']['ratio_to']} is what the ratio compares with.</p>"
    )
