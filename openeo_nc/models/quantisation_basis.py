"""Principal components of vectors, as integers, so that sums over them are exact everywhere."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError

FRACTION = 24
"""Components are multiples of 2 to the minus this power."""
LARGEST = 1 << 20
"""Bytes of a basis in a document, at most; larger ones are not written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Orthonormal directions and the point that they start from."""

    components: npt.NDArray[np.int32]
    """`(count, dim)`, times 2^24."""
    mean: npt.NDArray[np.float32]
    """`(dim,)`."""
    leading: bool = False
    """Whether these are just the first of the vectors' own values."""

    @classmethod
    def first(cls, count: int, dim: int) -> Basis:
        """The first values of vectors whose own order is that of principal components."""
        eye = np.eye(count, dim, dtype=np.int32) << FRACTION
        return cls(components=eye, mean=np.zeros(dim, np.float32), leading=True)

    @property
    def count(self) -> int:
        """Directions."""
        return len(self.components)

    def project(self, v: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """`(n, count)` coordinates of `(n, dim)` vectors."""
        return (v - self.mean.astype(np.float64)) @ (self.components.T / 2.0**FRACTION)

    def restore(
        self, values: npt.NDArray[Any], scale: npt.NDArray[np.float32] | float
    ) -> npt.NDArray[np.float32]:
        """`(n, dim)` vectors of integer coordinates `(n, count)` times a scale.

        The sums are of integers below 2^53, so their order does not matter.
        """
        sums = values.astype(np.float64) @ self.components.astype(np.float64)
        return (sums * (scale / 2.0**FRACTION) + self.mean).astype(np.float32)

    def document(self) -> dict[str, Any]:
        """As JSON takes it; InvalidParameterError where it is too large for a document."""
        if self.leading:
            return {"first": self.count, "dim": self.components.shape[1]}
        if self.components.nbytes > LARGEST:
            raise InvalidParameterError(
                f"A basis of {self.components.shape} takes {self.components.nbytes} bytes, more "
                f"than the {LARGEST} that fit a document. Keep fewer components."
            )
        return {
            "count": self.count,
            "components": packed(self.components.astype("<i4")),
            "mean": packed(self.mean.astype("<f4")),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Basis:
        """The basis of a document; ValueError or KeyError if it is none."""
        if "first" in document:
            return cls.first(int(document["first"]), int(document["dim"]))
        mean = unpacked(document["mean"], "<f4")
        components = unpacked(document["components"], "<i4")
        return cls(
            components=components.reshape(int(document["count"]), mean.size).astype(np.int32),
            mean=mean.astype(np.float32),
        )


def fitted(sample: npt.NDArray[np.float32], count: int) -> Basis:
    """The first principal components of `(n, dim)` vectors; rows with NaN do not count.

    Raises
    ------
    InvalidParameterError
        There are fewer vectors than components.
    """
    known = sample[np.isfinite(sample).all(1)].astype(np.float64)
    if len(known) < max(count, 2):
        raise InvalidParameterError(
            f"{count} principal components need as many vectors; the sample has {len(known)}."
        )
    mean = known.mean(0).astype(np.float32)
    centred = known - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    rows = directions.T[::-1][:count]
    rows *= np.where(rows[np.arange(count), np.abs(rows).argmax(1)] < 0, -1.0, 1.0)[:, None]
    return Basis(components=np.rint(rows * 2.0**FRACTION).astype(np.int32), mean=mean)


def packed(values: npt.NDArray[Any]) -> str:
    """An array's bytes as text: deflated, then base64."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def unpacked(text: str, dtype: str) -> npt.NDArray[Any]:
    """The flat array of a text that `packed` wrote; ValueError if it is none."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 4 * LARGEST)
    except zlib.error as error:
        raise ValueError(f"no packed array: {error}") from error
    return np.frombuffer(data, dtype)
