"""Embedding models in task graphs: named by a spec, opened once a process, run by its engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.networks import Network, run
from openeo_nc.errors import CardInvalidError, CodecNotFoundError, WeightsNotFoundError
from openeo_nc.inference import engine
from openeo_nc.inference.device import choose
from openeo_nc.models import registry
from openeo_nc.models.base import EmbeddingModel, ModelCard
from openeo_nc.models.layout import Layout

_opening = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Names one model with one set of weights on one kind of device; hashable, a few bytes."""

    model_id: str
    """Id of the model's card."""
    weights_sha256: str | None
    """The weights that the graph was built for; None for a model that names none."""
    device: str | None = None
    """torch device name, or None for the best that the worker has."""
    document: str | None = None
    """The card, JSON, of a model that no package has."""

    @classmethod
    def of(cls, card: ModelCard, device: str | None = None) -> ModelSpec:
        """The spec of a card."""
        try:
            known = registry.get_model_card(card.model_id) == card
        except CodecNotFoundError:
            known = False
        return cls(
            model_id=card.model_id,
            weights_sha256=card.weights_sha256,
            device=device,
            document=None if known else json.dumps(registry.card_document(card), sort_keys=True),
        )

    @property
    def card(self) -> ModelCard:
        """The card, as this process knows it.

        Raises
        ------
        CodecNotFoundError, WeightsNotFoundError
        """
        if self.document is not None:
            return registry.parse_model_card(json.loads(self.document), self.model_id)
        card = registry.get_model_card(self.model_id)
        if card.weights_sha256 != self.weights_sha256:
            raise WeightsNotFoundError(
                f"The graph needs '{self.model_id}' with weights {self.weights_sha256}; here its "
                f"card names {card.weights_sha256}. Install the same release on all workers."
            )
        return card


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """What a network makes vectors of."""

    x: npt.NDArray[np.float32]
    """`(bands, y, x)`, or `(dates, bands, y, x)` where the card has several, in its units."""
    times: tuple[np.datetime64, ...] | None = None
    """Moments of its dates."""
    place: tuple[float, float] | None = None
    """Longitude and latitude of the middle."""


class Embedder:
    """A model whose chips of all threads are batches."""

    def __init__(self, model: EmbeddingModel, device: str) -> None:
        self._model = model
        self._given = Layout.of(model.card).given
        self._network: Network[Chip] = Network(
            name=model.card.model_id, device=device, shape=_shape, forward=self._forward
        )

    def vectors(self, chips: Sequence[Chip]) -> list[npt.NDArray[np.float32]]:
        """`(dim, y / stride, x / stride)` of each chip, or `(dim, 1, 1)` of pooled ones."""
        return list(run(self._network, chips))

    def _forward(self, chips: Sequence[Chip]) -> npt.NDArray[Any]:
        card = self._model.card
        vectors = self._model.embed(
            np.stack([chip.x for chip in chips]),
            times=[chip.times for chip in chips],
            places=[chip.place for chip in chips],
        )
        expected = (len(chips), card.dim, self._given, self._given)
        if vectors.shape != expected:
            raise CardInvalidError(
                f"The model '{card.model_id}' gave vectors {vectors.shape}; its card says {expected}."
            )
        return np.asarray(vectors, np.float32)


def get_embedder(spec: ModelSpec) -> Embedder:
    """The model of a spec, loaded on first use and shared by all threads of the process.

    Raises
    ------
    CodecNotFoundError, CardInvalidError, WeightsNotFoundError, WeightsInvalidError
    """
    with _opening:
        return _open(spec)


@cache
def _open(spec: ModelSpec) -> Embedder:
    engine.install()
    card = spec.card
    device = choose(card, spec.device)
    return Embedder(registry.open_model(card, device=device), device)


def _shape(chip: Chip) -> tuple[int, ...]:
    return chip.x.shape
