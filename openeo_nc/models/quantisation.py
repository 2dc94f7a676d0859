"""Quantises embedding vectors: which integers stand for a vector, and the float32 they stand for.

In a graph embeddings are float32 on the quantiser's lattice, so that arithmetic means what it says;
stores hold integers and scales. A quantiser is described by a JSON object, which is all that
reading takes.

    float32        values as they are
    int8           value = scale * integer, a scale a vector
    int8_power     value = sign * (integer / 127.5)^2, as AlphaEarth has it; for values in -1..1
    pca{d}+int8    the first d principal components, as int8
    binary         signs, eight a byte; for retrieval
    rans           principal components in equal steps, integers to be entropy-coded
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError, InvalidValuesError
from openeo_nc.models.quantisation_basis import Basis, fitted

Vectors = npt.NDArray[np.float32]
NAMES = ("float32", "int8", "int8_power", "pca{d}+int8", "binary", "rans")
"""What quantisers are called; d is a number."""
DEFAULT = "int8"
NODATA = -128
"""Integer of int8 codes in all values of a vector that is no data."""
POWER_SCALE = 127.5
"""Of AlphaEarth: Google's readme of the files (developers.google.com/earth-engine/guides/
aef_on_gcs_readme) has `((values / 127.5) ** 2) * sign(values)`; its vectors lie on that lattice
and on no other (a test holds it against real ones)."""
_MANTISSA = 9
"""Significant bits of a scale. Few enough that scale times integer is exact in float32, and so far
apart that the scale of dequantised vectors is the same again; with 9 the largest value is off by
a quarter of a step at most."""
_SMALLEST = 2.0**-100
"""Vectors whose largest value is below this are zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Quantised vectors."""

    values: npt.NDArray[Any]
    """`(n, columns)`: integers (packed bits for `binary`, float32 for `float32`)."""
    scale: npt.NDArray[np.float32] | None = None
    """`(n,)` of each vector, NaN for no data; None where vectors have none of their own."""


class Quantiser(ABC):
    """Maps vectors to integers and back. A vector with a NaN is no data, and comes back as NaN."""

    dtype: ClassVar[str]
    """Dtype of the integers."""
    scaled: ClassVar[bool] = False
    """Whether each vector has a scale."""

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    @property
    def columns(self) -> int:
        """Integers of a vector."""
        return self.dim

    def quantise(self, v: Vectors) -> Codes:
        """Codes of `(n, dim)` float32; InvalidValuesError for infinite or unsuitable values."""
        if v.ndim != 2 or v.shape[1] != self.dim:
            raise InvalidParameterError(
                f"Quantiser {self.name} takes vectors (n, {self.dim}); given {v.shape}."
            )
        missing: npt.NDArray[np.bool_] = np.asarray(np.isnan(v).any(1))
        known = np.where(missing[:, None], np.float32(0), v).astype(np.float32, copy=False)
        if not np.isfinite(known).all():
            raise InvalidValuesError("Vectors hold infinite values.")
        return self._quantise(known, missing)

    @abstractmethod
    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes: ...

    @abstractmethod
    def dequantise(self, codes: Codes) -> Vectors:
        """`(n, dim)` float32; the same on every machine and in whatever parts it is called."""

    def snap(self, v: Vectors) -> Vectors:
        """Vectors on the lattice; vectors that are on it stay what they are, to the last bit."""
        return self.dequantise(self.quantise(v))

    def nbytes(self, codes: Codes) -> float:
        """Bytes of the codes as this quantiser stores them."""
        return codes.values.nbytes + (0 if codes.scale is None else codes.scale.nbytes)

    def error(self, v: Vectors) -> tuple[float, float]:
        """`cosine_error` of what is kept of `(n, dim)` vectors: mean and largest."""
        return cosine_error(v, self.snap(v))

    def document(self) -> dict[str, Any]:
        """JSON object that `quantiser_of` reads; the attribute `nc:quantization`."""
        return {"name": self.name, "dim": self.dim}

    def stac(self) -> dict[str, Any]:
        """The object `emb:quantization` of STAC's embeddings extension."""
        return {
            "method": self.name,
            "original_dtype": "float32",
            "quantized_dtype": self.dtype,
        }


class Float32(Quantiser):
    """Values as they are."""

    dtype = "float32"

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        return Codes(values=np.where(missing[:, None], np.float32(np.nan), v))

    def dequantise(self, codes: Codes) -> Vectors:
        return np.asarray(codes.values, np.float32)


class Int8(Quantiser):
    """Integers -127..127 and a scale a vector."""

    dtype, scaled = "int8", True

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        return int8_codes(v, missing)

    def dequantise(self, codes: Codes) -> Vectors:
        return codes.values.astype(np.float32) * _scale_of(codes)[:, None]


class Int8Power(Quantiser):
    """Integers -127..127 of signed square roots, -128 no data: AlphaEarth's."""

    dtype = "int8"

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        if np.abs(v).max(initial=0) > 1.05:  # of values near 1, which 127 stands for too
            raise InvalidValuesError(
                "int8_power holds values in -1..1, such as those of vectors of length 1; "
                f"given {np.abs(v).max():.4g}. Use int8."
            )
        root = np.sqrt(np.abs(v)) * np.float32(POWER_SCALE)
        values = np.sign(v) * np.minimum(np.rint(root), 127)
        return Codes(values=_int8(values, missing))

    def dequantise(self, codes: Codes) -> Vectors:
        ratio = codes.values.astype(np.float32) / np.float32(POWER_SCALE)
        values = np.where(codes.values == NODATA, np.float32(np.nan), ratio * np.abs(ratio))
        return values.astype(np.float32)


