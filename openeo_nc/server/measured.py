"""The codecs with what was measured of them, for whoever chooses one."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from openeo_nc.codecs.base import CodecCard
from openeo_nc.codecs.registry import choose, list_codecs
from openeo_nc.sentinel2 import BANDS

_RATES = Path(__file__).with_name("rate_distortion.json")
"""What `openeo-nc bench publish-rates` took from the run that docs/benchmarks.md shows."""


@cache
def codecs() -> dict[str, Any]:
    """`codecs`, every card's facts, with which of them `auto` takes, and `measured`, the run."""
    automatic = {"sentinel-2": choose("auto", BANDS), "any": choose("auto")}
    return {
        "codecs": [_facts(card) for card in list_codecs()],
        "auto": {cube: card.codec_id for cube, card in automatic.items()},
        "measured": json.loads(_RATES.read_text(encoding="utf-8")),
    }


def _facts(card: CodecCard) -> dict[str, Any]:
    lowest, highest, default = card.quality
    return {
        "id": card.codec_id,
        "title": card.title,
        "description": card.description,
        "version": card.version,
        "bands": None if card.bands is None else list(card.bands),
        "dtypes": list(card.dtypes),
        "quality": {"lowest": lowest, "highest": highest, "default": default},
        "embedding": card.embedding,
        "licence": card.licence,
        "attributions": list(card.attributions),
    }
