"""Measures what compression and quantisation cost downstream tasks, and what vectors gain them.

Heads and scores are those of `downstream_probe`, label sets those of `downstream_places`. A figure is
judged where ten or more independent places stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from openeo_nc.benchmarks import downstream_tasks as tasks
from openeo_nc.benchmarks.downstream_features import (
    embedded,
    of_components,
    of_moments,
    pixels,
    samples_of,
)
from openeo_nc.benchmarks.downstream_places import MODEL, PAIRS, LabelSet, label_sets
from openeo_nc.benchmarks.downstream_probe import ENOUGH, better
from openeo_nc.benchmarks.quantisation import NAMES
from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.models.registry import get_model_card, open_model
from openeo_nc.tables import table as columns

RATIOS = (40.0, 100.0, 200.0)
GOALS = {"compression": 1.0, "quantiser": 0.5, "parameters": 50.0, "bytes": 4.0, "seconds": 5.0}
"""Most points lost at the first ratio and to int8; least factors of heads."""
_CODED = 768
"""Most pixels a side of an image that is compressed."""
_DATES = 30
"""Most dates that are."""
_QUICK = 96
Report = dict[str, Any]


def run(data: Path, *, quick: bool = False, progress: bool = True) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    data
        Folder of the shared data.
    quick
        Only part of every image, one ratio and one codec: to see that all works.
    progress
        Whether a bar is shown.

    Raises
    ------
    NoDataAvailableError
        The folder has no label set.
    """
    with threadpool_limits(1):  # heads are small: threads that wait for each other cost tenfold
        return _measured(data, quick=quick, progress=progress)


def _measured(data: Path, *, quick: bool, progress: bool) -> Report:
    sets = label_sets(data)
    if quick:
        sets = [_part(labels, _QUICK, 12) for labels in sets]
    model = open_model(get_model_card(MODEL))
    codecs, ratios = (tasks.CODECS[:1], RATIOS[:1]) if quick else (tasks.CODECS, RATIOS)
    report: Report = {"goals": GOALS, "pairs": PAIRS, "probes": [], "quantisers": []}

    def shown(found: Sequence[LabelSet], title: str) -> tqdm[LabelSet]:
        return tqdm(found, desc=title, unit="", disable=not progress)

    found = tasks.alphaearth(data)
    if found is not None:
        vectors, samples, places = found
        report["quantisers"] += tasks.quantisers("AlphaEarth", vectors, samples, places, NAMES)
    for labels in shown(sets, "probes"):
        samples, kept = samples_of(labels)
        vectors, raw = embedded(model, labels.images)[kept], pixels(labels)[kept]
        ours = better(vectors, samples)
        if not ours.any:
            continue
        row: Report = {"labels": labels.name, "places": labels.places, "patches": len(raw),
                       "units": len(np.unique(samples.units)), "score": ours.score}  # fmt: skip
        for name, other in (
            ("moments", of_moments(raw, samples)),
            ("components", of_components(raw, samples, vectors.shape[1])),
        ):
            above, low, high = ours.over(other)
            row[name] = {"score": other.score, "above": above, "low": low, "high": high}
        report["probes"].append(row)
        report["quantisers"] += tasks.quantisers(
            labels.name, vectors, samples, labels.places, NAMES
        )
    report["compression"] = [
        row
        for labels in shown(sets, "compression")
        for row in tasks.compression(_part(labels, _CODED, _DATES), model, codecs, ratios)
    ]
    largest = max(sets, key=lambda labels: sum(y.size for y in labels.classes))
    report["heads"] = tasks.costs(largest, model)
    return report | {"versions": versions()}


def table(report: Report) -> str:
    """The report as text."""
    of, patches = (report["heads"][name] for name in ("labels", "patches"))
    return "\n\n".join([
        "Labels and input", _pairs(report["pairs"]),
        "Points lost to compression, heads fitted on raw pixels", _compression(report),
        "Points a linear probe loses to quantisers", _quantisers(report),
        f"Points of a linear probe on {MODEL}, and above others", _probes(report),
        f"The same linear head on int8 vectors and raw pixels of {patches} patches ({of})",
        _heads(report),
    ])  # fmt: skip


