"""Trains the tables of `klt-dct`: context weights by maximum likelihood, then symbol frequencies.

    python -m openeo_nc.training.klt_tables --data ../shared/data --weights FILE.safetensors

Crops of the training places of a split are decomposed at random qualities and quantised, first by
rounding, then by the quantiser with the model of the round before. The magnitude of a coefficient
is taken as Laplacian, its scale as the weighted sum of its context; Adam finds the weights. Tables
are the counts of what the contexts then select, smoothed. Same data, seed and machine: same file.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from openeo_nc.codecs import klt_dct_context as contexts
from openeo_nc.codecs import weights
from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.klt_dct_analysis import decompose
from openeo_nc.codecs.klt_dct_context import BEFORE, COMPONENTS, OWN, ZONES, ContextModel, IntArray
from openeo_nc.codecs.klt_dct_dc import LEVELS, dc_steps
from openeo_nc.codecs.klt_dct_quantiser import quantise, skew
from openeo_nc.codecs.klt_dct_side import fixed_peak
from openeo_nc.codecs.klt_dct_transform import present, trimmed
from openeo_nc.training.data import load_places

logger = logging.getLogger(__name__)
Arrays = dict[str, npt.NDArray[Any]]
UNIT = 1024
"""Integer that a weight of 1 becomes."""
LARGEST_SYMBOL = 127
"""Tables hold symbols up to this; larger ones escape."""
AC_SCALES = (0.05, 60.0, 80)
"""Smallest and largest scale of the tables for coefficients, and their number."""
DC_SCALES = (0.1, 900.0, 40)
"""The same for DC residuals."""
_FIRST_ROUNDING = 0.36
_SIZES = (120, 192, 264, 384)
_SAMPLES = 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """One quantised crop."""

    planes: IntArray
    """`(components, DIAGONALS, N, by, bx)`."""
    entries: IntArray
    """Entries of its bases, in steps of the stored form."""


def crops(data: Path, split: Path, count: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """`(bands, y, x)` crops of the training places; corners lie on 60 m pixels."""
    rng = np.random.default_rng(seed)
    places = load_places(data, json.loads(split.read_text(encoding="utf-8")), "train")
    names = sorted(places)
    share = np.array([np.sqrt(len(places[name])).clip(1, 4) for name in names])
    for _ in range(count):
        sources = places[names[int(rng.choice(len(names), p=share / share.sum()))]]
        pixels = sources[int(rng.integers(len(sources)))].pixels
        size = min(int(rng.choice(_SIZES)), *(n // 24 * 24 for n in pixels.shape[1:]))
        top, left = (6 * int(rng.integers((n - size) // 6 + 1)) for n in pixels.shape[1:])
        crop = pixels[:, top : top + size, left : left + size]
        if rng.random() < 0.5:
            crop = crop.transpose(0, 2, 1)
        gain = np.exp(rng.normal(0, 0.25)) if rng.random() < 0.5 else 1.0
        yield np.rint(crop * gain).clip(0, 65535).astype(np.uint16)


def code(crop: npt.NDArray[Any], quality: float, model: ContextModel | None) -> Coded:
    """A crop quantised by the model, or by rounding without one."""
    tile = decompose(crop, None, quality, fixed_peak(crop.dtype))
    if model is None:
        rounded = np.floor(np.abs(tile.components) + _FIRST_ROUNDING)
        integers = (np.sign(tile.components) * rounded).astype(np.int32)
    else:
        integers = quantise(model, tile.components, tile.valid)
    used = [
        basis[present(tile.repeats, zone)].reshape(-1)
        for zone, basis in enumerate(trimmed(tile.bases, integers))
        if basis is not None
    ]
    return Coded(planes=skew(integers), entries=np.concatenate(used))


def ac_samples(planes: IntArray, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int32]]:
    """`(n, OWN + BEFORE + 3)`: features, zone, component and magnitude of random coefficients."""
    blocks = (planes.shape[3], planes.shape[4])
    around = contexts.Neighbourhood(blocks)
    zone_of = contexts.skewed_zones()
    for c, box in enumerate(contexts.boxes(planes)):
        around.begin()
        if box.side == 0:
            continue
        around.put(0, 0, 1, planes[c, 0, :1])
        before, rows = [f.copy() for f in around.before()], []
        for d in range(1, box.last + 1):
            u0, u1 = box.rows(d)
            features = [*around.own(d, u0, u1), *(f[d, u0:u1] for f in before)]
            values = planes[c, d, u0:u1]
            zone = np.broadcast_to(zone_of[d, u0:u1, None, None], values.shape)
            bias = np.full(values.shape, min(c, COMPONENTS - 1))
            parts: list[npt.NDArray[Any]] = [*features, zone, bias, np.abs(values)]
            rows.append(np.stack([p.reshape(-1) for p in parts], axis=1))
            around.put(d, u0, u1, values)
        around.end(np.zeros(around.cells, np.int32))
        if rows:
            table = np.concatenate(rows)
            yield table[rng.random(len(table)) < _SAMPLES / len(table)].astype(np.int32)


def dc_samples(planes: IntArray) -> Iterator[npt.NDArray[np.int32]]:
    """`(n, 4)`: class of the step, spread, residual before and magnitude of the residual."""
    blocks = (planes.shape[3], planes.shape[4])
    known = np.zeros(blocks[0] * blocks[1], np.int32)
    for plane in planes:
        values, residual = plane[0, 0].reshape(-1), np.zeros_like(known)
        if not plane.any():
            continue
        for step in dc_steps(blocks):
            prediction, spread = step.predict(values[step.neighbours])
            residual[step.at] = np.abs(values[step.at] - prediction)
            kind = np.full(step.at.shape, 2 * step.level + step.turn)
            yield np.stack([kind, spread, known[step.at], residual[step.at]], axis=1)
        known = residual


def fit_ac(samples: npt.NDArray[np.int32], steps: int) -> Arrays:
    """Weights of coefficients, as integers."""
    count = OWN + BEFORE
    features = torch.from_numpy(samples[:, :count])
    zone, component, magnitude = torch.from_numpy(samples[:, count:]).long().unbind(1)
    slope = torch.full((ZONES, count), -3.5, requires_grad=True)
    bias = torch.full((ZONES, COMPONENTS), -3.5, requires_grad=True)

    def loss(at: torch.Tensor) -> torch.Tensor:
        scale = (functional.softplus(slope)[zone[at]] * features[at].float()).sum(1)
        scale = scale + functional.softplus(bias)[zone[at], component[at]] + 1e-3
        return _bits(magnitude[at], scale, _FIRST_ROUNDING + 0.02)

    _descend(loss, [slope, bias], len(samples), steps, 0.02)
    own = _integers(functional.softplus(slope))
    return {
        "own": own[:, :OWN],
        "before": own[:, OWN:],
        "bias": np.maximum(_integers(functional.softplus(bias)), 1),
    }


def fit_dc(samples: npt.NDArray[np.int32], steps: int) -> Arrays:
    """Weights of DC residuals, as integers."""
    kind, spread, before, magnitude = torch.from_numpy(samples).long().unbind(1)
    slope = torch.full((2 * LEVELS, 3), -1.0, requires_grad=True)

    def weights_of() -> torch.Tensor:
        positive = functional.softplus(slope)
        return torch.cat([positive[:, :2], positive[:, 2:] ** 2 + 0.05], dim=1)

    def loss(at: torch.Tensor) -> torch.Tensor:
        w = weights_of()[kind[at]]
        return _bits(magnitude[at], w[:, 0] * spread[at] + w[:, 1] * before[at] + w[:, 2], 0.5)

    _descend(loss, [slope], len(samples), steps, 0.03)
    return {"dc": _integers(weights_of()).reshape(LEVELS, 2, 3).clip(0, 4096)}


def lookup(scales: tuple[float, float, int], shift: int, size: int, first: int) -> Arrays:
    """Context to table: scales in equal steps of their logarithm."""
    low, high, count = scales
    scale = (np.arange(size) + 0.5) * (1 << shift) / UNIT
    position = np.floor(np.log(scale / low) / np.log(high / low) * count)
    name = "ac_index" if first == 0 else "dc_index"
    return {name: (position.clip(0, count - 1) + first).astype(np.uint8)}


def count_symbols(model: ContextModel, coded: list[Coded]) -> npt.NDArray[np.float64]:
    """`(tables, LARGEST_SYMBOL + 2)` magnitudes that each table codes; the last is the escape."""
    counts = np.zeros((AC_SCALES[2] + DC_SCALES[2], LARGEST_SYMBOL + 2))

    for one in coded:
        planes = one.planes

        def visit(
            c: int, where: Any, index: Any, prediction: Any, planes: Any = planes
        ) -> IntArray:
            values: IntArray = planes[c].reshape(-1)[where]
            symbols = values if prediction is None else values - prediction
            np.add.at(counts, (index, np.minimum(np.abs(symbols), LARGEST_SYMBOL + 1)), 1)
            return values

        contexts.walk(model, contexts.boxes(planes), (planes.shape[3], planes.shape[4]), visit)
    return counts


def tables_of(counts: npt.NDArray[np.float64]) -> Arrays:
    """Symmetric frequency tables from counts: neighbours and a Laplacian help where they are few."""
    pmf = np.zeros((len(counts), 2 * LARGEST_SYMBOL + 1))
    first = 0
    for (low, high, count), rounding in ((AC_SCALES, _FIRST_ROUNDING + 0.02), (DC_SCALES, 0.5)):
        for i in range(count):
            near = np.arange(max(i - 2, 0), min(i + 3, count))
            share = np.array([1, 0.1, 0.02])[np.abs(near - i)]
            found = share @ counts[first + near]
            scale = low * (high / low) ** ((i + 0.5) / count)
            found = _smooth(found) + 30 * _laplacian(scale, rounding)
            mass = found / found.sum()
            half = mass[1 : LARGEST_SYMBOL + 1] / 2
            pmf[first + i] = np.concatenate([half[::-1], mass[:1], half])
        first += count
    tables = Tables.from_pmf(pmf, np.full(len(pmf), -LARGEST_SYMBOL))
    return {"freq": tables.freq.astype(np.uint32), "offset": tables.offset}


def basis_tables(coded: list[Coded]) -> Arrays:
    """The one table of the entries of bases."""
    entries = np.abs(np.concatenate([one.entries for one in coded]))
    found = np.bincount(np.minimum(entries, LARGEST_SYMBOL + 1), minlength=LARGEST_SYMBOL + 2)
    mass = _smooth(found.astype(np.float64)) + 0.1
    half = mass[1 : LARGEST_SYMBOL + 1] / 2
    pmf = np.concatenate([half[::-1], mass[:1], half]) / mass.sum()
    tables = Tables.from_pmf(pmf[None], [-LARGEST_SYMBOL])
    return {"basis_freq": tables.freq.astype(np.uint32), "basis_offset": tables.offset}


def train(data: Path, split: Path, *, count: int, steps: int, seed: int) -> Arrays:
    """Everything that the weights file holds."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chosen = [(crop, q) for crop in crops(data, split, count, seed) for q in rng.uniform(1, 8, 2)]
    model: ContextModel | None = None
    arrays: Arrays = {}
    for turn in range(3):
        coded = [code(crop, quality, model) for crop, quality in chosen]
        ac = np.concatenate([s for one in coded for s in ac_samples(one.planes, rng)])
        dc = np.concatenate([s for one in coded for s in dc_samples(one.planes)])
        arrays = {**fit_ac(ac, steps), **fit_dc(dc, steps), **basis_tables(coded)}
        arrays |= lookup(AC_SCALES, contexts.AC_SHIFT, 1 << 15, 0)
        arrays |= lookup(DC_SCALES, contexts.DC_SHIFT, 1 << 14, AC_SCALES[2])
        blank = np.zeros((AC_SCALES[2] + DC_SCALES[2], LARGEST_SYMBOL + 2))
        counts = count_symbols(ContextModel.from_weights(arrays | tables_of(blank)), coded)
        arrays |= tables_of(counts)
        model = ContextModel.from_weights(arrays)
        logger.info("turn %d: %.4f bits a coded symbol", turn, _mean_bits(counts, arrays["freq"]))
    return arrays


