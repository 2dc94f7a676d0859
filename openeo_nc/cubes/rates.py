"""What is asked of a cube's tiles, in the cube's numbers; and what that is for one tile's codec.

        compress_cube(max_error=0.001)   Asked                      cube numbers, in the graph
        tile (float32, up to 9,800)      Rate(max_error=(9.99,))    card numbers, in the task

A bound is converted where the pixels are at hand: how much rounding costs depends on how large
they are. A ratio counts valid pixels, so that no data beyond a cube's edge buys no bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import registry
from openeo_nc.codecs.rate import Rate
from openeo_nc.cubes.scaling import card_bound
from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard

QUALITY_STEPS = 256
"""Payloads hold quality in steps of 1/256."""
FALLBACKS = ("sperr", "jpegxl", "pcodec")
"""Codecs of any bands that a tile may take under a bound, where they are smaller."""
Guard = Literal["off", "report", "bounded"]
"""What is done about tiles that look unlike the codec's training data."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A rate for all tiles; with a guard, another one for tiles unlike the training data."""

    rate: Rate
    """Of every tile that `flagged` does not take; `max_error` in the cube's numbers."""
    flagged: Rate | None = None
    """A bound, in the cube's numbers, of tiles that the guard flags or cannot judge."""
    guard: Guard = "off"
    """Whether tiles are scored, and what for."""
    dates: int | None = None
    """Days of a window whose dates may be coded together; None codes each date alone."""

    @property
    def quality(self) -> float | None:
        """The quality that all tiles have; None where each finds its own."""
        return self.rate.quality if self.flagged is None else None

    @property
    def max_error(self) -> tuple[float, ...] | None:
        """The bound of all tiles."""
        return self.rate.max_error

    @property
    def bounded(self) -> Rate | None:
        """The bound that is kept anywhere."""
        return self.flagged or (self.rate if self.rate.max_error is not None else None)

    def document(self) -> dict[str, Any]:
        """As attributes and Items have it: what was asked, by the names of `compress_cube`."""
        found = {
            name: _plain(value)
            for rate in (self.rate, self.flagged)
            for name, value in (asdict(rate).items() if rate else ())
            if value is not None
        }
        if self.dates is not None:
            found["dates"] = self.dates
        return found if self.guard == "off" else {**found, "guard": self.guard}

    @classmethod
    def of_document(cls, document: Mapping[str, Any], bands: int) -> Asked:
        """Inverse of `document`."""
        given = dict(document)
        guard = given.pop("guard", "off")
        dates = given.pop("dates", None)
        bound = given.pop("max_error", None)
        flagged = Rate.of(max_error=bound, bands=bands) if guard == "bounded" else None
        first = {} if flagged else {"max_error": bound}
        rate = Rate.of(**given, **first, bands=bands)
        return cls(rate=rate, flagged=flagged, guard=guard, dates=dates)


def _plain(value: float | tuple[float, ...]) -> float | list[float]:
    """One number where all bands have the same."""
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else list(value)
    return value


def asked(
    card: CodecCard,
    bands: Sequence[str],
    *,
    quality: float | None = None,
    target_psnr: float | None = None,
    target_ratio: float | None = None,
    max_error: float | Sequence[float] | None = None,
    guard: Guard = "off",
    dates: int | None = None,
) -> Asked:
    """What the parameters of `compress_cube` ask of a codec.

    Raises
    ------
    InvalidParameterError
        A value is none that the parameter takes, or two exclude each other.
    """
    if guard not in ("off", "report", "bounded"):
        raise InvalidParameterError(f"guard must be 'off', 'report' or 'bounded'; given {guard!r}.")
    if guard == "bounded" and max_error is None:
        raise InvalidParameterError(
            "The guard 'bounded' needs max_error: the bound of the tiles that it flags or cannot judge."
        )
    if guard == "bounded" and dates is not None:
        raise InvalidParameterError(
            "The guard 'bounded' decides for each date, so it takes no dates together."
        )
    if guard != "off" and card.guard is None:
        raise InvalidParameterError(
            f"The codec '{card.codec_id}' has no guard: it knows no training data that tiles could "
            "be unlike."
        )
    targets = {"quality": quality, "target_psnr": target_psnr, "target_ratio": target_ratio}
    bound = None if max_error is None else Rate(max_error=check_bounds(max_error, bands))
    given = [name for name, value in targets.items() if value is not None]
    if bound is not None and guard != "bounded":
        given.append("max_error")
    if len(given) > 1:
        raise InvalidParameterError(
            f"At most one of quality, target_psnr, target_ratio and max_error; given "
            f"{' and '.join(given)}. Only the guard 'bounded' takes max_error beside another."
        )
    rate = bound if given == ["max_error"] else None
    if rate is None:
        for name in {"target_psnr", "target_ratio"}.intersection(given):
            _check_number(name, targets[name], above=0)
        if not given or quality is not None:
            targets["quality"] = check_quality(card, quality)
        rate = Rate.of(**targets, bands=len(bands))
    return Asked(
        rate=rate,
        flagged=bound if guard == "bounded" else None,
        guard=guard,
        dates=None if dates is None else check_days(dates),
    )


