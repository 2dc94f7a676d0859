"""Several dates of one tile as one payload, where that is cheaper than one each.

        dates of a tile --date_groups--> groups --their bands one after the other--> payload
                                                                 alone <-- or --> together

A codec that takes any number of bands finds by itself what dates have in common: the spectral
transform of a group is one over bands and dates. At the same quality a group has both fewer bytes
and less error than its dates alone, and where the quality refers to a tile's range it may have more
of both. So a quality asks of a group for the error that its dates have alone at that quality, and
the fewer bytes win. A bound and a PSNR hold for each date of a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import date_groups
from openeo_nc.codecs import nodata as missing
from openeo_nc.codecs.base import Basis, Codec, LatentCodec, Latents
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile, psnr, search

Tile = npt.NDArray[Any]
PSNR_ALLOWANCE = 0.3
"""dB that a date of a group may stay below the PSNR that was asked."""
PSNR_A_QUALITY = 2.2
"""dB that a level of quality is worth, about; where a search goes next."""
AIM = 0.05
"""dB that a search for an error aims below it, may be above it, and twice that it may miss its aim."""
_EXACT = 1e-12  # mean square error, as a share of the pixels' own, that counts as none


def encode_dates(
    codec: Codec,
    xs: Sequence[Tile],
    rates: Sequence[Rate],
    *,
    nodata: float | None = None,
    others: Sequence[Codec] = (),
) -> list[bytes]:
    """The payloads of some dates of one tile; those of a group differ in their leading zeros only.

    Parameters
    ----------
    codec
        One that codes several dates together if it is `joins_dates`, else every date is alone.
    xs
        `(bands, y, x)` of each date, all of one shape and dtype.
    rates
        What is asked of each date; groups are of dates of which the same is asked.
    nodata, others
        As `encode_tile` takes them. A group is always `codec`'s.

    Returns
    -------
    A payload a date, each of which decodes alone: date i of a group is i zero bytes and then the
    group's payload (`payloads.split`). What they are depends on these dates and on nothing else.

    Raises
    ------
    InvalidParameterError, BandMismatchError, DataTypeUnsupportedError, InvalidValuesError
    """
    coded = [
        encode_tile(codec, x, rate, nodata=nodata, others=others)
        for x, rate in zip(xs, rates, strict=True)
    ]
    if not isinstance(codec, LatentCodec) or not codec.joins_dates or len(xs) < 2:
        return coded
    found = [
        _Date(index=i, x=x, rate=rate, codec=codec, alone=alone, mask=missing.find(x, nodata))
        for i, (x, rate, alone) in enumerate(zip(xs, rates, coded, strict=True))
    ]
    dates = [date for date in found if date.mask is None or not date.mask.all()]
    for group in _groups(dates):
        payload = _together(codec, group, nodata)
        if payload is not None:
            for position, date in enumerate(group):
                coded[date.index] = bytes(position) + payload
    return coded


@dataclass(frozen=True, kw_only=True, eq=False)
class _Date:
    """One date that has a valid pixel."""

    index: int
    """Place among all dates."""
    x: Tile
    rate: Rate
    codec: LatentCodec
    alone: bytes
    """Its payload if it is coded by itself."""
    mask: missing.Mask | None

    def squares(self, decoded: Tile) -> float:
        """Sum of squared errors over valid pixels."""
        difference = decoded.astype(np.float64) - self.x
        return float(np.square(difference if self.mask is None else difference[~self.mask]).sum())

    @cached_property
    def expected(self) -> float:
        """`squares` of the date coded alone; under a bound, what that lets one expect."""
        if self.rate.max_error is not None:
            return float(np.square(self.rate.max_error).mean()) / 3 * self.x.size
        return self.squares(self.codec.decode(self.alone))


def _groups(dates: Sequence[_Date]) -> list[list[_Date]]:
    """Dates of which the same kind of rate is asked, in groups that may be worth it."""
    kinds: dict[tuple[bool, ...], list[_Date]] = {}
    for date in dates:
        kind = tuple(value is None for value in astuple(date.rate))
        kinds.setdefault(kind, []).append(date)
    return [group for alike in kinds.values() if len(alike) > 1 for group in _estimated(alike)]


def _estimated(dates: Sequence[_Date]) -> list[list[_Date]]:
    xs, masks = [date.x for date in dates], [date.mask for date in dates]
    size = sum(x.size for x in xs)
    error = sum(date.expected for date in dates) / size
    power = sum(date.squares(np.zeros_like(date.x)) for date in dates) / size
    least = max(_EXACT * power, 1 / 12 if xs[0].dtype.kind != "f" else np.finfo(np.float64).tiny)
    found = date_groups.groups(xs, masks, max(error, least))
    return [[dates[i] for i in group] for group in found]


def _together(codec: LatentCodec, group: Sequence[_Date], nodata: float | None) -> bytes | None:
    """The payload of a group, or None if its dates are better coded alone."""
    x, rate = np.concatenate([date.x for date in group]), _joint(group)
    joined = _Joined(codec, len(group))
    size = sum(len(date.alone) for date in group)

    def encode(rate: Rate) -> bytes:
        return encode_tile(joined, x, rate, nodata=nodata)

    def worst(payload: bytes) -> float:
        """The lowest PSNR of a date: what is asked is asked of each, not of their mean."""
        pairs = zip(group, np.split(codec.decode(payload), len(group)), strict=True)
        return min(psnr(date.x, tile, codec.card, nodata) for date, tile in pairs)

    def error(decoded: Tile) -> float:
        pairs = zip(group, np.split(decoded, len(group)), strict=True)
        return sum(date.squares(tile) for date, tile in pairs)

    apart = sum(date.expected for date in group)
    if rate.max_error is not None:
        payload = encode(rate)
        return payload if len(payload) < size else None
    if rate.target_ratio is not None:
        payload = encode(rate)
        return payload if error(codec.decode(payload)) < apart else None
    if rate.target_psnr is not None:
        payload = encode(rate)
        short = rate.target_psnr - worst(payload)
        if short > PSNR_ALLOWANCE and len(payload) < size:
            payload = encode(Rate(target_psnr=rate.target_psnr + short))
            short = rate.target_psnr - worst(payload)
        return payload if short <= PSNR_ALLOWANCE and len(payload) < size else None

    def trial(quality: float) -> tuple[float, Callable[[], bytes]]:
        latents = joined.analyse(x, quality=quality, nodata=nodata)
        found = error(joined.synthesise(latents))
        below = 10 * math.log10(apart / found) if apart and found else math.inf if apart else 0.0
        return below - AIM, partial(joined.pack, latents)

    gap, pack = search(
        codec.card, trial, slope=PSNR_A_QUALITY, tolerance=2 * AIM, start=rate.quality
    )
    payload = pack()
    return payload if gap >= -2 * AIM and len(payload) < size else None


def _joint(group: Sequence[_Date]) -> Rate:
    """What is asked of all dates of a group together."""
    rate = group[0].rate
    if rate.max_error is not None:
        return Rate(max_error=tuple(bound for d in group for bound in d.rate.max_error or ()))
    if rate.target_ratio is not None:
        allowed = sum(date.x.nbytes / (date.rate.target_ratio or 1.0) for date in group)
        return Rate(target_ratio=sum(date.x.nbytes for date in group) / allowed)
    return rate


class _Joined(LatentCodec):
    """A codec whose payloads say that their bands are those of several dates."""

    joins_dates = True

    def __init__(self, codec: LatentCodec, dates: int) -> None:
        self.card = codec.card
        self.keeps_bounds = codec.keeps_bounds
        self._codec = codec
        self._dates = dates

    def analyse(
        self,
        x: Tile,
        *,
        quality: float | None = None,
        nodata: float | None = None,
        basis: Basis = "tile",
    ) -> Latents:
        latents = self._codec.analyse(x, quality=quality, nodata=nodata, basis=basis)
        return replace(latents, dates=self._dates)

    def reconstruct(self, latents: Latents) -> npt.NDArray[np.float64]:
        return self._codec.reconstruct(latents)

    def pack(self, latents: Latents) -> bytes:
        return self._codec.pack(latents)

    def unpack(self, payload: bytes) -> Latents:
        return self._codec.unpack(payload)

    def embedding_step(self, quality: float) -> float:
        return self._codec.embedding_step(quality)