def _descend(
    loss: Any, parameters: list[torch.Tensor], count: int, steps: int, rate: float
) -> None:
    optimiser = torch.optim.Adam(parameters, rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * rate, steps)
    for _ in range(steps):
        value = loss(torch.randint(0, count, (16384,))).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()


def _bits(magnitude: torch.Tensor, scale: torch.Tensor, rounding: float) -> torch.Tensor:
    """Bits of magnitudes and signs under a Laplacian that was quantised with this rounding."""
    m = magnitude.float()
    low = torch.where(m == 0, torch.zeros_like(m), m - rounding)
    mass = torch.exp(-low / scale) - torch.exp(-(m + 1 - rounding) / scale)
    return (m > 0).float() - torch.log2(mass.clamp(min=1e-7))


def _laplacian(scale: float, rounding: float) -> npt.NDArray[np.float64]:
    """Probabilities of the magnitudes 0..LARGEST_SYMBOL and of larger ones."""
    edges = np.concatenate([[0], np.arange(LARGEST_SYMBOL + 1) + 1 - rounding])
    tail = np.exp(-edges / scale)
    return np.append(tail[:-1] - tail[1:], tail[-1])


def _smooth(found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Counts averaged over a window that grows with the magnitude, from 9 on."""
    out = found.copy()
    for m in range(9, LARGEST_SYMBOL + 1):
        reach = m // 6
        out[m] = found[max(9, m - reach) : min(LARGEST_SYMBOL, m + reach) + 1].mean()
    return out


def _integers(values: torch.Tensor) -> IntArray:
    return np.asarray(np.rint(values.detach().numpy() * UNIT), np.int32)


def _mean_bits(counts: npt.NDArray[np.float64], freq: npt.NDArray[np.uint32]) -> float:
    chance = freq[:, LARGEST_SYMBOL:] / 65536
    chance[:, 1:-1] *= 2
    bits = -np.log2(np.where(counts > 0, np.maximum(chance, 1e-9), 1)) + (counts * 0)
    bits[:, 1:-1] += counts[:, 1:-1] > 0
    return float((counts * bits).sum() / counts.sum())


def main() -> None:
    """Train and write the weights file; logs its SHA-256 for the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, default=Path(__file__).parent / "splits/s2l2a.json")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=160)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    arrays = train(given.data, given.split, count=given.crops, steps=given.steps, seed=given.seed)
    logger.info("sha256 %s", weights.save(arrays, given.weights))


if __name__ == "__main__":
    main()
