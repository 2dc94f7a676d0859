"""The hyperprior codec: a learned transform codec with an integer mean-scale hyperprior.

        x --block DCT, KLT a zone--> c --analysis network--> y --IntegerEntropyModel--> payload

The networks are in `hyperprior_transform`, the entropy model in `hyperprior_entropy`. Only
`analyse`, `synthesise` and the choice of z in `pack` run torch; `unpack` is NumPy and exact.

Sources: mean-scale hyperprior, Minnen, Balle and Toderici, NeurIPS 2018; channel slices, Minnen and
Singh, ICIP 2020; one model for all rates by gains, Cui et al., CVPR 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import cells, weights
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import (
    MAX_ELEMENTS,
    Basis,
    CodecCard,
    IntArray,
    Latents,
    quality_step,
    restored,
)
from openeo_nc.codecs.bitstream import Header
from openeo_nc.codecs.framing import FramedCodec, pixels_shape, stored_nodata
from openeo_nc.codecs.hyperprior_entropy import VALUE_LIMIT, Z_LIMIT, IntegerEntropyModel
from openeo_nc.codecs.hyperprior_quantiser import Quantised, Quantiser
from openeo_nc.codecs.spectral import (
    BLOCK,
    ZONES,
    SpectralBasis,
    block_dct,
    inverse_block_dct,
    stored_mean,
    zones,
)
from openeo_nc.errors import (
    BandMismatchError,
    DataTypeUnsupportedError,
    InvalidParameterError,
    InvalidValuesError,
    OpenEONCError,
    PayloadError,
)

if TYPE_CHECKING:
    from openeo_nc.codecs.hyperprior_inference import Networks


def load(card: CodecCard, *, device: str | None = None) -> HyperpriorCodec:
    """The codec of a card; reads and verifies its weights."""
    return HyperpriorCodec(card, weights.load(card), device)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnalysedLatents(Latents):
    """Latents of a tile just analysed, whose packing need not look for their tables again."""

    quantised: Quantised | None
    """What the quantiser found; of no use to latents with another y. None without quantiser."""


class HyperpriorCodec(FramedCodec):
    """One trained model, ready to use."""

    def __init__(
        self, card: CodecCard, arrays: dict[str, npt.NDArray[Any]], device: str | None
    ) -> None:
        super().__init__(card, coded_sections=2)
        self._bands = len(card.bands or ())
        self._device = device
        self._arrays = arrays
        self._card_basis = SpectralBasis.of_axes(
            arrays["card_mean"].astype(np.float64), list(arrays["card_axes"].astype(np.float64))
        )
        self._channels = channel_zones(arrays["transform.selected"])
        self._entropy = IntegerEntropyModel(
            {k.removeprefix("entropy."): v for k, v in arrays.items() if k.startswith("entropy.")}
        )

        self._quantiser = Quantiser(self._entropy)

    @cached_property
    def _networks(self) -> Networks:
        from openeo_nc.codecs.hyperprior_inference import Networks

        return Networks(self._arrays, self._device)

    def analyse(
        self,
        x: npt.NDArray[Any],
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        return self._analyse_all([x], quality, nodata, basis)[0]

    def reconstruct(self, latents: Latents) -> npt.NDArray[np.float64]:
        return self._reconstruct_all([latents])[0]

    def _check_side(self, header: Header, side: bytes) -> None:
        self._side_of(side, header.basis)

    def _code(self, latents: Latents) -> tuple[list[bytes], list[IntArray]]:
        quantised = latents.quantised if isinstance(latents, AnalysedLatents) else None
        if quantised is not None and quantised.y is latents.y:
            streams = self._entropy.streams(quantised.z, quantised.symbols)
            return list(streams), [latents.y, quantised.z]
        z = self._hyper_latent(latents.y)
        return list(self._entropy.encode(latents.y, z, latents.quality)), [latents.y, z]

    def _decode(self, header: Header, sections: list[bytes]) -> list[IntArray]:
        _, height, width = self._latent_shape(header.shape, PayloadError)
        z_stream, y_stream = sections
        return list(self._entropy.decode(z_stream, y_stream, header.quality, height, width))

    def embedding_step(self, quality: float) -> float:
        return quality_step(quality)

    def encode_batch(
        self,
        xs: Sequence[npt.NDArray[Any]],
        quality: float | None = None,
        *,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> list[bytes]:
        return [self.pack(v) for v in self._analyse_all(xs, quality, nodata, basis)]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[npt.NDArray[Any]]:
        latents = [self.unpack(p) for p in payloads]
        values = self._reconstruct_all(latents)
        return [restored(*pair) for pair in zip(latents, values, strict=True)]

    def symbols(self, latents: Latents) -> list[tuple[IntArray, npt.NDArray[np.uint8]]]:
        """What is coded of latents, and by which table, `(n,)` each, pass by pass; for training."""
        return self._entropy.symbols(latents.y, self._hyper_latent(latents.y), latents.quality)

    def _hyper_latent(self, y: IntArray) -> IntArray:
        return np.clip(self._networks.hyper_latent(y), -Z_LIMIT, Z_LIMIT)

    def _latent_shape(
        self, shape: tuple[int, ...], error: type[OpenEONCError]
    ) -> tuple[int, int, int]:
        if len(shape) != 3 or shape[0] != self._bands:
            raise (BandMismatchError if error is InvalidParameterError else error)(
                f"an array of shape {shape}; {self.card.codec_id} takes (bands, y, x) with the "
                f"{self._bands} bands {', '.join(self.card.bands or ())}"
            )
        return self._entropy.latents, -(-shape[1] // BLOCK), -(-shape[2] // BLOCK)

    def _analyse_all(
        self,
        xs: Sequence[npt.NDArray[Any]],
        quality: float | None,
        nodata: float | None,
        basis: Basis,
    ) -> list[Latents]:
        level = self._checked_quality(quality)
        if basis not in get_args(Basis):
            raise InvalidParameterError(f"basis {basis!r}: expected one of {get_args(Basis)}")
        for x in xs:
            self._check(x)
        masks = [missing.find(x, nodata) for x in xs]
        repeats = [_repeats(x, m, basis) for x, m in zip(xs, masks, strict=True)]
        tiles = [
            None if m is not None and m.all() else self._components(x, m, r, basis)
            for x, m, r in zip(xs, masks, repeats, strict=True)
        ]
        coded = self._networks.analyse([t[1] for t in tiles if t is not None], level)
        latents: list[Latents] = []
        for x, mask, cell_sides, tile in zip(xs, masks, repeats, tiles, strict=True):
            y = np.zeros(self._latent_shape(x.shape, InvalidParameterError), np.int32)
            quantised = None
            if tile is not None:
                y, quantised = self._rounded(next(coded), level, basis)
            latents.append(
                AnalysedLatents(
                    y=y,
                    quantised=quantised,
                    quality=level,
                    shape=pixels_shape(x),
                    dtype=x.dtype,
                    basis=basis,
                    side=b""
                    if tile is None or basis == "card"
                    else cells.to_bytes(cell_sides) + self._trimmed(tile[0], y).to_bytes(),
                    mask=mask,
                    nodata=stored_nodata(nodata),
                )
            )
        return latents

    def _reconstruct_all(self, all_latents: Sequence[Latents]) -> list[npt.NDArray[np.float64]]:
        coded = self._networks.synthesise([(v.y, v.quality) for v in all_latents if not v.empty])
        pixels = []
        for v in all_latents:
            values = np.zeros(v.shape)
            if not v.empty:
                basis, repeats = self._side_of(v.side, v.basis)
                decoded = inverse_block_dct(basis.inverse(next(coded)))
                values = decoded[:, : v.shape[1], : v.shape[2]] + basis.mean[:, None, None]
                values = np.stack(
                    [cells.settle(b, n) for b, n in zip(values, repeats, strict=True)]
                )
            pixels.append(values)
        return pixels

    def _components(
        self,
        x: npt.NDArray[Any],
        mask: missing.Mask | None,
        repeats: list[int],
        basis: Basis,
    ) -> tuple[SpectralBasis, npt.NDArray[np.float32]]:
        """Basis, and components `(bands, 64, y, x)` of the tile, repeated to whole blocks."""
        filled = missing.fill(x.astype(np.float64), mask)
        filled = np.stack([cells.smooth(b, n) for b, n in zip(filled, repeats, strict=True)])
        pads = [(-n) % BLOCK for n in x.shape[1:]]
        padded = np.pad(filled, ((0, 0), (0, pads[0]), (0, pads[1])), mode="edge")
        if basis == "card":
            spectral = self._card_basis
            c = block_dct(padded - spectral.mean[:, None, None])
        else:
            valid = np.ones(x.shape[1:], bool) if mask is None else np.asarray(~mask.any(axis=0))
            seen = filled[:, valid] if valid.any() else filled.reshape(len(filled), -1)
            mean = stored_mean(seen.mean(axis=1))
            c = block_dct(padded - mean[:, None, None])
            spectral = SpectralBasis.of_tile(mean, c, _counted(valid, pads), self._card_basis)
        with np.errstate(over="ignore"):  # values that leave float32 are refused as latents
            return spectral, spectral.forward(c).astype(np.float32)

    def _rounded(
        self, y: npt.NDArray[np.float64], quality: float, basis: Basis
    ) -> tuple[IntArray, Quantised | None]:
        """Embeddings are rounded to the nearest, so that equal patches have equal vectors."""
        if not (np.abs(y) < VALUE_LIMIT).all():  # NaN too: of sums that left float32
            raise InvalidValuesError(
                f"the tile holds values too large to be coded: a latent beyond {VALUE_LIMIT}; expected "
                f"{self.card.units}"
            )
        nearest = np.rint(y).astype(np.int32)
        if basis == "card":
            return nearest, None
        z = self._hyper_latent(nearest)
        quantised = self._quantiser.quantise(y, z, quality, self._networks.gain(quality))
        return quantised.y, quantised

    def _trimmed(self, basis: SpectralBasis, y: IntArray) -> SpectralBasis:
        """The basis without the columns of components that no latent of their zone needs."""
        zone, component = self._channels
        used = y.any(axis=(1, 2))
        needed = [int(component[used & (zone == z)].max(initial=-1)) + 1 for z in range(ZONES)]
        return basis.trimmed(needed)

    def _side_of(self, side: bytes, basis: Basis) -> tuple[SpectralBasis, list[int]]:
        """Basis and sides of cells of latents: their own, or the card's, which needs no bytes."""
        bands = self._bands
        if basis == "tile":
            start = -(-bands // 4)
            return SpectralBasis.from_bytes(side[start:], bands), cells.from_bytes(side, bands)
        if side:
            raise PayloadError(f"{len(side)} bytes of spectral basis beside the card's own")
        return self._card_basis, [1] * bands

    def _check(self, x: npt.NDArray[Any]) -> None:
        self._latent_shape(x.shape, InvalidParameterError)
        if x.dtype.name not in self.card.dtypes:
            raise DataTypeUnsupportedError(
                f"dtype {x.dtype}; {self.card.codec_id} takes {', '.join(self.card.dtypes)}"
            )
        if x.size == 0 or x.size > MAX_ELEMENTS:
            raise InvalidParameterError(
                f"an array of shape {x.shape}: one payload holds 1 to {MAX_ELEMENTS} values"
            )


def channel_zones(selected: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Zone and component of every latent channel, `(latents,)` each."""
    component, frequency = np.divmod(selected, BLOCK**2)
    return zones()[frequency], component


def _repeats(x: npt.NDArray[Any], mask: missing.Mask | None, basis: Basis) -> list[int]:
    """Side of the cells of every band; cells need a mask of the same cells."""
    if basis == "card":
        return [1] * len(x)
    if mask is None:
        return [cells.repeat_of(band) for band in x]
    clean = np.where(mask, 0, x)
    return [
        math.gcd(cells.repeat_of(band), cells.repeat_of(gaps))
        for band, gaps in zip(clean, mask, strict=True)
    ]


def _counted(valid: npt.NDArray[np.bool_], pads: list[int]) -> npt.NDArray[np.bool_] | None:
    """`(y, x)`: the blocks whose statistics count, those with a valid pixel; None for all."""
    if valid.all() or not valid.any():
        return None
    padded = np.pad(valid, ((0, pads[0]), (0, pads[1])))
    height, width = padded.shape
    blocks = padded.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(blocks.any(axis=(1, 3)))
