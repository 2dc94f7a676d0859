"""Shows a speed report as plain tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo_nc.tables import table as columns

_LEGEND = """\
MPix/s of all bands, median of {rounds} interleaved rounds, {count} tiles of {shape}, quality {quality:g}.
{cpu}, {cores} cores, {system}"""


def table(report: Mapping[str, Any]) -> str:
    """Speeds by workers, then the share of each stage."""
    legend = _LEGEND.format(
        rounds=report["rounds"],
        count=len(report["tiles"]),
        shape=" x ".join(map(str, report["shape"])),
        quality=report["quality"],
        **report["machine"],
    )
    return "\n\n".join([legend, _speeds(report), _stages(report)])


def _speeds(report: Mapping[str, Any]) -> str:
    by_key = {(r["codec"], r["operation"], r["workers"]): r for r in report["speeds"]}
    found = {key: r["mpix_s"] for key, r in by_key.items()}
    cores = {k[:2]: r["mpix_core_s"] for k, r in by_key.items() if k[2] == "1 worker"}
    kinds = list(dict.fromkeys(kind for *_, kind in found))
    rows = [
        (*key, *(f"{found[*key, kind]:.2f}" for kind in kinds), f"{core:.2f}")
        for key, core in cores.items()
    ]
    return columns(("codec", "MPix/s", *kinds, "a core"), rows)


def _stages(report: Mapping[str, Any]) -> str:
    shares = {
        (r["codec"], r["operation"], r["stage"]): f"{100 * r['share']:.0f}%"
        for r in report["stages"]
    }
    names = ("networks", "symbols", "contexts", "rest")
    rows = [
        (codec, operation, *(shares.get((codec, operation, name), "-") for name in names))
        for codec, operation in dict.fromkeys(key[:2] for key in shares)
        if (codec, operation, "symbols") in shares
    ]
    return columns(("codec", "share of time", *names), rows)
