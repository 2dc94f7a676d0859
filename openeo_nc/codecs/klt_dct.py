"""The universal codec: spectral KLT, block DCT, context-coded integers; NumPy only, any bands.

        x --DCT of cells, KLT of each zone--> components --quantise--> y --contexts, ANS--> payload

`klt_dct_analysis` gives the components by way of `klt_dct_transform`, `klt_dct_quantiser` chooses the
integers, `klt_dct_context` the tables that code them, and `klt_dct_side` holds the rest.
"""

from __future__ import annotations

import struct
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import entropy, weights
from openeo_nc.codecs import klt_dct_quantiser as quantiser
from openeo_nc.codecs import klt_dct_transform as transform
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import MAX_ELEMENTS, Basis, CodecCard, Latents, quality_step
from openeo_nc.codecs.bitstream import Header
from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.framing import FramedCodec, pixels_shape, stored_nodata
from openeo_nc.codecs.klt_dct_analysis import decompose
from openeo_nc.codecs.klt_dct_context import (
    Box,
    ContextModel,
    IndexArray,
    IntArray,
    N,
    boxes,
    walk,
)
from openeo_nc.codecs.klt_dct_side import CENTROID_UNIT, MEAN_UNIT, Side, fixed_peak
from openeo_nc.errors import (
    DataTypeUnsupportedError,
    InvalidParameterError,
    OpenEONCError,
    PayloadError,
    WeightsInvalidError,
)

MAX_BANDS = 2048
"""Most bands of a tile; the spectral KLT of more would not be worth its time."""


def load(card: CodecCard, *, device: str | None = None) -> KltDctCodec:
    """The codec of a card; `device` is of no consequence, all is NumPy."""
    return KltDctCodec(card, weights.load(card))