def judged(met: bool, places: int) -> str:
    """What is said of a goal."""
    if places < ENOUGH:
        return f"not judged, {places} place{'s' if places > 1 else ''}"
    return "met" if met else "missed"


def _pairs(pairs: Sequence[Mapping[str, str]]) -> str:
    return columns(("labels", "input", "used for"), [tuple(pair.values()) for pair in pairs])


def _compression(report: Report) -> str:
    goal, first = report["goals"]["compression"], RATIOS[0]
    rows = [
        (r["task"], r["labels"], r["head"], r["codec"], f"{r['ratio']:.0f}", f"{r['score']:.1f}",
         f"{r['lost']:+.2f}", _interval(r),
         judged(r["lost"] <= goal, r["places"]) if r["asked"] == first else "")
        for r in report["compression"]
    ]  # fmt: skip
    head = ("task", "labels", "head", "codec", "ratio", "raw", "lost", "95%", f"goal {goal:g}")
    return columns(head, rows)


def _quantisers(report: Report) -> str:
    goal = report["goals"]["quantiser"]
    rows = [
        (r["labels"], r["quantiser"], f"{r['bytes']:.1f}", f"{r['score']:.1f}", f"{r['lost']:+.2f}",
         _interval(r),
         judged(r["lost"] <= goal, r["places"]) if r["quantiser"] == "int8" else "")
        for r in report["quantisers"]
    ]  # fmt: skip
    head = ("labels", "quantiser", "bytes", "float32", "lost", "95%", f"goal {goal:g}")
    return columns(head, rows)


def _probes(report: Report) -> str:
    rows = []
    for r in report["probes"]:
        cells = [
            (f"{r[n]['score']:.1f}", f"{r[n]['above']:+.1f}", _interval(r[n]))
            for n in ("moments", "components")
        ]
        met = all(r[n]["above"] > 0 for n in ("moments", "components"))
        rows.append(
            (r["labels"], r["patches"], f"{r['score']:.1f}", *cells[0], *cells[1],
             judged(met, r["places"]))
        )  # fmt: skip
    head = ("labels", "patches", "ours", "mean, std", "above", "95%", "PCA", "above", "95%", "goal")
    return columns(head, rows)


def _heads(report: Report) -> str:
    found, goals = report["heads"], report["goals"]
    factors = {n: found["pixels"][n] / found["vectors"][n] for n in found["vectors"]}
    small = factors["parameters"] >= goals["parameters"] or factors["bytes"] >= goals["bytes"]
    said = {
        "parameters": "", "bytes": "met" if small else "missed",
        "seconds": "met" if factors["seconds"] >= goals["seconds"] else "missed",
    }  # fmt: skip
    names = {"parameters": "parameters", "bytes": "bytes a patch", "seconds": "ms all patches"}
    rows = [
        (names[n], *(_figure(n, found[of][n]) for of in ("pixels", "vectors")), f"{factor:.1f}",
         f"{goals[n]:g}", said[n])
        for n, factor in factors.items()
    ]  # fmt: skip
    return columns(("of a head", "pixels", "vectors", "times", "goal", ""), rows)


def _figure(name: str, value: float) -> str:
    return f"{1000 * value:.2f}" if name == "seconds" else f"{value:.0f}"


def _interval(row: Mapping[str, float]) -> str:
    return f"{row['low']:+.1f} to {row['high']:+.1f}"


def _part(labels: LabelSet, side: int, images: int) -> LabelSet:
    """The first rows and columns of some images, spread over all; strips are of what is left."""
    chosen = np.linspace(0, len(labels.images) - 1, min(images, len(labels.images))).astype(int)

    def cut(parts: Sequence[Any]) -> list[Any]:
        return [np.ascontiguousarray(parts[i][..., :side, :side]) for i in chosen]

    folds = cut(labels.folds)
    if labels.places == 1 and len(folds) == 1:
        rows = np.arange(len(folds[0])) * 4 // len(folds[0])
        folds = [np.broadcast_to(rows[:, None].astype(np.uint8), folds[0].shape)]
    return replace(labels, images=cut(labels.images), classes=cut(labels.classes), folds=folds)
