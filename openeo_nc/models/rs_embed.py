"""Models of `rs-embed`, which wraps some twenty foundation models; fed with our pixels, not its own.

Extra `rs-embed`, Python >= 3.12. Options of a card:

    model        name in its catalogue, e.g. prithvi
    model_config what the model takes besides

Its embedders take arrays `(bands, y, x)` in a provider's raw units, Sentinel-2's being reflectance x
10000, and normalise them themselves; so a card of one has means as they are, and deviations of 1. They
take date and place too, which its `conditions` therefore name. Some ask their provider whether it is
ready even when they get pixels, which for Earth Engine means to log in: ours is always ready, and
fetches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import CardInvalidError, ModelUnavailableError
from openeo_nc.models.base import EmbeddingModel, ModelCard
from openeo_nc.models.foreign import checked, needed, vectors

_ANYWHERE = (0.0, 0.0)
_PROVIDER = "openeo-nc"


class RsEmbed(EmbeddingModel):
    """An embedder of rs-embed."""

    def __init__(self, card: ModelCard, library: Any, embedder: Any, device: str) -> None:
        self.card = card
        self._library = library
        self._embedder = embedder
        self._device = device

    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        checked(x, self.card)
        mean = np.asarray(self.card.mean, np.float32)[:, None, None]
        pixels = np.where(np.isnan(x), mean, x).astype(np.float32)
        shape = (x.shape[-2], x.shape[-1])
        pooled = self.card.pooling != "none"
        output = self._library.OutputSpec.pooled() if pooled else self._library.OutputSpec.grid()
        config = self.card.options.get("model_config")
        found = []
        for n, chip in enumerate(pixels):
            embedding = self._embedder.get_embedding(
                spatial=self._spatial(places[n] if places else None, shape),
                temporal=self._temporal(times[n] if times else None),
                sensor=None,
                output=output,
                backend=_PROVIDER,
                device=self._device,
                input_chw=chip,
                **({} if config is None else {"model_config": dict(config)}),
            )
            found.append(np.asarray(embedding.data, np.float32))
        return vectors(np.stack(found), self.card, shape)

    def _spatial(self, place: tuple[float, float] | None, shape: tuple[int, int]) -> Any:
        longitude, latitude = place or _ANYWHERE
        reach = max(shape) / 2 * (self.card.resolution or 1.0)
        return self._library.PointBuffer(lon=longitude, lat=latitude, buffer_m=reach)

    def _temporal(self, dates: tuple[np.datetime64, ...] | None) -> Any:
        if dates is None:
            return None
        day = dates[0].astype("datetime64[D]")
        return self._library.TemporalSpec.range(str(day), str(day + 1))


def load(card: ModelCard, *, device: str | None = None) -> RsEmbed:
    """The model of a card; rs-embed fetches weights by itself when the first chip comes.

    Raises
    ------
    ModelUnavailableError
        rs-embed is not installed, or has no such model.
    CardInvalidError
        The card does not name the conditions that its models take.
    """
    if set(card.conditions) != {"time", "place"}:
        raise CardInvalidError(
            f"{card.model_id}: models of rs-embed take date and place; the card says conditions "
            f"{list(card.conditions)}, expected ['time', 'place']."
        )
    library = needed("rs_embed", "rs-embed")
    registry = needed("rs_embed.core.registry", "rs-embed")
    providers = needed("rs_embed.providers", "rs-embed")
    providers.register_provider(_PROVIDER, _pixels_only(providers.ProviderBase))
    name = str(card.options["model"])
    try:
        embedder = registry.get_embedder_cls(name)()
    except Exception as error:
        raise ModelUnavailableError(f"rs-embed has no model '{name}': {error}") from error
    return RsEmbed(card, library, embedder, device or "cpu")


def _pixels_only(base: type) -> type:
    """A provider that is ready and has nothing: whatever else it is asked for raises in its base."""

    def ensure_ready(self: Any) -> None:
        pass

    return type("PixelsOnly", (base,), {"name": _PROVIDER, "ensure_ready": ensure_ready})
