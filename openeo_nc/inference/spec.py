"""What a task graph carries of a codec: its name and the hash of its weights, never the weights.

A graph with the model in it measured 6.9 MB against 27 kB with a spec, and sent the model with
every task. Workers open the codec from the spec, once a process (`inference.cache`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """Names one codec with one set of weights on one kind of device; hashable, a few bytes."""

    codec_id: str
    """Id of the codec's card."""
    weights_sha256: str | None
    """The weights that the graph was built for; None for a codec without any."""
    device: str | None = None
    """torch device name, or None for the best that the worker has."""

    @classmethod
    def of(cls, card: CodecCard, device: str | None = None) -> CodecSpec:
        """The spec of a card."""
        return cls(codec_id=card.codec_id, weights_sha256=card.weights_sha256, device=device)
