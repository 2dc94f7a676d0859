"""What coding a sample costs, as `openeo-nc bench throughput` measured it on the machine it names.

One file, `throughput.json`, holds the figures; between its points they are interpolated in the
logarithm. Codecs and devices that nobody measured have none, and estimates say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openeo_nc.codecs import registry
from openeo_nc.codecs.rate import Rate

FILE = Path(__file__).with_name("throughput.json")
"""What the command wrote."""
_SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one sample: a band of a pixel."""

    encode: float
    """Seconds of a core to encode it."""
    decode: float
    """Seconds of a core to decode it."""
    bits: float
    """Bits of payload, the mean of tiles of several places."""
    bits_low: float
    """Those of the tile that took fewest."""
    bits_high: float
    """Those of the tile that took most."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a worker has while it codes."""

    process: int
    """Interpreter and libraries."""
    codec: int
    """Weights, and libraries of networks."""
    tile: int
    """What coding one tile takes beyond that."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Figures of codecs on one machine."""

    machine: str
    """The machine, in words."""
    samples: int
    """Samples of a tile that was measured."""
    codecs: Mapping[str, Mapping[str, Any]]
    """By codec: `memory`, and `points` as `benchmarks.throughput.Measured` has them."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By model: `memory`, and seconds of a core that `embed` takes of a sample."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Throughput:
        """The figures of a report of the benchmark."""
        machine = document["machine"]
        return cls(
            machine=f"{machine['cpu']}, {machine['cores']} cores",
            samples=math.prod(document["shape"]),
            codecs=document["codecs"],
            models=document.get("models", {}),
        )

    def cost(self, codec_id: str, rate: Rate) -> Cost | None:
        """What a codec costs at a rate; None if it was not measured."""
        if codec_id not in self.codecs:
            return None
        points = self.codecs[codec_id]["points"]
        kind, value = _asked(codec_id, rate)
        alike = [point for point in points if point["kind"] == kind]
        if not alike:
            return None
        seconds = _between(alike, kind, value)
        if kind == "target_psnr":  # a search ends at the size that this PSNR has
            levels = [p for p in points if p["kind"] == "quality" and p["psnr"] is not None]
            return _with_bits(seconds, _between(levels, "psnr", value))
        if kind == "target_ratio":
            scale = seconds_ratio(alike, value)
            return _with_bits(seconds, seconds, scale)
        return seconds

    def embedding(self, model_id: str) -> float | None:
        """Seconds of a core that a model takes of a sample; None if it was not measured."""
        found = self.models.get(model_id)
        return None if found is None else float(found["embed"])

    def memory(self, codec_id: str | None) -> Memory:
        """What a worker takes that codes tiles of `samples` samples; the most of any if unknown.

        `codec_id` may be that of a model.
        """
        all_ = {**self.codecs, **self.models}
        known = [one["memory"] for name, one in all_.items() if codec_id in (name, None)]
        known = known or [one["memory"] for one in all_.values()]
        return Memory(**{f.name: max(one[f.name] for one in known) for f in fields(Memory)})


@cache
def measured() -> Throughput:
    """The figures that ship with the package."""
    return Throughput.of(json.loads(FILE.read_text(encoding="utf-8")))


def seconds_ratio(points: Sequence[Mapping[str, Any]], ratio: float) -> float:
    """Bits at a ratio, as a share of those at the ratio that was measured."""
    return float(points[0]["value"]) / ratio


def _asked(codec_id: str, rate: Rate) -> tuple[str, float]:
    for kind in ("target_psnr", "target_ratio", "quality"):
        if (value := getattr(rate, kind)) is not None:
            return kind, float(value)
    if rate.max_error is not None:
        return "max_error", float(np.mean(rate.max_error))
    return "quality", float(registry.get_card(codec_id).quality[2])


def _between(points: Sequence[Mapping[str, Any]], by: str, value: float) -> Cost:
    """The cost at a value, from the points beside it; beyond the outermost, that of these."""
    name = by if by == "psnr" else "value"
    known = sorted(points, key=lambda point: float(point[name]))
    places = [_axis(by, float(point[name])) for point in known]
    return Cost(
        **{
            f.name: math.exp(
                np.interp(
                    _axis(by, value), places, [math.log(max(p[f.name], _SMALLEST)) for p in known]
                )
            )
            for f in fields(Cost)
        }
    )


def _axis(by: str, value: float) -> float:
    """Where a value lies: bits fall with the logarithm of the values that a bound leaves alike."""
    return math.log(2 * value + 1) if by == "max_error" else value


def _with_bits(seconds: Cost, bits: Cost, scale: float = 1.0) -> Cost:
    return Cost(
        encode=seconds.encode,
        decode=seconds.decode,
        bits=bits.bits * scale,
        bits_low=bits.bits_low * scale,
        bits_high=bits.bits_high * scale,
    )
