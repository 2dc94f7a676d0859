"""Shows a guard report: as plain tables, and as a picture of what is detected and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openeo_nc.benchmarks.rate_distortion_output import require_matplotlib
from openeo_nc.tables import table as columns

_LEGEND = """\
AUROC: chance that a shifted window scores above a clean one; 0.5 is chance. flagged: share above the
threshold. named: what most flagged windows are said to look like."""
_CODING = """\
Coded at quality {quality:g}: bpppb @ PSNR in dB against what was coded, peak {peak:g}, means over one
window a tile; AUROC of scores that saw the payload."""


def table(report: Mapping[str, Any]) -> str:
    """The report as text: clean, corruptions, foreign tiles, then what coding does."""
    places = ", ".join(f"{p} {v:.2f}" for p, v in report["false_alarms_by_place"].items())
    overall = report["overall"]
    alarms = f"clean windows flagged: {report['false_alarms']:.3f} ({places})"
    found = f"all corruptions: AUROC {overall['auroc']:.3f}, flagged {overall['flagged']:.2f}"
    blocks = [
        f"Guard on {report['source']}: {report['windows']} clean windows.\n{_LEGEND}",
        f"{alarms}\n{found}",
        _detection(report["detection"]),
    ]
    if report.get("foreign"):
        head = ("foreign", "tiles", "calibration saw the kind", "AUROC", "flagged")
        lines = [
            (
                row["kind"],
                row["tiles"],
                "yes" if row["kind_calibrates"] else "no",
                f"{row['auroc']:.3f}",
                f"{row['flagged']:.2f}",
            )
            for row in report["foreign"]
        ]
        blocks.append(columns(head, lines))
    legend = _CODING.format(**report)
    for codec, rows in _grouped(report["coding"], "codec").items():
        blocks.append(f"== {codec}\n{legend}\n{_coded(rows)}")
    return "\n\n".join(blocks)


def plot(report: Mapping[str, Any], path: Path) -> None:
    """AUROC a corruption and strength, and dB that codecs lose or win, as PNG.

    Raises
    ------
    FormatUnsupportedError
        matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(_grouped(report["detection"], "kind"))
    codecs = _grouped(report["coding"], "codec")
    figure = Figure(figsize=(6 + 3 * len(codecs), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(codecs), sharey=True, squeeze=False)[0]
    _bars(axes[0], kinds, report["detection"], "auroc", 0.0)
    axes[0].set_xlabel("AUROC of the guard")
    axes[0].axvline(0.5, color="0.4", linewidth=0.8)
    for axis, (codec, rows) in zip(axes[1:], codecs.items(), strict=True):
        clean = next(row for row in rows if row["kind"] == "clean")
        _bars(axis, kinds, rows, "psnr", clean["psnr"])
        axis.set_xlabel(f"{codec}: dB more than clean at quality {report['quality']:g}")
    axes[0].legend(title="strength", fontsize="small", loc="upper left")
    axes[0].invert_yaxis()
    figure.suptitle(f"{report['source']}, {report['windows']} windows")
    figure.savefig(path, dpi=150)


def _bars(
    axis: Any, kinds: Sequence[str], rows: Iterable[Mapping[str, Any]], name: str, base: float
) -> None:
    for strength, group in _grouped(rows, "strength").items():
        known = [row for row in group if row["kind"] in kinds]
        at = [kinds.index(row["kind"]) + 0.27 * (max(strength, 1) - 2) for row in known]
        values = [row[name] - base for row in known]
        axis.barh(at, values, height=0.25, label=f"{strength}" if strength else "no shift")
    axis.set_yticks(range(len(kinds)), kinds)
    axis.grid(axis="x", alpha=0.3)


def _detection(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("corruption", "AUROC 1", "2", "3", "flagged 1", "2", "3", "named 3")
    lines = []
    for kind, group in _grouped(rows, "kind").items():
        aurocs = _three([f"{row['auroc']:.3f}" for row in group])
        flagged = _three([f"{row['flagged']:.2f}" for row in group])
        lines.append((kind, *aurocs, *flagged, group[-1]["named"]))
    return columns(head, lines)


def _coded(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for kind, group in _grouped(rows, "kind").items():
        points = _three([f"{row['bpppb']:.3f} @ {row['psnr']:.2f}" for row in group])
        lines.append((kind, *points, *_three([f"{row['auroc']:.3f}" for row in group])))
    head = ("corruption", "bpppb @ dB, 1", "2", "3", "AUROC 1", "2", "3")
    return columns(head, lines)


def _three(cells: Sequence[str]) -> list[str]:
    return [*cells, *[""] * (3 - len(cells))]


def _grouped(rows: Iterable[Mapping[str, Any]], name: str) -> dict[Any, list[Mapping[str, Any]]]:
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return groups
