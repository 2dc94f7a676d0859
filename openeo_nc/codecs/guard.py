"""The guard: how far a tile is from what a codec was trained on, as one number.

        x --guard_measures--> statistics --distances to the training places--> features
        margin  = sum of weights * log(1 + how far a feature leaves its usual range)  (each detector)
        score   = largest of the margins, each over its own spread among clean tiles, - threshold

A detector looks for one kind of corruption, one more for any. Weights are not negative, so a tile
scores by what is unusual about it and never makes up for it. Ranges, weights and threshold come from `training.guard`: clean crops of the training places against
corrupted ones and foreign data, the threshold at a stated rate of false alarms on places left out. A
payload of the tile, if there is one already, is judged as well: its bits a value, and those of its
hyper-latent, which are their likelihoods. Calibrated were those of `s2l2a-hyperprior` and `klt-dct`;
`SAME_INTEGERS` names the codecs whose integers and tables, so bits, are another's.

A high score says that the tile is unlike the training data, not that it is coded badly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import bitstream, registry, weights
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import CodecCard
from openeo_nc.codecs.guard_measures import Measures, compress, measure
from openeo_nc.errors import InvalidParameterError, WeightsInvalidError

Arrays = Mapping[str, npt.NDArray[Any]]
FloatArray = npt.NDArray[np.float64]
SPECTRA = ("mean", "dark", "spread", "pixel")
"""What distances are taken of: a tile's spectra, and that of each of its pixels."""
MIDDLE_QUALITY = 5.0
HIGHEST_QUALITY = 8.0
"""Up to here bits grow about exponentially with quality; payloads of more are not judged."""
SAME_INTEGERS: Mapping[str, str] = MappingProxyType({"s2l2a-restoration": "klt-dct"})
"""Codecs that write the integers of another by the same tables; a test holds the two together."""
SCALE = 0.0001
"""Reflectance that the number 1 in a tile stands for."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How unlike the training data a tile is."""

    score: float
    """Steps over the threshold, a step being what clean tiles vary by; NaN if it cannot be said."""
    flagged: bool
    """Whether the score is positive."""
    kind: str
    """What the tile looks like most, e.g. `stripes`; telling only where it is flagged."""
    features: Mapping[str, float]
    """What was measured, by name; empty with a NaN score."""

    @property
    def trusted(self) -> bool:
        """Whether the tile was judged and is like the training data; others keep a bound, if asked."""
        return not (self.flagged or math.isnan(self.score))


