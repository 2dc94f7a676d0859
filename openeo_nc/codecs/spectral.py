"""The linear transform of a tile: 8 x 8 block DCT of every band, then a KLT of bands for each zone.

Sentinel-2 bands differ in resolution: low frequencies of all twelve vary together, high ones exist in
the four 10 m bands only. One spectral basis for all frequencies would spread the fine detail of four
bands over twelve components; a basis a zone of frequencies does not. Zones end where 60 m and 20 m
pixels have no more: at 2/8 and 4/8 of the block's frequencies.

Bases are the tile's own, stored as int8 without the columns that no latent needs, or the card's. The
analysis inverts the stored form, so quantising a basis costs decorrelation and no mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from openeo_nc.errors import PayloadError

FloatArray = npt.NDArray[np.float64]
BLOCK = 8
"""Side of the block DCT and stride of the latents."""
EDGES = (2, 4)
"""max(u, v) at which the second and third zone begin."""
ZONES = len(EDGES) + 1
UNIT = 127
"""int8 value of 1.0 in a stored basis."""


def zones() -> npt.NDArray[np.intp]:
    """`(64,)`: the zone of each frequency u * 8 + v."""
    u, v = np.divmod(np.arange(BLOCK**2), BLOCK)
    return np.digitize(np.maximum(u, v), EDGES)


def block_dct(x: FloatArray) -> FloatArray:
    """`(bands, y, x)` of whole blocks to orthonormal coefficients `(bands, 64, y / 8, x / 8)`."""
    bands, height, width = x.shape
    split = x.reshape(bands, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    c = fft.dctn(split, axes=(2, 4), norm="ortho").transpose(0, 2, 4, 1, 3)
    return np.asarray(c.reshape(bands, BLOCK**2, height // BLOCK, width // BLOCK))


def inverse_block_dct(c: FloatArray) -> FloatArray:
    """Inverse of `block_dct`."""
    bands, _, rows, columns = c.shape
    split = c.reshape(bands, BLOCK, BLOCK, rows, columns).transpose(0, 3, 1, 4, 2)
    x = fft.idctn(split, axes=(2, 4), norm="ortho")
    return np.asarray(x.reshape(bands, rows * BLOCK, columns * BLOCK))


def principal_axes(covariance: FloatArray, reference: FloatArray | None = None) -> FloatArray:
    """Eigenvectors as columns, strongest first; signs follow `reference`'s columns, if given."""
    _, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, ::-1]
    towards = vectors.sum(axis=0) if reference is None else (vectors * reference).sum(axis=0)
    return np.asarray(vectors * np.where(towards < 0, -1.0, 1.0))


def zone_covariances(c: FloatArray, counted: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """`(zones, bands, bands)` second moments of coefficients `(bands, 64, y, x)` in counted blocks."""
    chosen = c.reshape(*c.shape[:2], -1) if counted is None else c[:, :, counted]
    moments = []
    for zone in range(ZONES):
        values = chosen[:, zones() == zone].reshape(len(c), -1)
        moments.append(values @ values.T / max(values.shape[1], 1))
    return np.stack(moments)


def stored_mean(mean: FloatArray) -> FloatArray:
    """Means as they are stored: int16 integers; what they leave of brighter tiles is coded as DC."""
    return np.asarray(np.rint(np.clip(mean, -32768, 32767)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralBasis:
    """Band means and the synthesis of every zone: coefficients = synthesis @ components."""

    mean: FloatArray
    """`(bands,)` in card units, integers."""
    stored: tuple[npt.NDArray[np.int8], ...]
    """`(bands, components)` of each zone, UNIT is 1.0; columns close to orthonormal."""

    @classmethod
    def of_axes(cls, mean: FloatArray, axes: Sequence[FloatArray]) -> SpectralBasis:
        """The stored form of given axes and means."""
        return cls(
            mean=stored_mean(mean),
            stored=tuple(np.rint(a * UNIT).astype(np.int8) for a in axes),
        )

    @classmethod
    def of_tile(
        cls,
        mean: FloatArray,
        c: FloatArray,
        counted: npt.NDArray[np.bool_] | None = None,
        reference: SpectralBasis | None = None,
    ) -> SpectralBasis:
        """The KLT of every zone of a tile's coefficients `(bands, 64, y, x)`."""
        known = [None] * ZONES if reference is None else [s / UNIT for s in reference.stored]
        moments = zone_covariances(c, counted)
        return cls.of_axes(
            mean, [principal_axes(m, r) for m, r in zip(moments, known, strict=True)]
        )

    def trimmed(self, needed: Sequence[int]) -> SpectralBasis:
        """Without the columns behind the first `needed` of each zone."""
        kept = tuple(s[:, :n] for s, n in zip(self.stored, needed, strict=True))
        return SpectralBasis(mean=self.mean, stored=kept)

    def forward(self, c: FloatArray) -> FloatArray:
        """Coefficients `(bands, 64, y, x)` to components of the same shape; all columns needed."""
        out = np.empty_like(c)
        for zone, stored in enumerate(self.stored):
            inside = zones() == zone
            analysis = np.linalg.inv(stored / UNIT)
            out[:, inside] = np.tensordot(analysis, c[:, inside], 1)
        return out

    def inverse(self, components: FloatArray) -> FloatArray:
        """Components to coefficients; components without a column count as zero."""
        out = np.empty_like(components)
        for zone, stored in enumerate(self.stored):
            inside = zones() == zone
            used = components[: stored.shape[1], inside]
            out[:, inside] = np.tensordot(stored / UNIT, used, 1)
        return out

    def to_bytes(self) -> bytes:
        """mean as int16 little endian, columns of each zone as uint8, then columns as int8."""
        counts = bytes(s.shape[1] for s in self.stored)
        columns = b"".join(s.T.tobytes() for s in self.stored)
        return self.mean.astype("<i2").tobytes() + counts + columns

    @classmethod
    def from_bytes(cls, data: bytes, bands: int) -> SpectralBasis:
        """Inverse of `to_bytes`; PayloadError if the bytes are no basis of that many bands."""
        start = 2 * bands + ZONES
        counts = list(data[2 * bands : start])
        if len(data) != start + bands * sum(counts) or max(counts) > bands:
            raise PayloadError(f"{len(data)} bytes are no spectral basis of {bands} bands")
        stored = []
        for count in counts:
            columns = np.frombuffer(data, np.int8, bands * count, start)
            stored.append(columns.reshape(count, bands).T)
            start += bands * count
        mean = np.frombuffer(data, "<i2", bands).astype(np.float64)
        return cls(mean=mean, stored=tuple(stored))
