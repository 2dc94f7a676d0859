"""Tasks on compressed pixels against raw ones, quantised vectors against floats, and what heads cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from sklearn.ensemble import HistGradientBoostingClassifier

from openeo_nc.benchmarks.downstream_features import embedded, pixels, samples_of
from openeo_nc.benchmarks.downstream_places import LabelSet
from openeo_nc.benchmarks.downstream_probe import TRAINED, Samples, answers, answers_of, fit, linear
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile
from openeo_nc.codecs.registry import open_codec
from openeo_nc.models.base import EmbeddingModel
from openeo_nc.models.quantisation import quantiser

Array = npt.NDArray[Any]
CODECS = ("klt-dct", "s2l2a-hyperprior")
_TILE = 384
_ASKED = 12_000
"""Most pixels of a fold that a head is asked about."""
_ALPHAEARTH_CELL = 0.1
"""Degrees a side of the cells that count as places of AlphaEarth's samples."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Classes of a label set, some put together."""

    name: str
    """Of the task."""
    labels: str
    """Name of the label set."""
    positive: tuple[int, ...] = ()
    """Classes that are told from all others; none: each is told."""

    def classes(self, found: Array) -> Array:
        """Classes of the task of those of the set; 0 stays no label."""
        if not self.positive:
            return found
        return np.where(found == 0, 0, np.where(np.isin(found, self.positive), 2, 1))


