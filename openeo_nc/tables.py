"""Plain-text tables for terminals: columns padded to their widest cell, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.inspect import StoreReport

_NUMBER = re.compile(r"-?[\d.,]*")


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
    """Bytes and PSNR of every evaluation tile at a low, middle and high quality; where all lies."""
    levels = ("2", "5", "8")
    rows = [
        (place, tile, *(f"{by[q]['bytes']} @ {by[q]['psnr']:.2f}" for q in levels))
        for place, tiles in report["places"].items()
        for tile, by in tiles.items()
    ]
    head = ("place", "tile", *(f"bytes @ dB, quality {q}" for q in levels))
    where = f"card: {report['card']}\nweights: {report['weights']}; set OPENEO_NC_WEIGHTS to it"
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


def store_table(report: StoreReport) -> str:
    """A store's report for reading: what is known, one fact a line, then its arrays."""
    facts = {
        "store": report.path,
        "bytes": report.bytes,
        "view": report.view or "plain, not coded",
        "codec": report.codec,
        "weights sha256": report.weights_sha256,
        "quality": report.quality,
        "pixels (t, bands, y, x)": report.shape and " x ".join(map(str, report.shape)),
        "tiles": report.tiles and f"{report.tiles} of {report.tile} x {report.tile}",
        "bpppb": report.bpppb and f"{report.bpppb:.4f}",
        f"ratio to {report.ratio_to}": report.ratio and f"{report.ratio:.1f}",
        "self-contained": report.self_contained or None,
    }
    for name, value in (report.metrics or {}).items():
        facts.setdefault(name.replace("_", " "), _short(value))
    lines = table(("what", "value"), [(k, v) for k, v in facts.items() if v is not None])
    rows = [
        (a.name, a.dtype, " x ".join(map(str, a.shape)), a.stored_chunks, a.objects, a.bytes)
        for a in report.arrays
    ]
    arrays = table(("array", "dtype", "shape", "chunks", "files", "bytes"), rows)
    return f"{lines}\n\n{arrays}"


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


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
