"""The codec contract: what a codec card says, what every codec does, and the steps of one with latents.

        x --encode--> payload (bytes) --decode--> x_hat                     Codec

        x --analyse--> Latents --pack--> payload (bytes)                    LatentCodec
        x_hat <-restore- values <-reconstruct- Latents <-unpack- payload

Classical codecs are a `Codec` and nothing more. The integers in `Latents` are what the bitstream
guarantees: a payload unpacks to the same integers on every device, batch size and thread count.
Pixels come from them within the card's `decode_tolerance`.

A codec sees NumPy arrays of one tile, `(bands, y, x)`, and knows nothing of cubes, dates or CRS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import nodata as missing
from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from openeo_nc.codecs.residual import Residual

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
    rank: int = 0
    """Of several codecs for the same bands, `auto` takes the one of the highest rank."""
    attributions: tuple[str, ...] = ()
    """Attributions that the training data ask for."""
    guard: str | None = None
    """File name in weights/ of what scores a tile's distance from the training data, or None."""
    guard_sha256: str | None = None
    """SHA-256 of that file, hex."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Data, split, steps, loss curve, seed, command, machine; bytes and PSNR a place."""

    @property
    def name(self) -> str:
        """The id, as messages about weights have it."""
        return self.codec_id


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
    residual: Residual | None = None
    """What a bounded payload adds to the reconstruction; None without a bound."""
    dates: int = 1
    """Dates whose bands stand one after the other in `shape`; 1 for a tile of one date."""

    @property
    def empty(self) -> bool:
        """True if every pixel is masked; the network is skipped and `y` is all zero."""
        return self.mask is not None and bool(self.mask.all())


class Codec(ABC):
    """One codec, ready to use: card plus loaded weights, if any. Thread-safe once constructed."""

    card: CodecCard
    keeps_bounds: bool = False
    """Whether `encode_bounded` is there."""
    joins_dates: bool = False
    """Whether tiles of several dates, one above the other as more bands, may be one payload."""

    @abstractmethod
    def encode(
        self,
        x: npt.NDArray[Any],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> bytes:
        """One tile to one payload.

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
            `"tile"` codes smallest; `"card"` gives latents that compare between tiles, where the
            codec has any.

        Raises
        ------
        BandMismatchError, DataTypeUnsupportedError, InvalidParameterError, InvalidValuesError
        """

    @abstractmethod
    def decode(self, payload: bytes) -> npt.NDArray[Any]:
        """One payload to one tile, same shape and dtype as was encoded.

        Raises
        ------
        PayloadError, PayloadVersionError, PayloadModelError
        """

    def encode_bounded(
        self, x: npt.NDArray[Any], max_error: Sequence[float], *, nodata: float | None = None
    ) -> bytes:
        """One tile to one payload that decodes within `max_error` of every valid pixel.

        Parameters
        ----------
        max_error
            Largest absolute error, one a band, in the card's units; 0 is lossless.

        Raises
        ------
        InvalidParameterError
            The codec keeps no bounds, or not this one for such pixels.
        """
        raise InvalidParameterError(f"the codec '{self.card.codec_id}' keeps no bound on its error")

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


class LatentCodec(Codec):
    """A codec whose payloads hold integers that can be had without the pixels."""

    keeps_bounds = True

    @abstractmethod
    def analyse(
        self,
        x: npt.NDArray[Any],
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        """Transform and quantise one tile; parameters and errors are those of `encode`."""

    @abstractmethod
    def reconstruct(self, latents: Latents) -> npt.NDArray[np.float64]:
        """Values `(bands, y, x)` of latents before rounding, residual and no data."""

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

    def channels(self, payload: bytes) -> int:
        """Channels of a payload's latents; errors are those of `unpack`."""
        return len(self.unpack(payload).y)

    @abstractmethod
    def embedding_step(self, quality: float) -> float:
        """Lattice step of embeddings at a quality: embedding = step * y, float32."""

    def synthesise(self, latents: Latents) -> npt.NDArray[Any]:
        """Pixels `(bands, y, x)` of `latents.dtype` from latents."""
        return restored(latents, self.reconstruct(latents))

    def encode(
        self,
        x: npt.NDArray[Any],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> bytes:
        return self.pack(self.analyse(x, quality=quality, nodata=nodata, basis=basis))

    def decode(self, payload: bytes) -> npt.NDArray[Any]:
        return self.synthesise(self.unpack(payload))

    def encode_bounded(
        self, x: npt.NDArray[Any], max_error: Sequence[float], *, nodata: float | None = None
    ) -> bytes:
        from openeo_nc.codecs import bounded  # which searches among steps of this class

        return bounded.encode(self, x, max_error, nodata=nodata)


def with_latents(codec: Codec) -> LatentCodec:
    """The codec, of which latents are wanted; InvalidParameterError if it has none."""
    if not isinstance(codec, LatentCodec):
        raise InvalidParameterError(
            f"the codec '{codec.card.codec_id}' has no latents; 'openeo-nc codecs' lists which have"
        )
    return codec


def restored(latents: Latents, values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Pixels of reconstructed values: residual added, rounded, no data put back."""
    if latents.residual is not None:
        values = latents.residual.added_to(values)
    return missing.restore(values, latents.dtype, latents.mask, latents.nodata)
