"""The contract of embedding models: what a card says of one, and what it does with chips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pooling = Literal["none", "mean", "cls"]
Condition = Literal["time", "place"]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that whoever cuts a cube into chips needs to know of a model; the JSON in `cards/`."""

    model_id: str
    """Lower case letters, digits and `-`; the file's name."""
    title: str
    """A line."""
    description: str
    """What it was made for, and what not."""
    architecture: str
    """Module of this package with `load(card, device=...)`."""
    version: str
    """Of the weights."""
    bands: tuple[str, ...]
    """Names of the bands, in the order that the network takes them."""
    optional: tuple[str, ...] = ()
    """Bands of these that a cube may lack; they come as NaN."""
    units: str
    """What the numbers mean, e.g. `reflectance x 10000, offset removed`."""
    scale: float | None
    """Physical value = number * scale (Sentinel-2: 0.0001); None where any unit goes."""
    mean: tuple[float, ...]
    """Of each band, subtracted first, in these units."""
    std: tuple[float, ...]
    """Of each band, divided by then."""
    resolution: float | None
    """Pixel size in m that it was made for; None for any."""
    dates: int = 1
    """Dates that a chip has."""
    dim: int
    """Values of a vector."""
    stride: int
    """Pixels a side of the patch that a vector stands for."""
    chip: int | None
    """Pixels a side that the network takes; None for any multiple of the stride."""
    margin: int = 0
    """Pixels around a patch that its vector depends on; chips overlap by as many on each side. A
    network that looks at its whole chip has no such number: here it is what chips share, and
    vectors of several chips are blended."""
    pooling: Pooling = "none"
    """`none` gives a vector a patch; `mean` and `cls` give one a chip, which may be
    larger than the stride and is then around its middle."""
    unit_norm: bool = False
    """Whether vectors have length 1."""
    conditions: tuple[Condition, ...] = ()
    """What the network takes besides pixels: the date, and where the chip lies."""
    weights: str | None = None
    """File name in `weights/` (safetensors), or None."""
    weights_sha256: str | None = None
    """SHA-256 of the weights, hex."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where weights come from that do not ship: e.g. `repo`, `revision` and `file` at Hugging Face."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the architecture wants to know besides."""
    licence: str
    """SPDX id of card and weights."""
    attributions: tuple[str, ...] = ()
    """Attributions that the training data ask for."""
    citation: str = ""
    """The paper."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Data, split, steps, curve, seed, command, machine."""

    @property
    def name(self) -> str:
        """The id, as messages about weights have it."""
        return self.model_id


class EmbeddingModel(ABC):
    """One model, ready to use: card plus loaded weights. Thread-safe once constructed."""

    card: ModelCard

    @abstractmethod
    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Vectors of chips.

        Parameters
        ----------
        x
            `(chips, bands, y, x)`, or `(chips, dates, bands, y, x)` where the card has several, in
            the card's units and order of bands; y and x are the card's chip or any multiples of its
            stride. NaN is no data.
        times, places
            Moments of the dates, and longitude and latitude of the middle, of each chip, for
            networks that take them; None where unknown.

        Returns
        -------
        `(chips, dim, y / stride, x / stride)` float32; with pooling the last two are 1.

        Raises
        ------
        BandMismatchError, InvalidParameterError
        """


def normalised(x: npt.NDArray[np.float32], card: ModelCard) -> npt.NDArray[np.float32]:
    """`(..., bands, y, x)` less the card's means, by its deviations; NaN stays."""
    mean = np.asarray(card.mean, np.float32)[:, None, None]
    std = np.asarray(card.std, np.float32)[:, None, None]
    return np.asarray((x - mean) / std, np.float32)
