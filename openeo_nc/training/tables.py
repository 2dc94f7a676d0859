"""The frequency tables of the hyperprior codec: logistic to begin with, then as training places have it.

Networks train with logistic distributions. What is coded deviates from them: rounding by rate and
distortion prefers zeros, and errors of the prediction have heavier tails. So the tables that ship are
counted on crops of the training places, with the logistic as prior.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.hyperprior import HyperpriorCodec
from openeo_nc.codecs.hyperprior_entropy import PHASES, SCALES, Arrays
from openeo_nc.codecs.hyperprior_rate import SCALE_MIN, SCALE_STEP
from openeo_nc.training.data import load_places, samples

CROPS, SIDE, SEED = 100, 192, 7
PRIOR = 2000.0
"""Symbols that the logistic counts for in every table."""


def logistic_pmf(mean: float, scale: float, reach: int) -> npt.NDArray[np.float64]:
    """Probabilities of -reach..reach under a discretised logistic."""
    edges = np.arange(-reach, reach + 2) - 0.5 - mean
    upper = 1 / (1 + np.exp(np.clip(edges / scale, -500, 500)))
    return np.asarray(upper[:-1] - upper[1:])


def latent_tables() -> Tables:
    """One logistic table for each scale and fraction of the mean."""
    pmf, reach = _logistic_tables()
    return Tables.from_pmf(pmf, np.full(len(pmf), -reach))


def _logistic_tables() -> tuple[npt.NDArray[np.float64], int]:
    scales = SCALE_MIN * np.exp(SCALE_STEP * np.arange(SCALES))
    reach = int(np.ceil(scales[-1] * 12))
    pmf = [logistic_pmf(p / 8, scale, reach) for scale in scales for p in range(PHASES)]
    return np.stack(pmf), reach


def hyper_tables(mean: npt.NDArray[Any], scale: npt.NDArray[Any]) -> Tables:
    """One table for each channel of z."""
    pmf = np.stack(
        [logistic_pmf(float(m), float(s), 127) for m, s in zip(mean, scale, strict=True)]
    )
    return Tables.from_pmf(pmf, np.full(len(pmf), -127))


def _trimmed(tables: Tables) -> Tables:
    """The same tables without the columns that none of them uses."""
    used = np.flatnonzero(tables.freq[:, :-1].any(axis=0))
    columns = [*range(used[0], used[-1] + 1), tables.freq.shape[1] - 1]
    return Tables(freq=tables.freq[:, columns], offset=tables.offset + np.int32(used[0]))


def table_arrays(name: str, tables: Tables) -> Arrays:
    """Tables as arrays of the weights file."""
    small = _trimmed(tables)
    freq = small.freq.astype(np.uint16) if small.freq.max() < 1 << 16 else small.freq
    return {f"entropy.{name}.freq": freq, f"entropy.{name}.offset": small.offset}


def fitted(codec: HyperpriorCodec, data: Path, split: dict[str, Any]) -> Tables:
    """Tables of the latents that a codec chooses on crops of the training places, at all qualities."""
    rng = np.random.default_rng(SEED)
    places = load_places(data, split, "train")
    low, high, _ = codec.card.quality
    pmf, reach = _logistic_tables()
    counts = PRIOR * pmf
    for _, x in zip(
        tqdm(range(CROPS), desc="tables"), samples(places, {}, SIDE, rng), strict=False
    ):
        latents = codec.analyse(x.clip(0, 32767).astype(np.int16), quality=rng.uniform(low, high))
        for symbols, table in codec.symbols(latents):
            inside = np.abs(symbols) <= reach
            np.add.at(counts, (table[inside], symbols[inside] + reach), 1)
    # what falls outside, and a little, is left for the escape
    return Tables.from_pmf(
        counts / (counts.sum(axis=1, keepdims=True) + 1), np.full(len(pmf), -reach)
    )
