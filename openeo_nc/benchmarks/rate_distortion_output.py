"""Shows a rate-distortion report: as a plain table, and as a picture of its curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openeo_nc.errors import FormatUnsupportedError

_LEGEND = """\
bpppb: bits per pixel per band; 16 / bpppb is the ratio to uint16. Below: bytes over those of a rival
at equal PSNR; BD-rate: the mean difference of bytes over the range in dB that both reach. best classical: over
whichever classical codec is smallest there. native: how many times smaller than uint16 with every
band at its own resolution. '-': outside the measured curve."""


_STRONGEST = "klt-jpeg2000-joint"
Differences = Mapping[tuple[str, str], Mapping[str, Any]]


def table(report: Mapping[str, Any]) -> str:
    """The report as text, a block a place: measured points, then rates at equal PSNR."""
    count = _count(sum(report["places"].values()))
    blocks = [
        f"Rate-distortion on {report['source']}: {count}, peak {report['peak']:g}.\n{_LEGEND}"
    ]
    for place in dict.fromkeys(mean["place"] for mean in report["means"]):
        means = [m for m in report["means"] if m["place"] == place]
        blocks.append(f"== {place} ({_count(means[0]['tiles'])})\n{_points(means)}")
        at_psnr = [r for r in report["at_psnr"] if r["place"] == place]
        bd = {(r["codec"], r["rival"]): r for r in report["bd_rate"] if r["place"] == place}
        blocks.append(_rates(at_psnr, bd))
        ours = [r for r in at_psnr if r["codec"] not in report["classical"]]
        if ours:
            blocks.append(_ratios(ours, bd))
    return "\n\n".join(blocks)


def plot(report: Mapping[str, Any], path: Path) -> None:
    """The mean curves as PNG.

    Raises
    ------
    FormatUnsupportedError
        matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = report["means"][-1]["place"]  # the mean over all, or the only place
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for codec, means in _by_codec(m for m in report["means"] if m["place"] == last).items():
        points = [(m["bpppb"], m["psnr"]) for m in means if m["psnr"] is not None]
        style = "s--" if codec in report["classical"] else "o-"
        if points:  # none of a codec that gave every tile back exactly
            axes.plot(*zip(*points, strict=True), style, label=codec, markersize=4)
    axes.set_xlabel("bits per pixel per band")
    axes.set_ylabel(f"mean PSNR in dB, peak {report['peak']:g}")
    axes.set_title(f"{report['source']}, {_count(sum(report['places'].values()))}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def require_matplotlib() -> None:
    """Raise FormatUnsupportedError where pictures cannot be drawn."""
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise FormatUnsupportedError(
            "The picture needs matplotlib, which is not installed; "
            "install openeo-nc with its extra: pip install 'openeo-nc[bench]'."
        ) from error


def _points(means: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [codec, *(f"{m['bpppb']:.3f} @ {_number(m['psnr'], 2)}" for m in group)]
        for codec, group in _by_codec(means).items()
    ]
    return _aligned([["codec", "bpppb @ dB"], *rows])


def _rates(compared: Sequence[Mapping[str, Any]], bd: Differences) -> str:
    """bpppb of every codec at the targets, and its BD-rate against the strongest rival."""
    rows = [
        [
            codec,
            *(_number(at["bpppb"], 3) for at in group),
            _difference(bd.get((codec, _STRONGEST))),
        ]
        for codec, group in _by_codec(compared).items()
    ]
    return _aligned([["bpppb at", *_targets(compared), f"BD-rate / {_STRONGEST}"], *rows])


def _ratios(compared: Sequence[Mapping[str, Any]], bd: Differences) -> str:
    """What a codec's bytes are of each rival's."""
    rows = []
    for codec, group in _by_codec(compared).items():
        for rival in group[0]["of_rival"]:
            row = [f"{codec} / {rival}", *(_number(at["of_rival"][rival], 2) for at in group)]
            rows.append([*row, _difference(bd.get((codec, rival)))])
        best = [_number(at["of_best_classical"], 2) for at in group]
        rows.append([f"{codec} / best classical", *best])
        native = [_number(at["times_smaller_than_native"], 1) for at in group]
        rows.append([f"native / {codec}", *native])
    return _aligned([["ratio at", *_targets(compared), "BD-rate"], *rows])


def _targets(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{target:g} dB" for target in dict.fromkeys(row["psnr"] for row in compared)]


def _difference(bd: Mapping[str, Any] | None) -> str:
    return "-" if bd is None else f"{bd['percent']:+.1f}% ({bd['low']:.1f} to {bd['high']:.1f})"


def _by_codec(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["codec"], []).append(row)
    return groups


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell: the first to the left, the others to the right."""
    columns = max(map(len, rows))
    padded = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(len(row[i]) for row in padded) for i in range(columns)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in padded
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _count(tiles: int) -> str:
    return f"{tiles} tile" if tiles == 1 else f"{tiles} tiles"
