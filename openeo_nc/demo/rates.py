"""Rate and distortion of one tile: this package's codecs beside JPEG 2000, bytes counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_nc.benchmarks.baselines import BASELINES
from openeo_nc.benchmarks.rate_distortion import measure
from openeo_nc.codecs.registry import get_card

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.benchmarks.tiles import Tile
    from openeo_nc.codecs.base import CodecCard

LEVELS = 5
"""Points of a codec's curve."""
HIGHEST = 8.0
"""Quality at which a curve ends, about 53 dB."""
_RIVALS = ("jpeg2000-bands", "jpeg2000-components", "klt-jpeg2000-joint")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point to be measured."""

    codec: str
    """Codec id, or name of a classical baseline."""
    quality: float
    """Its level."""


def trials(codec_ids: Sequence[str]) -> list[Trial]:
    """The points of all curves: these codecs, and the baselines."""
    levels = {name: _levels(get_card(name)) for name in codec_ids}
    levels |= {name: list(BASELINES[name].qualities) for name in _RIVALS}
    return [Trial(codec=name, quality=q) for name, values in levels.items() for q in values]


def _levels(card: CodecCard) -> list[float]:
    low, high, _ = card.quality
    levels: list[float] = np.linspace(low, min(high, HIGHEST), LEVELS).tolist()
    return levels


def _measured(trial: Trial, tile: Tile) -> dict[str, Any]:
    """One point; runs on a worker."""
    (row,) = measure([tile], {trial.codec: (trial.quality,)})
    return {
        "quality": row["quality"],
        "bytes": row["bytes"],
        "bpppb": row["bpppb"],
        "psnr_db": row["psnr"],
    }


def curves(client: Client, codec_ids: Sequence[str], tile: Tile) -> list[dict[str, Any]]:
    """Every codec's curve on one tile, measured on the cluster, lowest rate first.

    Parameters
    ----------
    codec_ids
        Codecs of this package to draw.
    tile
        Pixels in the card's units. The baselines know no nodata and code it like any number.
    """
    wanted = trials(codec_ids)
    (shared,) = client.scatter([tile], broadcast=True)
    points = client.gather(client.map(_measured, wanted, tile=shared, pure=False))
    found: dict[str, dict[str, Any]] = {}
    for trial, point in zip(wanted, points, strict=True):
        own = trial.codec not in BASELINES
        title = trial.codec if own else BASELINES[trial.codec].title
        curve: dict[str, Any] = {"name": trial.codec, "title": title, "own": own, "points": []}
        found.setdefault(trial.codec, curve)["points"].append(point)
    for curve in found.values():
        curve["points"].sort(key=lambda point: point["bpppb"])
    return list(found.values())
