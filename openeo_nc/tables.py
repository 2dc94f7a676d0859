"""Plain-text tables for terminals: columns padded to their widest cell, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.inspect import StoreReport

_NUMBER = re.compile(r"[-+]?[\d.,]*(?:e[-+]\d+)?")
BANDS_SHOWN = 13
"""Most bands whose numbers are shown one by one."""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns padded to their widest cell; numbers to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [
        bool(rows) and all(_NUMBER.fullmatch(row[i]) for row in cells[1:]) for i in range(len(head))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def training_table(report: Mapping[str, Any]) -> str:
    """Where all lies; of a codec, bytes and PSNR of every left-out tile at three qualities."""
    where = f"card: {report['card']}\nweights: {report['weights']}; set OPENEO_NC_WEIGHTS to it"
    if "bytes" not in report:
        last = report["curve"][-1]
        told = ", ".join(f"{place} {share:.3f}" for place, share in last["told"].items())
        return f"after {last['step']} steps, share of the variance told: {told}\n{where}"
    levels = ("2", "5", "8")
    rows = [
        (place, tile, *(f"{by[q]['bytes']} @ {by[q]['psnr']:.2f}" for q in levels))
        for place, tiles in report["bytes"].items()
        for tile, by in tiles.items()
    ]
    head = ("place", "tile", *(f"bytes @ dB, quality {q}" for q in levels))
    return f"{table(head, rows)}\n{where}"


def codec_table(cards: Sequence[CodecCard]) -> str:
    """Codecs, one a line."""
    rows = [
        (
            card.codec_id,
            card.version,
            "any" if card.bands is None else len(card.bands),
            "{:g} to {:g}, default {:g}".format(*card.quality),
            "yes" if card.embedding else "no",
            (card.weights_sha256 or "")[:12],
            card.title,
        )
        for card in cards
    ]
    head = ("codec", "version", "bands", "quality", "embedding", "weights", "title")
    return table(head, rows)


def card_table(card: CodecCard) -> str:
    """A card for reading: what the codec is, how it was trained, its scores meanwhile."""
    evaluation = card.evaluation
    facts = {
        "codec": card.codec_id,
        "title": card.title,
        "description": card.description,
        "bands": "any" if card.bands is None else " ".join(card.bands),
        "units": card.units,
        "dtypes": " ".join(card.dtypes),
        "quality": "{:g} to {:g}, default {:g}".format(*card.quality),
        "weights": card.weights or "none",
        "licence": card.licence,
        **{name: evaluation.get(name) for name in ("command", "machine", "steps", "minutes")},
    }
    known = [(name, value) for name, value in facts.items() if value is not None]
    curve = evaluation.get("curve", [])
    if not curve:
        return table(("what", "value"), known)
    scores = [(row["step"], row.get("gain") or row.get("scores")) for row in curve]
    head = ("step", *scores[0][1])
    rows = [(step, *map(_score, places.values())) for step, places in scores]
    title = f"while it was trained: {evaluation['curve_is']}"
    return f"{table(('what', 'value'), known)}\n\n{title}\n{table(head, rows)}"


def _score(found: Mapping[str, float] | Sequence[Sequence[float]]) -> str:
    """Scores of a place at a few qualities."""
    if isinstance(found, Mapping):
        return "  ".join(f"{gain:+.2f}" for gain in found.values())
    return "  ".join(f"{rate:.3f} @ {decibel:.2f}" for rate, decibel in found)


def store_table(report: StoreReport) -> str:
    """A store's report for reading: what is known, one fact a line, then its arrays."""
    facts = {
        "store": report.path,
        "bytes": report.bytes,
        "view": report.view or "plain, not coded",
        "codec": report.codec,
        "weights sha256": report.weights_sha256,
        **{name.replace("_", " "): _listed(value) for name, value in (report.rate or {}).items()},
        "pixels (t, bands, y, x)": report.shape and " x ".join(map(str, report.shape)),
        "tiles": report.tiles and f"{report.tiles} of {report.tile} x {report.tile}",
        "bpppb": report.bpppb and f"{report.bpppb:.4f}",
        f"ratio to {report.ratio_to}": report.ratio and f"{report.ratio:.1f}",
        "bound held": None if report.bound_held is None else _yes(report.bound_held),
        "flagged by the guard": report.shifts and f"{report.shifts['flagged']} tiles",
        "self-contained": report.self_contained or None,
    }
    for name, value in (report.metrics or {}).items():
        facts.setdefault(f"measured {name.replace('_', ' ')}", _listed(value))
    lines = table(("what", "value"), [(k, v) for k, v in facts.items() if v is not None])
    rows = [
        (a.name, a.dtype, " x ".join(map(str, a.shape)), a.stored_chunks, a.objects, a.bytes)
        for a in report.arrays
    ]
    arrays = table(("array", "dtype", "shape", "chunks", "files", "bytes"), rows)
    coded = [(f.codec, f.form, f.payloads, f.bytes) for f in report.forms or ()]
    forms = table(("codec", "form", "payloads", "bytes"), coded) if coded else ""
    return "\n\n".join(part for part in (lines, forms, arrays) if part)


def _listed(value: Any) -> Any:
    """A number in few digits; those of many bands as the lowest and the highest."""
    if isinstance(value, list | tuple) and len(value) > BANDS_SHOWN:
        return f"{_short(min(value))} to {_short(max(value))}, by band"
    return ", ".join(map(_short, value)) if isinstance(value, list | tuple) else _short(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def demo_table(report: Mapping[str, Any], out: Path) -> str:
    """The demonstration's bytes and quality a date, and where its report is."""
    head = ("date", "bytes", "bpppb", "ratio", "PSNR dB")
    rows = [
        (
            row["date"],
            row["bytes"],
            f"{row['bpppb']:.3f}",
            f"{row['ratio']:.1f}",
            "" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}",
        )
        for row in (*report["dates"], {"date": "all", **report["total"]})
    ]
    notice = f"{report['notice']}\n" if report["notice"] else ""
    return f"{notice}{table(head, rows)}\nreport: {out / 'report.html'}"


def quality_table(report: Mapping[str, Any], out: Path) -> str:
    """A quality report's numbers a date, and where its page is."""
    names = {
        "bpppb": "{:.3f}", "ratio": "{:.1f}", "psnr": "{:.2f}", "rmse": "{:.4g}",
        "max_error": "{:.4g}", "sam": "{:.3f}", "ms_ssim": "{:.4f}", "ndvi_mae": "{:.4f}",
        "border_db": "{:+.2f}",
    }  # fmt: skip
    rows = [
        (row["date"] or "", *("" if row[n] is None else f.format(row[n]) for n, f in names.items()))
        for row in (*report["dates"], {**report["overall"], "date": "all"})
    ]
    head = ("date", "bpppb", "ratio", "PSNR dB", "RMSE", "largest", "SAM", "MS-SSIM", "NDVI",
            "border dB")  # fmt: skip
    lost = report["overall"]["lost"]
    warning = f"{lost} valid values were lost\n" if lost else ""
    return f"{warning}{table(head, rows)}\nreport: {out / 'report.html'}"
