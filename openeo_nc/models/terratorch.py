"""Backbones of TerraTorch by their name in its registry: Prithvi-EO-2.0, TerraMind and the others.

Extra `terratorch`. Options of a card:

    backbone     name in BACKBONE_REGISTRY, e.g. terratorch_prithvi_eo_v2_300
    arguments    what its factory takes besides, e.g. bands, modalities, num_frames
    seed         random weights instead of any file, for tests
    time, place  names of the arguments that take dates and places, where the card has conditions

Weights are the card's file, at Hugging Face by repo, revision and file name (`models.files`), and
handed to TerraTorch as `ckpt_path`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import CardInvalidError, ModelUnavailableError, WeightsInvalidError
from openeo_nc.models.base import EmbeddingModel, ModelCard
from openeo_nc.models.files import file_of
from openeo_nc.models.foreign import needed, prepared, vectors


class TerraTorch(EmbeddingModel):
    """A backbone on one device."""

    def __init__(self, card: ModelCard, network: Any, device: str) -> None:
        self.card = card
        self._network = network
        self._device = device

    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        import torch

        card = self.card
        values = prepared(x, card)
        if card.dates > 1:  # (chips, dates, bands, y, x) to (chips, bands, dates, y, x)
            values = np.swapaxes(values, 1, 2)
        told = self._conditions(times, places)
        with torch.inference_mode():
            given = self._network(
                torch.from_numpy(np.ascontiguousarray(values)).to(self._device),
                **{name: torch.from_numpy(a).to(self._device) for name, a in told.items()},
            )
            found = self._last(given).float().cpu().numpy()
        return vectors(found, card, (x.shape[-2], x.shape[-1]))

    def _last(self, given: Any) -> Any:
        """What the last layer gave; a map where the backbone knows how to make one of its tokens."""
        to_map = getattr(self._network, "prepare_features_for_image_model", None)
        features = list(given) if isinstance(given, list | tuple) else [given]
        if features[-1].ndim == 3 and to_map is not None and self.card.pooling != "cls":
            features = to_map(features)
        return features[-1]

    def _conditions(
        self, times: Sequence[Any] | None, places: Sequence[Any] | None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Year and day of the year of dates, latitude and longitude; as far as all are known."""
        told = {}
        options = self.card.options
        if "time" in self.card.conditions and times and all(t is not None for t in times):
            rows = [[_year_and_day(date) for date in dates] for dates in times]
            told[str(options.get("time", "temporal_coords"))] = np.asarray(rows, np.float32)
        if "place" in self.card.conditions and places and all(p is not None for p in places):
            rows = [[lat, lon] for lon, lat in places]
            told[str(options.get("place", "location_coords"))] = np.asarray(rows, np.float32)
        return told


def load(card: ModelCard, *, device: str | None = None) -> TerraTorch:
    """The model of a card, with its weights.

    Raises
    ------
    ModelUnavailableError
        TerraTorch is not installed, or knows no such backbone.
    """
    import torch

    registry = needed("terratorch.registry", "terratorch").BACKBONE_REGISTRY
    name, arguments = str(card.options["backbone"]), dict(card.options.get("arguments", {}))
    if name not in registry:
        raise ModelUnavailableError(f"This release of TerraTorch has no backbone '{name}'.")
    seed = card.options.get("seed")
    if seed is None:
        arguments |= {"pretrained": True, "ckpt_path": str(file_of(card))}
    else:
        arguments |= {"pretrained": False}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed or 0))
            network = registry.build(name, **arguments)
    except (TypeError, KeyError, AssertionError) as error:
        raise CardInvalidError(
            f"'{name}' cannot be built with the arguments of the card of '{card.model_id}': {error}"
        ) from error
    except RuntimeError as error:
        raise WeightsInvalidError(
            f"The weights of '{card.model_id}' do not fit '{name}': {error}"
        ) from error
    where = device or "cpu"
    return TerraTorch(card, network.to(where).eval(), where)


def _year_and_day(date: np.datetime64) -> tuple[int, int]:
    year = date.astype("datetime64[Y]")
    day = (date.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(int)
    return int(year.astype(int)) + 1970, int(day)
