"""The spectral KLT of a tile: computed from its valid pixels, stored in a few bytes, applied both ways.

The basis in the payload is quantised to int8; the analysis uses the inverse of the quantised basis,
so quantising it costs a little decorrelation and no mismatch between encoder and decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import PayloadError

FloatArray = npt.NDArray[np.float64]
UNIT = 127
"""int8 value of 1.0 in a stored basis."""


def principal_axes(covariance: FloatArray, reference: FloatArray | None = None) -> FloatArray:
    """Eigenvectors as columns, strongest first; signs follow `reference`'s columns, if given."""
    _, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, ::-1]
    anchor = vectors if reference is None else reference
    towards = np.sum(vectors * anchor, axis=0) if reference is not None else vectors.sum(axis=0)
    return np.asarray(vectors * np.where(towards < 0, -1.0, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralBasis:
    """An affine map between bands and components: bands = mean + synthesis @ components."""

    mean: FloatArray
    """`(bands,)` in card units."""
    synthesis: FloatArray
    """`(bands, components)`, columns close to orthonormal."""

    @classmethod
    def of_pixels(cls, pixels: FloatArray, reference: FloatArray | None = None) -> SpectralBasis:
        """The stored form of the KLT of `(bands, pixels)`."""
        mean = np.rint(np.clip(pixels.mean(axis=1), -32768, 32767))
        centred = pixels - pixels.mean(axis=1, keepdims=True)
        axes = principal_axes(centred @ centred.T / max(pixels.shape[1], 1), reference)
        synthesis = np.rint(axes * UNIT) / UNIT
        if np.linalg.cond(synthesis) > 4:  # cannot happen for orthonormal axes of few bands
            synthesis = np.eye(len(mean))
        return cls(mean=mean, synthesis=synthesis)

    @classmethod
    def fixed(cls, mean: FloatArray, axes: FloatArray) -> SpectralBasis:
        """The stored form of given axes, around a mean that is already rounded."""
        return cls(mean=mean, synthesis=np.rint(axes * UNIT) / UNIT)

    def to_bytes(self) -> bytes:
        """mean as int16, basis as int8, little endian, row by row."""
        stored = np.rint(self.synthesis * UNIT).astype("i1")
        return self.mean.astype("<i2").tobytes() + stored.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, bands: int) -> SpectralBasis:
        """Inverse of `to_bytes`; PayloadError if the size or the basis is impossible."""
        if len(data) != 2 * bands + bands * bands:
            raise PayloadError(
                f"spectral basis of {len(data)} bytes; {bands} bands need {2 * bands + bands**2}"
            )
        mean = np.frombuffer(data, "<i2", bands).astype(np.float64)
        stored = np.frombuffer(data, "i1", bands * bands, 2 * bands).reshape(bands, bands)
        return cls(mean=mean, synthesis=stored / UNIT)

    def forward(self, x: FloatArray) -> FloatArray:
        """`(bands, ...)` to components of the same shape."""
        flat = np.linalg.inv(self.synthesis) @ (x.reshape(len(self.mean), -1) - self.mean[:, None])
        return np.asarray(flat.reshape(x.shape))

    def inverse(self, u: FloatArray) -> FloatArray:
        """Components to bands."""
        flat = self.synthesis @ u.reshape(u.shape[0], -1) + self.mean[:, None]
        return np.asarray(flat.reshape(u.shape))