def check_quality(card: CodecCard, quality: float | None) -> float:
    """The quality in the steps that payloads hold; InvalidParameterError outside the card's range."""
    low, high, default = card.quality
    if quality is None:
        return float(default)
    _check_number("quality", quality)
    if not low <= quality <= high:
        raise InvalidParameterError(
            f"quality of '{card.codec_id}' goes from {low:g} to {high:g}; given {quality:g}."
        )
    return round(float(quality) * QUALITY_STEPS) / QUALITY_STEPS


def check_days(dates: Any) -> int:
    """The days of a window; InvalidParameterError if they are no whole number above 0."""
    _check_number("dates", dates, above=0)
    if dates != int(dates):
        raise InvalidParameterError(f"dates must be a whole number of days; given {dates}.")
    return int(dates)


def check_bounds(max_error: Any, bands: Sequence[str]) -> tuple[float, ...]:
    """`max_error` as one number a band; InvalidParameterError if it is no bound of these bands."""
    if isinstance(max_error, np.ndarray):
        max_error = max_error.tolist()
    if not isinstance(max_error, list | tuple):
        _check_number("max_error", max_error, least=0)
        return (float(max_error),) * len(bands)
    if len(max_error) != len(bands):
        raise InvalidParameterError(
            f"max_error must be a number, or a list of one for each of the {len(bands)} bands "
            f"{', '.join(bands[:20])}; given a list of {len(max_error)}."
        )
    for band, bound in zip(bands, max_error, strict=True):
        _check_number(f"max_error of band {band}", bound, least=0)
    return tuple(map(float, max_error))


def _check_number(
    name: str, value: Any, *, above: float | None = None, least: float | None = None
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InvalidParameterError(f"{name} must be a number; given {value!r}.")
    if (
        not np.isfinite(value)
        or (above is not None and value <= above)
        or (least is not None and value < least)
    ):
        limit = f" above {above:g}" if above is not None else ""
        limit = f" not below {least:g}" if least is not None else limit
        raise InvalidParameterError(f"{name} must be a finite number{limit}; given {value}.")


def fallbacks(card: CodecCard, dtype: np.dtype[Any]) -> tuple[CodecCard, ...]:
    """The other codecs that may code a tile of a dtype under a bound."""
    known = {other.codec_id: other for other in registry.list_codecs()}
    found = (known[codec_id] for codec_id in FALLBACKS if codec_id in known)
    return tuple(
        other for other in found if other.codec_id != card.codec_id and dtype.name in other.dtypes
    )


def of_tile(
    rate: Rate, x: npt.NDArray[Any], *, ratio: float, dtype: np.dtype[Any],
    reference: np.dtype[Any], nodata: float | None, cube_nodata: float | None,
) -> Rate:  # fmt: skip
    """What is asked of one tile `(bands, y, x)`, in its card numbers.

    Parameters
    ----------
    ratio, dtype, cube_nodata
        As `scaling.from_card` takes them.
    reference
        dtype that a ratio counts the cube's pixels in.
    nodata
        No data of integer card numbers.

    Raises
    ------
    InvalidParameterError
        Converting the tile to card numbers alone costs more than a bound.
    """
    if rate.max_error is None and rate.target_ratio is None:
        return rate
    valid = ~np.isnan(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
    if nodata is not None:
        valid &= x != nodata
    if rate.target_ratio is not None:
        share = x.nbytes / (max(int(valid.sum()), 1) * reference.itemsize)
        return replace(rate, target_ratio=rate.target_ratio * share)
    largest = np.abs(np.where(valid, x, 0).astype(np.float64)).max(axis=(1, 2))
    bounds = (
        card_bound(bound, float(top), ratio, dtype, x.dtype, cube_nodata)
        for bound, top in zip(rate.max_error or (), largest, strict=True)
    )
    return replace(rate, max_error=tuple(bounds))


def reference_dtype(dtype: np.dtype[Any], card: CodecCard) -> np.dtype[Any]:
    """The dtype that ratios compare with, of tiles of a dtype.

    uint16 for pixels of up to 16 bits and for reflectances, which are 16 bits at their source; else
    the pixels' own.
    """
    return np.dtype(np.uint16) if dtype.itemsize <= 2 or card.scale is not None else dtype
