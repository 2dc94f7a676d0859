"""The restoration codec: the integers of `klt-dct`, and a learned network behind its decoder.

        x --klt-dct--> integers --> payload
        x_hat <-- values + share * step * network(values / step) <-- values <-- integers

The bitstream is that of `klt-dct`, with four bits a band before its side data: how much of the
network's correction helps that band of the tile, in eighths; zero costs no network. Encoding finds
them by running the network: on all of a tile of less than LARGE pixels a side, so that even one unlike
any that the network was trained on decodes no worse than without it; on every other block of a larger
one, since the network takes time, so that its other blocks may lose what these gain. The network sees
what quantisation left of a tile and predicts, in quantiser steps, what it took away: blocking, ringing, fine texture
that other bands still show. A difference between two devices' networks changes pixels by less than
rounding does, and no integer.

Source of the idea: in-loop restoration of hybrid video codecs; residual learning as in Zhang et al.,
Beyond a Gaussian Denoiser, IEEE TIP 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import cells, weights
from openeo_nc.codecs.base import Basis, CodecCard, Latents, quality_step, restored
from openeo_nc.codecs.klt_dct import KltDctCodec
from openeo_nc.codecs.klt_dct_context import N
from openeo_nc.codecs.klt_dct_side import Side
from openeo_nc.errors import BandMismatchError, InvalidParameterError, OpenEONCError, PayloadError

if TYPE_CHECKING:
    from openeo_nc.codecs.restoration_network import Restorer


UNIT = 8
"""Of the network's correction, what a share of 1 is."""
HIGHEST = 15
LARGE = 336
"""Pixels a side from which every other block of a tile stands for it."""
BLOCK = 4 * N
"""Side in pixels of these blocks, about."""
TINY = 1e-12


def load(card: CodecCard, *, device: str | None = None) -> RestorationCodec:
    """The codec of a card; reads and verifies its weights."""
    return RestorationCodec(card, weights.load(card), device)


