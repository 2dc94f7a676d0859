"""Models that are TorchScript files: a card, and a network of which nothing else is known.

Options of the card: `order`, dimensions of what the network gives (see `foreign.vectors`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import WeightsInvalidError
from openeo_nc.models.base import EmbeddingModel, ModelCard
from openeo_nc.models.files import file_of
from openeo_nc.models.foreign import in_batches, prepared, vectors


class TorchScript(EmbeddingModel):
    """A scripted or traced network on one device."""

    def __init__(self, card: ModelCard, network: Any, device: str) -> None:
        self.card = card
        self._network = network
        self._device = device
        order = card.options.get("order")
        self._order = None if order is None else tuple(order)

    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        given = in_batches(self._call, prepared(x, self.card), self.card.options.get("batch"))
        return vectors(given, self.card, (x.shape[-2], x.shape[-1]), self._order)

    def _call(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import torch

        with torch.inference_mode():
            found = self._network(torch.from_numpy(np.ascontiguousarray(x)).to(self._device))
            last = found[-1] if isinstance(found, list | tuple) else found
            array: npt.NDArray[Any] = last.float().cpu().numpy()
        return array


def load(card: ModelCard, *, device: str | None = None) -> TorchScript:
    """The model of a card, its file verified."""
    import torch

    path, where = file_of(card), device or "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit goes, files of it stay
        try:
            network: Any = torch.jit.load(str(path), map_location=where)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise WeightsInvalidError(f"{path} is no TorchScript file: {error}") from error
    return TorchScript(card, network.eval(), where)
