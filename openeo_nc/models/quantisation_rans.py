"""Quantises principal components in equal steps, and codes the integers with tables of integers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.entropy import Tables, decode, encode
from openeo_nc.errors import InvalidParameterError, InvalidValuesError, PayloadError
from openeo_nc.models.quantisation import Codes, Quantiser, Vectors
from openeo_nc.models.quantisation_basis import Basis, fitted, packed, unpacked

MISSING = np.iinfo(np.int32).min
"""Integer in all values of a vector that is no data."""
NOISE = 1e-3
"""Mean squared error that the step is chosen for, as a part of the mean squared length."""
_HIGHEST = 1 << 18
_MOST = 256
"""Components at most: a table each, and their number is a byte."""
_REACH = 127
"""Integers beyond this are escaped."""


class Rans(Quantiser):
    """Principal components as multiples of one step, entropy-coded by a table a component."""

    dtype = "int32"

    def __init__(self, dim: int, basis: Basis, step: float, tables: Tables) -> None:
        super().__init__("rans", dim)
        self.basis, self.step, self.tables = basis, step, tables

    @classmethod
    def fit(cls, sample: Vectors, *, noise: float = NOISE) -> Rans:
        """Basis, step and tables from `(n, dim)` vectors.

        Parameters
        ----------
        noise
            Mean squared error wanted, as a part of the vectors' mean squared length; the mean
            cosine error is about half of it.
        """
        known = sample[np.isfinite(sample).all(1)]
        basis = fitted(known, min(sample.shape[1], _MOST))
        energy = float((known.astype(np.float64) ** 2).mean())
        if energy == 0:
            raise InvalidParameterError("All vectors of the sample are zero; rans has no step.")
        step = float(np.float32(np.sqrt(12 * noise * energy)))
        integers = np.rint(basis.project(known) / step)
        return cls(sample.shape[1], basis, step, _tables(integers))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Rans:
        """The quantiser of its document."""
        basis = Basis.of(document["basis"])
        freq = unpacked(document["tables"], "<u4").reshape(basis.count, -1).astype(np.uint32)
        offset = np.full(basis.count, -_REACH, np.int32)
        tables = Tables(freq=freq, offset=offset)
        return cls(int(document["dim"]), basis, float(document["step"]), tables)

    @property
    def columns(self) -> int:
        return self.basis.count

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        steps = np.rint(self.basis.project(v) / self.step)
        if np.abs(steps).max(initial=0) > _HIGHEST:
            raise InvalidValuesError(
                f"rans was fitted to other vectors: one is {np.abs(steps).max():.3g} steps long."
            )
        values = steps.astype(np.int32)
        values[missing] = MISSING
        return Codes(values=values)

    def dequantise(self, codes: Codes) -> Vectors:
        missing = codes.values[:, :1] == MISSING
        vectors = self.basis.restore(np.where(missing, 0, codes.values), self.step)
        return np.where(missing, np.float32(np.nan), vectors)

    def pack(self, codes: Codes) -> bytes:
        """The codes as bytes: number of vectors, which are missing, and one stream."""
        missing = codes.values[:, 0] == MISSING
        mask = zlib.compress(np.packbits(missing).tobytes(), 9) if missing.any() else b""
        known = np.ascontiguousarray(codes.values[~missing].T, np.int32)
        index = np.repeat(np.arange(len(known), dtype=np.uint8), known.shape[1])
        return (
            struct.pack("<II", len(missing), len(mask))
            + mask
            + encode(known.ravel(), index, self.tables)
        )

    def unpack(self, data: bytes) -> Codes:
        """The codes that `pack` made bytes of; PayloadError if it did not."""
        if len(data) < 8:
            raise PayloadError("vectors coded by rans are shorter than their header")
        count, size = struct.unpack_from("<II", data)
        missing = np.zeros(count, bool)
        if size:
            try:
                bits = zlib.decompressobj().decompress(data[8 : 8 + size], -(-count // 8))
            except zlib.error as error:
                raise PayloadError(f"the mask of missing vectors is damaged: {error}") from error
            missing = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)
        known = count - int(missing.sum())
        index = np.repeat(np.arange(self.columns, dtype=np.uint8), known)
        values = np.full((count, self.columns), MISSING, np.int32)
        symbols = decode(data[8 + size :], index, self.tables)
        values[~missing] = symbols.reshape(self.columns, known).T
        return Codes(values=values)

    def nbytes(self, codes: Codes) -> float:
        return len(self.pack(codes))

    def document(self) -> dict[str, Any]:
        return {
            **super().document(),
            "step": self.step,
            "basis": self.basis.document(),
            "tables": packed(self.tables.freq.astype("<u4")),
        }

    def stac(self) -> dict[str, Any]:
        return {**super().stac(), "scale": [self.step], "offset": [0.0]}


def _tables(integers: npt.NDArray[np.float64]) -> Tables:
    """Tables of `(n, components)` integers: what was counted, smoothed by a Laplacian."""
    values = np.arange(-_REACH, _REACH + 1)
    spread = np.abs(integers).mean(0) + 0.05
    smooth = np.exp(-np.abs(values) / spread[:, None])
    smooth /= smooth.sum(1, keepdims=True)
    inside = np.clip(integers, -_REACH - 1, _REACH + 1).astype(np.int64) + _REACH + 1
    counts = np.stack([np.bincount(c, minlength=2 * _REACH + 3) for c in inside.T])[:, 1:-1]
    weight = 32.0
    pmf = (counts + weight * smooth) / (len(integers) + weight)
    return Tables.from_pmf(pmf * (1 - 1e-4), np.full(len(pmf), -_REACH))