TASKS = (
    Task(name="land cover", labels="land cover"),
    Task(name="water", labels="land cover", positive=(1,)),
    Task(name="crops", labels="land cover", positive=(4,)),
    Task(name="scene classes", labels="scene classes, field"),
    Task(name="cloud", labels="scene classes, field", positive=(8, 9, 10)),
    Task(name="bare ground", labels="scene classes, valley", positive=(5,)),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Compressed:
    """A label set as a codec gives it back."""

    codec: str
    """Its id."""
    asked: float
    """Ratio that was asked for."""
    ratio: float
    """uint16 bytes of the bands there are over bytes of payloads."""
    labels: LabelSet
    """The set with decoded pixels."""


def compressed(
    labels: LabelSet, codecs: Sequence[str], ratios: Sequence[float]
) -> Iterator[Compressed]:
    """A set at each ratio of each codec that takes its bands."""
    for codec in map(open_codec, codecs):
        if codec.card.bands is None or len(labels.bands) == len(codec.card.bands):
            for asked in ratios:
                yield _compressed(labels, codec, asked)


def _compressed(labels: LabelSet, codec: Codec, asked: float) -> Compressed:
    images, raw, coded = [], 0, 0
    for image, folds in zip(labels.images, labels.folds, strict=True):
        out = image.copy()
        images.append(out)
        if folds[0, 0] not in labels.unseen:
            continue
        for top in range(0, image.shape[1], _TILE):
            for left in range(0, image.shape[2], _TILE):
                cut = np.s_[labels.bands, top : top + _TILE, left : left + _TILE]
                there = np.isfinite(image[cut])
                if not there.any():
                    continue
                tile = np.where(there, image[cut], 0).astype(np.uint16)
                gap = None if there.all() else 0
                payload = encode_tile(codec, tile, Rate(target_ratio=asked), nodata=gap)
                out[cut] = np.where(there, codec.decode(payload), np.nan)
                raw, coded = raw + tile.nbytes, coded + len(payload)
    return Compressed(
        codec=codec.card.codec_id, asked=asked, ratio=raw / coded,
        labels=replace(labels, images=images),
    )  # fmt: skip


def pixel_samples(labels: LabelSet, task: Task) -> tuple[Samples, Array]:
    """Pixels drawn from every fold, and `(n, 3)` their image, row and column."""
    rng = np.random.default_rng(0)
    at = np.concatenate([
        np.stack([np.full(len(found), i), *found.T], axis=1)
        for i, y in enumerate(labels.classes) if len(found := np.argwhere(y > 0))
    ])  # fmt: skip
    of = [np.array([part[i][r, c] for i, r, c in at]) for part in (labels.classes, labels.folds)]
    kept = np.concatenate([
        rng.permutation(np.flatnonzero(of[1] == fold))[:_ASKED] for fold in np.unique(of[1])
    ])  # fmt: skip
    units = at[kept, 0] * 10_000 + at[kept, 1] // 64 * 100 + at[kept, 2] // 64
    classes, folds = task.classes(of[0][kept]).astype(int), of[1][kept].astype(int)
    return Samples(classes=classes, folds=folds, units=units), at[kept]


def pixel_features(labels: LabelSet, at: Array) -> Array:
    """`(n, bands)` of the pixels at `(n, 3)` image, row and column."""
    found = np.empty((len(at), len(labels.bands)), np.float32)
    for i, image in enumerate(labels.images):
        here = at[:, 0] == i
        found[here] = image[labels.bands][:, at[here, 1], at[here, 2]].T
    return found


def boosted() -> Any:
    """The head on pixels: boosted trees on the bands of one."""
    return HistGradientBoostingClassifier(
        max_iter=60, class_weight="balanced", early_stopping=False, random_state=0
    )


def compression(
    labels: LabelSet, model: EmbeddingModel, codecs: Sequence[str], ratios: Sequence[float]
) -> list[dict[str, Any]]:
    """Points that tasks lose when heads fitted on raw pixels are asked about compressed ones."""
    tasks = [task for task in TASKS if task.labels == labels.name]
    if not tasks or not labels.unseen:
        return []
    found = list(compressed(labels, codecs, ratios))
    sets = [labels, *(one.labels for one in found)]
    vectors = [embedded(model, one.images) for one in sets]
    patches, kept = samples_of(labels)
    rows = []
    for task in tasks:
        drawn, at = pixel_samples(labels, task)
        told = replace(patches, classes=task.classes(patches.classes))
        heads = {
            "pixels": (drawn, [pixel_features(one, at) for one in sets], boosted),
            model.card.model_id: (told, [v[kept] for v in vectors], linear),
        }
        for name, (samples, features, head) in heads.items():
            plain, *others = answers_of(features[0], samples, features, head, labels.unseen)
            for one, answered in zip(found, others, strict=True) if plain.any else ():
                lost, low, high = plain.over(answered)
                rows.append({
                    "task": task.name, "labels": labels.name, "head": name, "codec": one.codec,
                    "asked": one.asked, "ratio": one.ratio, "score": plain.score, "lost": lost,
                    "low": low, "high": high, "places": min(labels.places, len(labels.unseen)),
                })  # fmt: skip
    return rows


def alphaearth(data: Path) -> tuple[Array, Samples, int] | None:
    """Vectors, their Dynamic World classes in five folds of cells, and how many cells; if there."""
    vectors, classes, cells = [], [], []
    for path in sorted((data / "embeddings/alphaearth_2024").glob("*.nc")):
        with xr.open_dataset(path) as found:
            vectors.append(found.embedding.values.astype(np.float32))
            classes.append(found.dw_label.values.astype(int))
            at = [np.floor(found[n].values / _ALPHAEARTH_CELL) for n in ("lat", "lon")]
            cells.append(at[0] * 10_000 + at[1])
    if not vectors:
        return None
    _, units = np.unique(np.concatenate(cells), return_inverse=True)
    count = int(units.max()) + 1
    folds = np.random.default_rng(0).permutation(count)[units] % 5
    samples = Samples(classes=np.concatenate(classes), folds=folds, units=units)
    return np.concatenate(vectors), samples, count


def quantisers(
    name: str, vectors: Array, samples: Samples, places: int, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Points that a probe loses when vectors are kept by a quantiser, fitted and asked on them."""
    plain, rows = answers(vectors, samples), []
    for one in names:
        if not plain.any or (one == "int8_power" and np.abs(vectors).max() > 1.01):
            continue  # which is for vectors of length 1
        # A basis of components is of a sample without labels.
        chosen = quantiser(one, dim=vectors.shape[1], sample=vectors[::2])
        codes = chosen.quantise(vectors)
        lost, low, high = plain.over(answers(chosen.dequantise(codes), samples))
        rows.append({
            "labels": name, "quantiser": one, "bytes": chosen.nbytes(codes) / len(vectors),
            "score": plain.score, "lost": lost, "low": low, "high": high, "places": places,
        })  # fmt: skip
    return rows


def costs(labels: LabelSet, model: EmbeddingModel, rounds: int = 7) -> Mapping[str, Any]:
    """The same linear head on int8 vectors and on raw pixels of patches: size, bytes, seconds."""
    samples, kept = samples_of(labels)
    raw = pixels(labels)[kept].reshape(int(kept.sum()), -1).astype(np.uint16)
    chosen = quantiser("int8", dim=model.card.dim)
    codes = chosen.quantise(embedded(model, labels.images)[kept])
    inputs: dict[str, tuple[float, Callable[[], Array]]] = {
        "pixels": (raw.nbytes, lambda: raw.astype(np.float32)),
        "vectors": (chosen.nbytes(codes), lambda: chosen.dequantise(codes)),
    }
    report: dict[str, Any] = {"labels": labels.name, "patches": len(raw)}
    some = np.random.default_rng(0).permutation(len(raw))[:TRAINED]
    heads = {
        n: fit(linear(), read()[some], samples.classes[some]) for n, (_, read) in inputs.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in inputs}
    for _ in range(rounds):
        for name, (_, read) in inputs.items():
            began = time.perf_counter()
            heads[name].predict(read())
            seconds[name].append(time.perf_counter() - began)
    for name, (size, _) in inputs.items():
        last = heads[name][-1]
        report[name] = {
            "parameters": int(last.coef_.size + last.intercept_.size),
            "bytes": size / len(raw),
            "seconds": median(seconds[name]),
        }
    return report