class RestorationCodec(KltDctCodec):
    """klt-dct for the bands of the card, with a network that restores what it decodes."""

    def __init__(
        self, card: CodecCard, arrays: dict[str, npt.NDArray[Any]], device: str | None
    ) -> None:
        super().__init__(card, arrays)
        self._bands = len(card.bands or ())
        self._top = arrays["restoration_top"].item()
        self._arrays = arrays
        self._device = device

    @cached_property
    def _restorer(self) -> Restorer:
        from openeo_nc.codecs.restoration_network import Restorer

        return Restorer(self._arrays, self._device)

    def analyse(
        self,
        x: npt.NDArray[Any],
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        plain = super().analyse(x, quality=quality, nodata=nodata, basis=basis)
        if plain.empty:
            return plain
        whole = replace(plain, side=_packed(np.full(len(x), UNIT)) + plain.side)
        if not self._is_restored(whole):
            return replace(plain, side=_packed(np.zeros(len(x))) + plain.side)
        values = super().reconstruct(whole)
        parts = [np.s_[:, rows, columns] for rows, columns in _judged(*x.shape[1:])]
        steps = in_steps(values, plain.quality)
        found = self._corrections([(whole, steps[part]) for part in parts])
        gained, energy = np.zeros(len(x)), np.full(len(x), TINY)
        for part, correction in zip(parts, found, strict=True):
            error = x[part] - values[part]
            if plain.mask is not None:
                error, correction = (np.where(plain.mask[part], 0, v) for v in (error, correction))
            gained += (error * correction).sum(axis=(1, 2))
            energy += (correction**2).sum(axis=(1, 2))
        shares = np.rint(gained / energy * UNIT).clip(0, HIGHEST)
        return replace(plain, side=_packed(shares) + plain.side)

    def pack(self, latents: Latents) -> bytes:
        self._check_dates(latents, BandMismatchError)
        return super().pack(latents)

    def unpack(self, payload: bytes) -> Latents:
        latents = super().unpack(payload)
        self._check_dates(latents, PayloadError)
        return latents

    def reconstruct(self, latents: Latents) -> npt.NDArray[np.float64]:
        return self._reconstruct_all([latents])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[npt.NDArray[Any]]:
        latents = [self.unpack(p) for p in payloads]
        values = self._reconstruct_all(latents)
        return [restored(*pair) for pair in zip(latents, values, strict=True)]

    def _reconstruct_all(self, all_latents: Sequence[Latents]) -> list[npt.NDArray[np.float64]]:
        coded = [super(RestorationCodec, self).reconstruct(v) for v in all_latents]
        corrections = self._corrections(
            [
                (latents, in_steps(values, latents.quality))
                for latents, values in zip(all_latents, coded, strict=True)
                if self._is_restored(latents)
            ]
        )
        for latents, values in zip(all_latents, coded, strict=True):
            if self._is_restored(latents):
                values += _shares(latents.side, len(values))[:, None, None] * next(corrections)
        return coded

    def _corrections(
        self, tiles: Sequence[tuple[Latents, npt.NDArray[np.float32]]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """What the network adds to tiles `(bands, y, x)`, or parts of them, given in steps."""
        found = self._restorer.corrections(
            [
                (date, latents.quality)
                for latents, v in tiles
                for date in v.reshape(-1, self._bands, *v.shape[1:])
            ]
        )
        for latents, v in tiles:
            side = self.side(latents)
            steps = np.concatenate([next(found) for _ in range(len(v) // self._bands)])
            settled = [
                cells.settle(band, n) for band, n in zip(steps, side.repeats.tolist(), strict=True)
            ]
            yield side.step(latents.quality) * np.stack(settled)

    def _side(self, data: bytes, bands: int, dtype: np.dtype[Any]) -> Side:
        return super()._side(data[-(-bands // 2) :], bands, dtype)

    def _check_dates(self, latents: Latents, error: type[OpenEONCError]) -> None:
        if latents.shape[0] != self._bands * latents.dates:
            raise error(
                f"{latents.shape[0]} bands of {latents.dates} date(s); {self.card.codec_id} takes the "
                f"{self._bands} bands {', '.join(self.card.bands or ())} of each"
            )

    def _is_restored(self, latents: Latents) -> bool:
        """Above the qualities that the network was trained for there is nothing to gain."""
        if latents.empty or latents.quality > self._top:
            return False
        return bool(_shares(latents.side, latents.shape[0]).any())

    def _latent_shape(
        self, shape: tuple[int, ...], error: type[OpenEONCError]
    ) -> tuple[int, int, int]:
        if len(shape) != 3 or shape[0] == 0 or shape[0] % self._bands:
            raise (BandMismatchError if error is InvalidParameterError else error)(
                f"an array of shape {shape}; {self.card.codec_id} takes (bands, y, x) with the "
                f"{self._bands} bands {', '.join(self.card.bands or ())}"
            )
        return super()._latent_shape(shape, error)


def in_steps(values: npt.NDArray[np.float64], quality: float) -> npt.NDArray[np.float32]:
    """`(bands, y, x)` in quantiser steps about the mean of each band."""
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / quality_step(quality), np.float32)


def _judged(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the parts that shares are found on: all, of a large tile every other block."""
    if min(height, width) < LARGE:
        return [(slice(None), slice(None))]
    rows, columns = _blocks(height), _blocks(width)
    return [(a, b) for i, a in enumerate(rows) for j, b in enumerate(columns) if (i + j) % 2 == 0]


def _blocks(size: int) -> list[slice]:
    """Slices of a dimension, BLOCK long; the last may be shorter, or a little longer."""
    starts = [*range(0, size - N, BLOCK)]
    return [slice(*ends) for ends in pairwise([*starts, size])]


def _packed(shares: npt.NDArray[Any]) -> bytes:
    """Four bits a band, the first of two in the low ones."""
    pairs = np.append(shares, 0)[: len(shares) + len(shares) % 2].astype(np.uint8).reshape(-1, 2)
    return (pairs[:, 0] | pairs[:, 1] << 4).tobytes()


def _shares(side: bytes, bands: int) -> npt.NDArray[np.float64]:
    """Factors of the correction, `(bands,)`, from the first bytes of side data."""
    coded = np.frombuffer(side, np.uint8, -(-bands // 2))
    return np.stack([coded & HIGHEST, coded >> 4], axis=1).reshape(-1)[:bands] / UNIT
