"""What happens to one tile: pixels to a payload as asked, and a payload back to the cube's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc import metrics
from openeo_nc.codecs import payloads, registry
from openeo_nc.codecs.alternatives import encode_freely
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.guard import Guard
from openeo_nc.codecs.rate_control import encode_tile
from openeo_nc.cubes import rates
from openeo_nc.cubes.scaling import from_card, multiply
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.spec import CodecSpec

if TYPE_CHECKING:
    from openeo_nc.codecs.guard import Shift
    from openeo_nc.codecs.rate import Rate
    from openeo_nc.cubes.rates import Asked

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What decoded tiles are turned into."""

    bands: int
    """Bands of a tile."""
    tile: int
    """Side of a tile in pixels."""
    dtype: np.dtype[Any]
    """dtype of the raster cube."""
    ratio: float
    """Card number = cube number * ratio."""
    nodata: float | None
    """No data of an integer cube."""

    def restore(self, numbers: Array) -> Array:
        """Card numbers as the cube's."""
        return from_card(numbers, self.ratio, self.dtype, self.nodata)


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How tiles become payloads, and payloads tiles; hashable, a few bytes."""

    spec: CodecSpec
    """The codec."""
    others: tuple[CodecSpec, ...] = ()
    """Codecs that a tile may take instead under a bound, or at any rate if `free`."""
    asked: Asked
    """What payloads are to reach."""
    form: Form
    """The cube that tiles are of."""
    reference: np.dtype[Any]
    """dtype that ratios compare with."""
    nodata: float | None
    """No data of integer card numbers."""
    to_guard: float = 1.0
    """Number as the guard takes it = card number * this."""
    free: bool = False
    """Whether `auto` took the universal codec, so that a tile may take a better one at any rate."""

    def rate(self, x: Array, *, flagged: bool = False) -> Rate:
        """What is asked of a tile `(bands, y, x)`, in its card numbers."""
        bound = self.asked.flagged if flagged else None
        return rates.of_tile(
            bound or self.asked.rate, x, ratio=self.form.ratio, dtype=self.form.dtype,
            reference=self.reference, nodata=self.nodata, cube_nodata=self.form.nodata,
        )  # fmt: skip

    def encode(self, x: Array, *, flagged: bool = False) -> bytes:
        """The payload of a tile in card numbers."""
        rate = self.rate(x, flagged=flagged)
        codec, others = get_codec(self.spec), []
        if self.free or rate.max_error is not None:
            others = [get_codec(spec) for spec in self.others]
        encode = encode_freely if self.free else encode_tile
        payload = encode(codec, x, rate, nodata=self.nodata, others=others)
        metrics.encoded(x.nbytes, len(payload))
        return payload

    def shift(self, x: Array, payload: bytes) -> Shift:
        """How unlike the codec's training data a tile is, given what it was coded as."""
        card = registry.get_card(self.spec.codec_id)
        if self.to_guard != 1.0:
            x = multiply(x, self.to_guard, np.float32, self.nodata)
            return Guard.load(card).score(x)
        # bits tell something where a quality means what it did when the guard was calibrated
        usual = self.asked.dates is None and (card.scale is not None or x.dtype.kind != "f")
        return Guard.load(card).score(x, nodata=self.nodata, payload=payload if usual else None)

    def encode_dates(self, xs: Sequence[Array]) -> list[bytes]:
        """The payloads of dates of one tile in card numbers, together where that is cheaper."""
        rates = [self.rate(x) for x in xs]
        others = [get_codec(spec) for spec in self.others if self.asked.bounded is not None]
        codec = get_codec(self.spec)
        coded = encode_dates(codec, xs, rates, nodata=self.nodata, others=others)
        # those of a group differ in leading zero bytes only, and a store has it once
        groups = {payload.lstrip(b"\0") for payload in coded}
        metrics.encoded(sum(x.nbytes for x in xs), sum(map(len, groups)), tiles=len(xs))
        return coded


def decode(payload: bytes, spec: CodecSpec, others: tuple[CodecSpec, ...] = ()) -> Array:
    """The tile `(bands, y, x)` of a payload, in card numbers, by whichever codec wrote it."""
    cards = [registry.get_card(other.codec_id) for other in others]
    tile = payloads.decode(
        payload, get_codec(spec), lambda card: get_codec(CodecSpec.of(card)), cards
    )
    metrics.decoded(len(payload), tile.nbytes)
    return tile
