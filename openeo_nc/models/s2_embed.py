"""Loads `s2-embed-small`: this package's encoder of Sentinel-2 patches (see `s2_embed_network`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import weights
from openeo_nc.errors import BandMismatchError, InvalidParameterError
from openeo_nc.models.base import EmbeddingModel, ModelCard

if TYPE_CHECKING:
    from openeo_nc.models.s2_embed_network import Encoder


class S2Embed(EmbeddingModel):
    """The encoder on one device."""

    def __init__(self, card: ModelCard, encoder: Encoder, device: str) -> None:
        self.card = card
        self._encoder = encoder
        self._device = device

    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        import torch

        if x.ndim != 4 or x.shape[1] != len(self.card.bands):
            raise BandMismatchError(
                f"{self.card.model_id} takes (chips, {len(self.card.bands)}, y, x), not {x.shape}"
            )
        if any(n % self.card.stride for n in x.shape[2:]):
            raise InvalidParameterError(
                f"sides {x.shape[2:]} are no multiples of the stride {self.card.stride}"
            )
        with torch.inference_mode():
            chips = torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(self._device)
            vectors: npt.NDArray[np.float32] = self._encoder(chips).cpu().numpy()
        return vectors


def load(card: ModelCard, *, device: str | None = None) -> S2Embed:
    """The model of a card, its weights verified."""
    import torch

    from openeo_nc.models.s2_embed_network import Encoder

    arrays = weights.load(card)
    encoder = Encoder(len(card.bands), card.dim, int(card.options["width"]))
    encoder.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    where = device or "cpu"
    return S2Embed(card, encoder.to(where).eval(), where)