UNKNOWN = Shift(score=math.nan, flagged=False, kind="", features={})
"""Of tiles with too few valid pixels, a side that is too short, or another number of bands."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Where the training places lie, for distances; all arrays by the name of a spectrum."""

    centre: Mapping[str, FloatArray]
    """`(bands,)`, compressed."""
    whiten: Mapping[str, FloatArray]
    """`(bands, bands)`: takes a deviation to one of unit covariance."""
    low: FloatArray
    """`(bands,)`: least value of the trained range, in the tile's numbers."""
    high: FloatArray
    """`(bands,)`: largest value of the trained range."""

    def features(self, measures: Measures) -> dict[str, float]:
        """The scalars of a tile, and its distances."""
        found = dict(measures.scalars)
        for name, spectrum in measures.spectra.items():
            found |= {f"{name}{i}": float(value) for i, value in enumerate(spectrum)}
            steps = np.diff(spectrum)
            found |= {f"{name}{i}_step": float(value) for i, value in enumerate(steps)}
            found[f"{name}_least"] = float(spectrum.min())
            found[f"{name}_distance"] = float(np.log(self._distance(name, spectrum[None])[0]))
        by_pixel = self._distance("pixel", compress(measures.sample))
        found["pixel_distance"] = float(np.log(by_pixel).mean())
        found["pixel_far"] = float(np.log(np.quantile(by_pixel, 0.95)))
        outside = (measures.sample < self.low) | (measures.sample > self.high)
        found["outside"] = float(np.log10(outside.mean() + 1e-4))
        return found

    def _distance(self, name: str, spectra: FloatArray) -> FloatArray:
        """`(n,)`: 1 + mean squared Mahalanobis distance a band of `(n, bands)`."""
        deviation = (spectra - self.centre[name]) @ self.whiten[name].T
        return np.asarray(1 + (deviation**2).mean(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """The usual range of every feature, and what leaving it counts for each detector."""

    names: tuple[str, ...]
    """Features, in the order of the arrays."""
    kinds: tuple[str, ...]
    """What the detectors look for, in the order of the arrays."""
    low: FloatArray
    """`(features,)`"""
    high: FloatArray
    """`(features,)`"""
    scale: FloatArray
    """`(features,)`: what counts as one step outside."""
    below: FloatArray
    """`(kinds, features)`: weights of being below the range."""
    above: FloatArray
    """`(kinds, features)`: weights of being above it."""
    centre: FloatArray
    """`(kinds,)`: margin that few clean tiles exceed."""
    spread: FloatArray
    """`(kinds,)`: what the margins of clean tiles vary by."""
    threshold: float
    """Largest normalised margin from which a tile is flagged."""

    def most(self, features: Mapping[str, float]) -> tuple[float, str]:
        """The score of one tile, and the kind that it looks like most."""
        scores = self.scores(np.array([[features[name] for name in self.names]]))[0]
        return float(scores.max()), self.kinds[int(scores.argmax())]

    def scores(self, values: FloatArray) -> FloatArray:
        """`(n, kinds)` of features `(n, features)`; a tile's score is its largest."""
        under, over = self.excess(values)
        margins = under @ self.below.T + over @ self.above.T
        return np.asarray((margins - self.centre) / self.spread - self.threshold)

    def excess(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How far values `(..., features)` lie below and above the range, compressed."""
        return (
            np.log1p(np.maximum(self.low - values, 0) / self.scale),
            np.log1p(np.maximum(values - self.high, 0) / self.scale),
        )


class Guard:
    """Scores tiles of the bands that it was made for; thread-safe."""

    def __init__(self, arrays: Arrays) -> None:
        try:
            self.resolutions: tuple[float, ...] = tuple(map(float, arrays["resolutions"]))
            self.reference = Reference(
                centre={name: _float64(arrays[f"{name}.centre"]) for name in SPECTRA},
                whiten={name: _float64(arrays[f"{name}.whiten"]) for name in SPECTRA},
                low=_float64(arrays["range.low"]),
                high=_float64(arrays["range.high"]),
            )
            self._pixels = scorer_of(arrays, "pixels")
            tags = {name.split(".")[1] for name in arrays if name.startswith("payload.")}
            self._payloads = {
                bytes.fromhex(tag): (
                    _float64(arrays[f"payload.{tag}.by_quality"]),
                    scorer_of(arrays, f"payload.{tag}"),
                )
                for tag in tags
            }
        except (KeyError, ValueError) as error:
            raise WeightsInvalidError(f"no weights of a guard: {error}") from error

    @classmethod
    def load(cls, card: CodecCard) -> Guard:
        """The guard that a card names, loaded once a process.

        Raises
        ------
        InvalidParameterError
            The card names none.
        WeightsNotFoundError, WeightsInvalidError
        """
        if card.guard is None or card.guard_sha256 is None:
            raise InvalidParameterError(f"the codec '{card.codec_id}' has no guard")
        if (guard := _loaded.get(card.guard_sha256)) is None:
            named = replace(card, weights=card.guard, weights_sha256=card.guard_sha256)
            guard = _loaded[card.guard_sha256] = cls(weights.load(named))
        return guard

    def score(
        self, x: npt.NDArray[Any], *, nodata: float | None = None, payload: bytes | None = None
    ) -> Shift:
        """The shift of one tile.

        Parameters
        ----------
        x
            `(bands, y, x)` as a codec takes it, in the card's units.
        nodata
            Value that marks no data; pixels without data in any band are left out.
        payload
            What the codec made of x; if the guard knows the codec's weights, and there is neither a
            bound nor more quality than HIGHEST_QUALITY, unusual bits flag the tile as well.

        Raises
        ------
        InvalidParameterError, InvalidValuesError
            As `encode` would.
        PayloadError, PayloadVersionError
        """
        mask = missing.find(x, nodata)
        if x.ndim != 3 or len(x) != len(self.resolutions):
            return UNKNOWN
        valid = None if mask is None else np.asarray(~mask.any(axis=0))
        measures = measure(x, valid, self.resolutions)
        if measures is None:
            return UNKNOWN
        features = self.reference.features(measures)
        found = self._pixels.most(features)
        if payload is not None and (judged := self._coded(payload)) is not None:
            scorer, bits = judged
            features |= bits
            if (by_bits := scorer.most(bits))[0] > 0:
                found = max(found, by_bits)
        score, kind = found
        return Shift(score=score, flagged=score > 0, kind=kind, features=features)

    def _coded(self, payload: bytes) -> tuple[Scorer, dict[str, float]] | None:
        """Features of a payload, and their scorer; None for payloads of codecs not known here."""
        header, sections, _ = bitstream.read(payload, tag=None)
        known = self._payloads.get(_calibrated(header.tag))
        if known is None or header.empty or header.bounded or header.quality > HIGHEST_QUALITY:
            return None
        by_quality, scorer = known
        found = payload_bits(header, sections)
        expected = by_quality * (header.quality - MIDDLE_QUALITY)
        values = {name: found[name] - e for name, e in zip(found, expected, strict=True)}
        return scorer, values


def _calibrated(tag: bytes) -> bytes:
    """The tag of the codec whose integers a payload of a tag holds: most times, its own."""
    cards = {card.codec_id: card for card in registry.list_codecs()}
    for codec_id, other in SAME_INTEGERS.items():
        if codec_id in cards and other in cards and bitstream.codec_tag(cards[codec_id]) == tag:
            return bitstream.codec_tag(cards[other])
    return tag


def payload_bits(header: bitstream.Header, sections: list[bytes]) -> dict[str, float]:
    """Logarithms of bits a value, by what they code; `hyper_bits` where there is a hyper-latent."""
    streams = sections[1 + header.masked :]
    values = math.prod(header.shape)
    bits = [math.log2((8 * len(s) + 8) / values) for s in streams]
    return {"bits": bits[-1]} | ({"hyper_bits": bits[0]} if len(bits) > 1 else {})


def scorer_of(arrays: Arrays, prefix: str) -> Scorer:
    """The scorer under a prefix of a weights file; inverse of `scorer_arrays`."""
    values = {name: _float64(arrays[f"{prefix}.{name}"]) for name in _ARRAYS}
    names, kinds = (
        tuple(arrays[f"{prefix}.{field}"].astype(np.uint8).tobytes().decode().split("\n"))
        for field in ("names", "kinds")
    )
    shapes = {len(names): ("low", "high", "scale"), len(kinds): ("centre", "spread")}
    fit = all(values[name].shape == (n,) for n, fields in shapes.items() for name in fields)
    if not fit or any(values[n].shape != (len(kinds), len(names)) for n in ("below", "above")):
        raise WeightsInvalidError(
            f"no weights of a guard: the arrays of '{prefix}' are not of {len(kinds)} kinds and "
            f"{len(names)} features"
        )
    threshold = float(arrays[f"{prefix}.threshold"][0])
    return Scorer(names=names, kinds=kinds, threshold=threshold, **values)


def scorer_arrays(scorer: Scorer, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """A scorer as arrays of a weights file."""
    arrays = {name: getattr(scorer, name).astype(np.float32) for name in _ARRAYS}
    for field in ("names", "kinds"):
        text = "\n".join(getattr(scorer, field))
        arrays[field] = np.frombuffer(text.encode(), np.uint8)
    arrays["threshold"] = np.array([scorer.threshold], np.float32)
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


_ARRAYS = ("low", "high", "scale", "below", "above", "centre", "spread")
_loaded: dict[str, Guard] = {}
"""By SHA-256 of the weights; loading one twice at once does no harm."""


def _float64(array: npt.NDArray[Any]) -> FloatArray:
    return np.asarray(array, np.float64)
