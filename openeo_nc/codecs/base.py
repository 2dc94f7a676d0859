"""The codec contract: what a codec card says, what latents are, and the four steps every codec has.

        x --analyse--> Latents --pack--> payload (bytes)
        x <-synthesise- Latents <-unpack- payload

`encode` is pack after analyse and `decode` is synthesise after unpack. The integers in `Latents`
are what the bitstream guarantees: a payload unpacks to the same integers on every device, batch
size and thread count. Pixels come from them within the card's `decode_tolerance`.

A codec sees NumPy arrays of one tile, `(bands, y, x)`, and knows nothing of cubes, dates or CRS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Basis = Literal["tile", "card"]
IntArray = npt.NDArray[np.int32]
MAX_ELEMENTS = 1 << 27
"""Largest bands * y * x of one payload; bounds what a hostile header can make us allocate."""


def quality_step(quality: float, peak: float = 10000.0) -> float:
    """Quantiser step at a quality, in the units of `peak`: 1600 of 10000 at 1, 100 at 8."""
    return float(peak * 0.16 * 2.0 ** (-(quality - 1) * 4 / 7))


@dataclass(frozen=True, kw_only=True)
class CodecCard:
    """What a codec is and what it takes; one JSON file in cards/ each."""

    codec_id: str
    """Public name, e.g. `s2l2a-hyperprior`; also the file name of the card."""
    title: str
    """One line for listings."""
    description: str
    """What it codes well, what it does not."""
    architecture: str
    """Name of the architecture module and registered class, e.g. `hyperprior`."""
    version: str
    """Version of the card and weights, semantic."""
    bands: tuple[str, ...] | None
    """Band names in the order the codec takes them; None takes any number of any bands."""
    dtypes: tuple[str, ...]
    """NumPy dtype names that encode accepts; decode returns the same."""
    units: str
    """What the numbers mean, e.g. `reflectance x 10000, offset removed`."""
    scale: float | None
    """Physical value = number * scale (Sentinel-2: 0.0001); None where any unit goes."""
    peak: float | None
    """Peak for PSNR in card units (Sentinel-2: 10000); None where the data decide."""
    tile: int
    """Side of a grid tile in pixels, used by cubes/."""
    stride: int
    """Pixels a latent cell covers in y and in x."""
    latent_channels: int | None
    """Channels of the latents; None where they depend on the input's bands."""
    embedding: bool
    """True if latents of `basis="card"` are comparable between tiles and may serve as embeddings."""
    quality: tuple[float, float, float]
    """Lowest, highest and default quality."""
    resolution: float | None
    """Pixel size in m that the codec was made for; None for any."""
    weights: str | None
    """File name in weights/ (safetensors), or None for a codec without weights."""
    weights_sha256: str | None
    """SHA-256 of that file, hex; its first 8 bytes stand in every payload."""
    decode_tolerance: float
    """Largest difference in card units between two devices' decodes of one payload, measured."""
    licence: str
    """SPDX id of card and weights."""
    attributions: tuple[str, ...] = ()
    """Attributions that the training data ask for."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Data, split, steps, loss curve, seed, command, machine; bytes and PSNR a place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Latents:
    """The integer form of one tile, and the side data that goes with it."""

    y: IntArray
    """`(channels, ceil(height / stride), ceil(width / stride))` int32."""
    quality: float
    """The quality it was quantised at, as the payload stores it (a multiple of 1/256)."""
    shape: tuple[int, int, int]
    """`(bands, height, width)` of the pixels."""
    dtype: np.dtype[Any]
    """dtype of the pixels."""
    basis: Basis = "tile"
    """Whether the spectral basis is the tile's own (in `side`) or the card's."""
    side: bytes = b""
    """Side data of the architecture, e.g. the quantised basis; opaque outside it."""
    mask: npt.NDArray[np.bool_] | None = None
    """`(bands, height, width)`, True where there is no data; None if all is valid."""
    nodata: float | None = None
    """Value that masked pixels get on decode; None with a mask means NaN (float dtypes only)."""

    @property
    def empty(self) -> bool:
        """True if every pixel is masked; the network is skipped and `y` is all zero."""
        return self.mask is not None and bool(self.mask.all())


class Codec(ABC):
    """One codec, ready to use: card plus loaded weights, if any. Thread-safe once constructed."""

    card: CodecCard

    @abstractmethod
    def analyse(
        self,
        x: npt.NDArray[Any],
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        """Transform and quantise one tile.

        Parameters
        ----------
        x
            `(bands, y, x)`, a dtype of the card, in the card's units, any height and width.
            NaN is no data in float arrays.
        quality
            Continuous level in the card's range, default the card's. Higher is better and larger.
        nodata
            Value that marks no data; kept exactly.
        basis
            `"tile"` codes smallest; `"card"` gives latents that compare between tiles.

        Raises
        ------
        BandMismatchError, DataTypeUnsupportedError, InvalidParameterError, InvalidValuesError
        """

    @abstractmethod
    def synthesise(self, latents: Latents) -> npt.NDArray[Any]:
        """Pixels `(bands, y, x)` of `latents.dtype` from latents."""

    @abstractmethod
    def pack(self, latents: Latents) -> bytes:
        """The bitstream of latents: header, side data, mask, entropy-coded integers, checksums."""

    @abstractmethod
    def unpack(self, payload: bytes) -> Latents:
        """Latents of a payload; the integers are those that `pack` was given.

        Raises
        ------
        PayloadError, PayloadVersionError, PayloadModelError
        """

    @abstractmethod
    def embedding_step(self, quality: float) -> float:
        """Lattice step of embeddings at a quality: embedding = step * y, float32."""

    def encode(
        self,
        x: npt.NDArray[Any],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> bytes:
        """One tile to one payload."""
        return self.pack(self.analyse(x, quality=quality, nodata=nodata, basis=basis))

    def decode(self, payload: bytes) -> npt.NDArray[Any]:
        """One payload to one tile, same shape and dtype as was encoded."""
        return self.synthesise(self.unpack(payload))

    def encode_batch(
        self,
        xs: Sequence[npt.NDArray[Any]],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> list[bytes]:
        """Payloads of several tiles; learned codecs share network calls between tiles of a shape."""
        return [self.encode(x, quality, nodata=nodata, basis=basis) for x in xs]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[npt.NDArray[Any]]:
        """Tiles of several payloads."""
        return [self.decode(p) for p in payloads]