class KltDctCodec(FramedCodec):
    """The codec with its tables, ready to use."""

    joins_dates = True

    def __init__(self, card: CodecCard, arrays: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__(card, coded_sections=1)
        self._model = ContextModel.from_weights(arrays)
        try:
            self._basis_tables = Tables(
                freq=arrays["basis_freq"].astype(np.uint32),
                offset=arrays["basis_offset"].astype(np.int32),
            )
        except KeyError as error:
            raise WeightsInvalidError(f"weights of klt-dct lack {error}") from error

    def analyse(
        self,
        x: npt.NDArray[Any],
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        level = self._checked_quality(quality)
        self._check(x, nodata, basis)
        mask = missing.find(x, nodata)
        side, y = b"", np.zeros(self._latent_shape(x.shape, InvalidParameterError), np.int32)
        if mask is None or not mask.all():
            tile = decompose(x, mask, level, self._peak(x.dtype))
            integers = quantiser.quantise(self._model, tile.components, tile.valid)
            side = tile.side(integers).to_bytes(self._peak(x.dtype), self._basis_tables)
            y = self._latents_of(integers, y.shape)
        return Latents(
            y=y,
            quality=level,
            shape=pixels_shape(x),
            dtype=x.dtype,
            side=side,
            mask=mask,
            nodata=stored_nodata(nodata),
        )

    def reconstruct(self, latents: Latents) -> npt.NDArray[np.float64]:
        values = np.zeros(latents.shape)
        if not latents.empty:
            side = self.side(latents)
            centres = side.centroids.astype(np.float64) * CENTROID_UNIT
            components = quantiser.dequantise(_kept(latents), centres)
            coefficients = transform.spectral_inverse(components, side.axes)
            step = side.step(latents.quality)
            for i, repeat in enumerate(side.repeats.tolist()):
                pixels = transform.inverse(coefficients[i], repeat, latents.shape[1:])
                values[i] = pixels
                values[i] *= step
                values[i] += side.origin + float(side.mean[i]) * MEAN_UNIT * step
        return values

    def side(self, latents: Latents) -> Side:
        """Side data of latents that are not empty."""
        return self._side(latents.side, latents.shape[0], latents.dtype)

    def _latent_shape(
        self, shape: tuple[int, ...], error: type[OpenEONCError]
    ) -> tuple[int, int, int]:
        rows, columns = transform.blocks_of(shape[1], shape[2])
        channels = shape[0] * N * N
        if shape[0] > MAX_BANDS or channels * rows * columns > 2 * MAX_ELEMENTS:
            raise error(
                f"a tile of shape {shape} is too large for klt-dct: at most {MAX_BANDS} bands and, "
                f"in whole blocks of {N} x {N} pixels, {2 * MAX_ELEMENTS} values"
            )
        return channels, rows, columns

    def _check_side(self, header: Header, side: bytes) -> None:
        self._side(side, header.shape[0], header.dtype)

    def _side(self, data: bytes, bands: int, dtype: np.dtype[Any]) -> Side:
        return Side.from_bytes(data, bands, self._peak(dtype), self._basis_tables)

    def _peak(self, dtype: np.dtype[Any]) -> float | None:
        """The peak that encoder and decoder both know; None if each tile states its own."""
        return self.card.peak or fixed_peak(dtype)

    def _code(self, latents: Latents) -> tuple[list[bytes], list[IntArray]]:
        kept = _kept(latents)
        return [self._coded(kept)], [kept]

    def _decode(self, header: Header, sections: list[bytes]) -> list[IntArray]:
        return [self._decoded(sections[0], header.shape)]

    def embedding_step(self, quality: float) -> float:
        return quality_step(quality)

    def _check(self, x: npt.NDArray[Any], nodata: float | None, basis: str) -> None:
        if x.dtype.name not in self.card.dtypes:
            raise DataTypeUnsupportedError(
                f"dtype {x.dtype}: expected one of {', '.join(self.card.dtypes)}"
            )
        if x.ndim != 3 or 0 in x.shape:
            raise InvalidParameterError(f"array of shape {x.shape}: expected (bands, y, x)")
        if basis not in get_args(Basis):
            raise InvalidParameterError(f"basis {basis!r}: expected one of {get_args(Basis)}")
        if basis == "card":
            raise InvalidParameterError(
                "basis 'card': klt-dct has no basis of its own, each tile brings the one it needs; "
                "its latents do not compare between tiles"
            )
        if nodata is not None and x.dtype.kind != "f":
            limits = np.iinfo(x.dtype)
            if not (limits.min <= nodata <= limits.max and float(nodata).is_integer()):
                raise InvalidParameterError(f"nodata {nodata}: no {x.dtype} has this value")

    def _coded(self, kept: IntArray) -> bytes:
        planes = quantiser.skew(kept)
        extents = boxes(planes)
        encoder = entropy.Encoder()

        def visit(
            c: int, where: slice | IntArray, index: IndexArray, prediction: IntArray | None
        ) -> IntArray:
            values: IntArray = planes[c].reshape(-1)[where]
            symbols = values if prediction is None else values - prediction
            encoder.push(symbols, index, self._model.tables)
            return values

        walk(self._model, extents, (planes.shape[3], planes.shape[4]), visit)
        head = np.array([(box.side, box.last) for box in extents], np.uint8).tobytes()
        return struct.pack("<H", len(extents)) + head + encoder.finish()

    def _decoded(self, data: bytes, shape: tuple[int, int, int]) -> IntArray:
        count = int.from_bytes(data[:2], "little")
        end = 2 + 2 * count
        if len(data) < end or count > shape[0]:
            raise PayloadError(f"the payload gives {count} components for {shape[0]} bands")
        extents = [Box(side=a, last=b) for a, b in zip(data[2:end:2], data[3:end:2], strict=True)]
        if any(box.side > N or box.last > 2 * N - 2 for box in extents):
            raise PayloadError("the payload gives coefficients outside the block")
        blocks = transform.blocks_of(*shape[1:])
        planes = quantiser.skewed_zeros(count, blocks, np.int32)
        decoder = entropy.Decoder(data[end:])

        def visit(
            c: int, where: slice | IntArray, index: IndexArray, prediction: IntArray | None
        ) -> IntArray:
            values = decoder.pull(index, self._model.tables)
            if prediction is not None:
                values = values + prediction
            planes[c].reshape(-1)[where] = values
            return values

        walk(self._model, extents, blocks, visit)
        decoder.finish()
        return quantiser.unskew(planes)


def _kept(latents: Latents) -> IntArray:
    """y as `(components, N, N, by, bx)`, without the components after the last non-zero one."""
    planes = latents.y.reshape(latents.shape[0], N, N, *latents.y.shape[1:])
    used = np.flatnonzero(np.any(planes, axis=(1, 2, 3, 4)))
    return planes[: int(used[-1]) + 1 if used.size else 0]