class Binary(Quantiser):
    """Signs; vectors of length 1 that point into one of 2^dim directions."""

    dtype, scaled = "uint8", True

    @property
    def columns(self) -> int:
        return -(-self.dim // 8)

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        bits = np.packbits((v >= 0) & ~missing[:, None], axis=1)
        length = np.float32(1 / np.sqrt(self.dim))
        return Codes(values=bits, scale=np.where(missing, np.float32(np.nan), length))

    def dequantise(self, codes: Codes) -> Vectors:
        bits = np.unpackbits(codes.values, axis=1, count=self.dim).astype(np.float32)
        return (2 * bits - 1) * _scale_of(codes)[:, None]

    def nbytes(self, codes: Codes) -> float:
        return codes.values.nbytes  # scales are all the same


class PcaInt8(Quantiser):
    """The first principal components, as int8."""

    dtype, scaled = "int8", True

    def __init__(self, name: str, dim: int, basis: Basis) -> None:
        super().__init__(name, dim)
        self.basis = basis

    @property
    def columns(self) -> int:
        return self.basis.count

    def _quantise(self, v: Vectors, missing: npt.NDArray[np.bool_]) -> Codes:
        return int8_codes(self.basis.project(v), missing)

    def dequantise(self, codes: Codes) -> Vectors:
        return self.basis.restore(codes.values, _scale_of(codes)[:, None])

    def document(self) -> dict[str, Any]:
        return {**super().document(), "basis": self.basis.document()}


def quantiser(
    name: str,
    *,
    dim: int,
    model: str | None = None,
    sample: Vectors | None = None,
) -> Quantiser:
    """The quantiser of a name.

    Parameters
    ----------
    name
        One of `NAMES`.
    dim
        Values of a vector.
    model
        Id of the model that the vectors are of, where its card tells that its dimensions are
        principal components already (option `principal`): then `pca{d}` keeps the first d.
    sample
        `(n, dim)` float32 that `pca{d}+int8` and `rans` are fitted to; rows with NaN do not count.

    Raises
    ------
    InvalidParameterError
        There is no such quantiser, or it needs a sample.
    """
    if simple := _SIMPLE.get(name):
        return simple(name, dim)
    if found := re.fullmatch(r"pca([1-9]\d*)\+int8", name):
        count = int(found[1])
        if count > dim:
            raise InvalidParameterError(f"{name} keeps more than the {dim} values of a vector.")
        if sample is None and _principal(model):
            return PcaInt8(name, dim, Basis.first(count, dim))
        return PcaInt8(name, dim, fitted(_needed(name, sample), count))
    if name == "rans":
        from openeo_nc.models.quantisation_rans import Rans

        return Rans.fit(_needed(name, sample))
    raise InvalidParameterError(f"There is no quantiser '{name}'; possible are {', '.join(NAMES)}.")


def quantiser_of(document: Mapping[str, Any]) -> Quantiser:
    """The quantiser that a document describes; InvalidParameterError if it describes none."""
    try:
        name, dim = str(document["name"]), int(document["dim"])
        if simple := _SIMPLE.get(name):
            return simple(name, dim)
        if name == "rans":
            from openeo_nc.models.quantisation_rans import Rans

            return Rans.of(document)
        if re.fullmatch(r"pca[1-9]\d*\+int8", name):
            return PcaInt8(name, dim, Basis.of(document["basis"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidParameterError(f"The document describes no quantiser: {error!r}.") from error
    raise InvalidParameterError(f"There is no quantiser '{name}'; possible: {', '.join(NAMES)}.")


def cosine_error(v: Vectors, w: Vectors) -> tuple[float, float]:
    """Mean and largest of 1 - cosine between vectors `(n, dim)`, row by row; NaN rows are left out."""
    a, b = (np.asarray(x, np.float64) for x in (v, w))
    kept = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    kept &= lengths > 0
    if not kept.any():
        return 0.0, 0.0
    errors = np.maximum(1 - (a * b).sum(1)[kept] / lengths[kept], 0)
    return float(errors.mean()), float(errors.max())


def int8_codes(v: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> Codes:
    """int8 codes of `(n, columns)` finite values; missing rows are no data."""
    largest = np.abs(v).max(1, initial=0).astype(np.float64)
    mantissa, exponent = np.frexp(largest / 127)
    scale = np.ldexp(np.rint(np.ldexp(mantissa, _MANTISSA)), exponent - _MANTISSA)
    scale[largest < _SMALLEST] = 0
    steps = np.divide(v, scale[:, None], out=np.zeros(v.shape), where=scale[:, None] > 0)
    values = np.clip(np.rint(steps), -127, 127)
    return Codes(
        values=_int8(values, missing),
        scale=np.where(missing, np.nan, scale).astype(np.float32),
    )


def _int8(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    codes = values.astype(np.int8)
    codes[missing] = NODATA
    return codes


def _scale_of(codes: Codes) -> npt.NDArray[np.float32]:
    if codes.scale is None:
        raise InvalidParameterError("These codes need a scale a vector; they have none.")
    return np.asarray(codes.scale, np.float32)


def _needed(name: str, sample: Vectors | None) -> Vectors:
    if sample is None:
        raise InvalidParameterError(
            f"Quantiser {name} is fitted to a sample of vectors; none given."
        )
    return sample


def _principal(model: str | None) -> bool:
    from openeo_nc.models.registry import list_models

    cards = {card.model_id: card for card in list_models()}
    return model in cards and bool(cards[model].options.get("principal", False))


_SIMPLE: Mapping[str, Callable[[str, int], Quantiser]] = {
    "float32": Float32,
    "int8": Int8,
    "int8_power": Int8Power,
    "binary": Binary,
}
