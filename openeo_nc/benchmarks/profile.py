"""Shows where the time of a workload goes, as a picture; and beside an earlier profile, if given.

A workload of `overhead` runs as this package builds it, on Dask's synchronous scheduler under
Python's profiler, which counts CPU time. It is that of functions themselves, without what they
call, summed by module; C functions count for the module that calls them. The profiler costs time
itself, most where many small functions are called: shares guide, seconds do not.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

from openeo_nc.benchmarks.overhead import NAMES, computed, single_threads
from openeo_nc.benchmarks.speed import machine
from openeo_nc.benchmarks.workloads import Workload, cube_of, workloads, write_cube
from openeo_nc.errors import InvalidParameterError
from openeo_nc.tables import table as columns

Report = dict[str, Any]
SHOWN = 14
"""Modules of a picture; the others are one bar."""
_ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *, tiles: int = 4, given: dict[str, Workload] | None = None) -> Report:
    """Profile a workload over so many tiles; `table` prints the report, `draw` draws it.

    Raises
    ------
    InvalidParameterError
        There is no such workload.
    """
    with tempfile.TemporaryDirectory() as temporary, single_threads():
        known = given or workloads(Path(temporary), {name: None})
        if name not in known:
            raise InvalidParameterError(
                f"There is no workload '{name}'; there are {', '.join(NAMES)}."
            )
        workload = known[name]
        path = write_cube(Path(temporary), workload.side, tiles * workload.side)
        cube = cube_of(path, workload.side)
        computed(workload, cube.isel(x=slice(0, workload.side)), scheduler="synchronous")
        profiler = cProfile.Profile(time.process_time)
        profiler.runcall(computed, workload, cube, scheduler="synchronous")
    modules = by_module(pstats.Stats(profiler))
    return {"machine": machine(), "workload": name, "tiles": tiles, "modules": modules}


def by_module(stats: pstats.Stats) -> dict[str, float]:
    """Seconds of each module's own functions, most first."""
    seconds: dict[str, float] = {}
    for (file, _, _), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if file not in ("~", "") or not callers:
            module = _module(file)
            seconds[module] = seconds.get(module, 0.0) + own
            continue
        for (calling, _, _), (_, _, part, _) in callers.items():
            module = _module(calling)
            seconds[module] = seconds.get(module, 0.0) + part
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _module(file: str) -> str:
    """A module of this package by its path in it, others by their package."""
    path = Path(file)
    if path.is_relative_to(_ROOT):
        return path.relative_to(_ROOT).with_suffix("").as_posix()
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    return "Python"


def table(report: Report) -> str:
    """Modules, seconds and shares."""
    total = sum(report["modules"].values())
    rows = [
        (module, f"{seconds:.2f}", f"{100 * seconds / total:.0f}%")
        for module, seconds in list(report["modules"].items())[:SHOWN]
    ]
    title = f"{report['workload']}, {report['tiles']} tiles, {total:.2f} s under the profiler"
    return f"{title}\n\n{columns(('module', 'seconds', 'share'), rows)}"


def draw(report: Report, path: Path, before: Report | None = None) -> None:
    """Draw bars of modules into a PNG file, beside those of an earlier report."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    both = [report] if before is None else [before, report]
    names = list(dict.fromkeys(m for each in both for m in list(each["modules"])[:SHOWN]))[::-1]
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(names) * len(both)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(both)
    for number, each in enumerate(both):
        label = ("before", "after")[number] if before else None
        places = [i - number * height for i in range(len(names))]
        seconds = [each["modules"].get(name, 0.0) / each["tiles"] for name in names]
        axes.barh(
            places, seconds, height, label=label, color=("#b0b0b0", "#1f6f8b")[number - len(both)]
        )
    axes.set_yticks([i - 0.4 + height / 2 for i in range(len(names))], names)
    axes.set_xlabel("seconds a tile, functions themselves")
    axes.set_title(f"{report['workload']}: where the time goes")
    if before:
        axes.legend()
    figure.savefig(path, dpi=110)


def read(path: Path) -> Report:
    """A report as JSON has it."""
    found: Report = json.loads(path.read_text(encoding="utf-8"))
    return found
