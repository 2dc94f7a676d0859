"""Calibrates the guard of the Sentinel-2 codecs on the training places of a split.

    python -m openeo_nc.training.guard --data ../shared/data

Clean are crops of the training places as codecs were trained on them, without the files that the split
calls cloudy. Every crop is seen with each corruption
at each strength beside it, and L1C tiles and noise stand for foreign data. Crops coded at random
qualities teach what payloads tell. Writes the weights file and names it in the codecs' cards. Same
data, seed and machine: same file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from openeo_nc.benchmarks.foreign import foreign_tiles
from openeo_nc.codecs import bitstream, weights
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.guard import (
    HIGHEST_QUALITY,
    MIDDLE_QUALITY,
    SAME_INTEGERS,
    payload_bits,
    scorer_arrays,
)
from openeo_nc.codecs.guard_measures import LEAST_SIDE, measure
from openeo_nc.codecs.packages import ENTRY_POINTS, packages
from openeo_nc.codecs.registry import open_codec
from openeo_nc.errors import InvalidParameterError
from openeo_nc.sentinel2 import BANDS, RESOLUTION
from openeo_nc.training.data import Source, load_places
from openeo_nc.training.guard_fit import Example, features_left_out, fit_reference, fit_scorer

logger = logging.getLogger(__name__)
Arrays = dict[str, npt.NDArray[Any]]
FILE = "s2l2a-guard-1.safetensors"
CODECS = ("s2l2a-hyperprior", "klt-dct")
"""Calibrated; `guard.SAME_INTEGERS` has who is judged as one of them."""
SIDES = (64, 128, 192, 256, 384)
"""Sides of crops, each as often as the others, where images are large enough."""
CODED_SIDE = 128
PAYLOAD_ALARMS = 0.01
"""Share of clean tiles that their payload alone may flag."""
RESOLUTIONS = tuple(float(RESOLUTION[name]) for name in BANDS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """One tile to learn from."""

    place: str
    """Training place, or the kind and name of a foreign tile."""
    kind: str | None
    """What is wrong with it; None for clean ones."""
    pixels: npt.NDArray[Any]
    """`(12, y, x)` int16, reflectance x 10000."""


def calibrate(
    data: Path, split: dict[str, Any], codecs: Sequence[Codec], *, crops: int, seed: int
) -> Arrays:
    """The arrays of the guard's weights file.

    Parameters
    ----------
    data
        Folder that the split's paths are relative to.
    split
        Training places; their `cloudy` files are left out.
    codecs
        Whose payloads the guard shall understand.
    crops
        Clean crops a place.
    """
    rng = np.random.default_rng(seed)
    places = load_places(data, _clear(split), "train")
    learnt = _with_corruptions(clean_crops(places, crops, SIDES, rng), STRENGTHS, rng)
    shown = itertools.chain(learnt, _foreign(data))
    examples = [_example(c) for c in tqdm(shown, desc="tiles", unit="tile")]
    reference = fit_reference(examples)
    scorer, _ = fit_scorer(features_left_out(examples), [(e.place, e.kind) for e in examples])
    arrays: Arrays = {"resolutions": np.array(RESOLUTIONS, np.float32)}
    for name in reference.centre:
        arrays[f"{name}.centre"] = reference.centre[name].astype(np.float32)
        arrays[f"{name}.whiten"] = reference.whiten[name].astype(np.float32)
    arrays |= {"range.low": reference.low, "range.high": reference.high}
    arrays |= scorer_arrays(scorer, "pixels")
    for codec in codecs:
        rng = np.random.default_rng([seed, 1])
        few = clean_crops(places, max(crops // 3, 2), (CODED_SIDE,), rng)
        arrays |= _payload_arrays(codec, [*_with_corruptions(few, (), rng), *_foreign(data)], rng)
    return arrays


def clean_crops(
    places: dict[str, list[Source]], count: int, sides: Sequence[int], rng: np.random.Generator
) -> Iterator[Crop]:
    """Crops of every place, turned; none with a band of one value."""
    for place, sources in sorted(places.items()):
        made = 0
        while made < count:
            x = sources[int(rng.integers(len(sources)))].pixels
            side = min(int(rng.choice(sides)), *x.shape[1:])
            top, left = (int(rng.integers(n - side + 1)) for n in x.shape[1:])
            cut = x[:, top : top + side, left : left + side]
            cut = np.rot90(cut, int(rng.integers(4)), axes=(1, 2))
            if (cut.std(axis=(1, 2)) > 0).all():
                made += 1
                pixels = np.clip(np.rint(cut), -32768, 32767).astype(np.int16)
                yield Crop(place=place, kind=None, pixels=np.ascontiguousarray(pixels))


def _with_corruptions(
    crops: Iterable[Crop], strengths: Sequence[int], rng: np.random.Generator
) -> Iterator[Crop]:
    """Every crop, and each corruption of it at these strengths, or at one drawn for it."""
    for crop in crops:
        yield crop
        for kind in CORRUPTIONS:
            for strength in strengths or (int(rng.choice(STRENGTHS)),):
                seed = int(rng.integers(1 << 30))
                yield replace(
                    crop, kind=kind, pixels=corrupt(crop.pixels, kind, strength, seed=seed)
                )


def _foreign(data: Path) -> list[Crop]:
    return [
        Crop(place=f"{tile.kind} {tile.name}", kind=tile.kind, pixels=tile.pixels)
        for tile in foreign_tiles(data, [])
        if tile.calibrates
    ]


def _clear(split: dict[str, Any]) -> dict[str, Any]:
    """The split without cloudy files, and without places that have no others."""
    train = [
        {**entry, "files": [f for f in entry["files"] if f not in entry.get("cloudy", [])]}
        for entry in split["train"]
    ]
    return {**split, "train": [entry for entry in train if entry["files"]]}


def _example(crop: Crop) -> Example:
    measures = measure(crop.pixels, None, RESOLUTIONS)
    if measures is None:
        raise InvalidParameterError(
            f"a crop of {crop.pixels.shape}: sides must be {LEAST_SIDE} or more"
        )
    return Example(place=crop.place, kind=crop.kind, measures=measures)


def _payload_arrays(codec: Codec, crops: Sequence[Crop], rng: np.random.Generator) -> Arrays:
    """What bits tell of a codec's payloads: their slope over quality, and a scorer with them."""
    tag = bitstream.codec_tag(codec.card)
    low, high, _ = codec.card.quality
    qualities = rng.uniform(low, min(high, HIGHEST_QUALITY), len(crops))
    found = []
    for crop, quality in zip(
        tqdm(crops, desc=codec.card.codec_id, unit="tile"), qualities, strict=True
    ):
        payload = codec.encode(crop.pixels, quality)
        header, sections, _ = bitstream.read(payload, tag=tag)
        found.append(payload_bits(header, sections))
    names = list(found[0])
    bits = np.array([[f[name] for name in names] for f in found])
    clean = np.array([crop.kind is None for crop in crops])
    steps = (qualities - MIDDLE_QUALITY)[:, None]
    design = np.concatenate([steps, np.ones_like(steps)], axis=1)
    by_quality = np.linalg.lstsq(design[clean], bits[clean])[0][0]
    levelled = bits - steps * by_quality
    features = [dict(zip(names, map(float, row), strict=True)) for row in levelled]
    scorer, _ = fit_scorer(features, [(crop.place, crop.kind) for crop in crops], PAYLOAD_ALARMS)
    prefix = f"payload.{tag.hex()}"
    slopes = np.asarray(by_quality, np.float32)
    return {f"{prefix}.by_quality": slopes} | scorer_arrays(scorer, prefix)


def main() -> None:
    """Calibrate, write the weights, and name them in the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, default=Path(__file__).parent / "splits/s2l2a.json")
    parser.add_argument("--folder", type=Path, default=packages()[ENTRY_POINTS])
    parser.add_argument("--codec", dest="codecs", action="append", help="default: all of S2 L2A")
    parser.add_argument("--crops", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    split = json.loads(given.split.read_text(encoding="utf-8"))
    codecs = [open_codec(name) for name in given.codecs or CODECS]
    arrays = calibrate(given.data, split, codecs, crops=given.crops, seed=given.seed)
    digest = weights.save(arrays, given.folder / "weights" / FILE)
    logger.info("sha256 %s", digest)
    named = {codec.card.codec_id for codec in codecs}
    named |= {codec_id for codec_id, other in SAME_INTEGERS.items() if other in named}
    for codec_id in sorted(named):
        name = f"cards/{codec_id}.json"
        card = json.loads((packages()[ENTRY_POINTS] / name).read_text(encoding="utf-8"))
        text = json.dumps(card | {"guard": FILE, "guard_sha256": digest}, indent=1) + "\n"
        (given.folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
