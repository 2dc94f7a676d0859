"""What is asked of the coding of a tile: a quality, a PSNR, a ratio, or a bound on the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from openeo_nc.errors import InvalidParameterError


@dataclass(frozen=True, kw_only=True)
class Rate:
    """At most one of four targets; none of them is the codec's default quality."""

    quality: float | None = None
    """Level in the range of the codec's card."""
    target_psnr: float | None = None
    """PSNR in dB that every tile shall have."""
    target_ratio: float | None = None
    """Bytes of the pixels a byte of payload that every tile shall reach."""
    max_error: tuple[float, ...] | None = None
    """Largest absolute error of a valid pixel, one a band, in the card's units; 0 is lossless."""

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if len(given) > 1:
            raise InvalidParameterError(f"{' and '.join(given)} are given: expected at most one")
        for name in ("quality", "target_psnr", "target_ratio"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidParameterError(f"{name} {value}: expected a positive number")
        if self.max_error is not None and not all(
            math.isfinite(bound) and bound >= 0 for bound in self.max_error
        ):
            raise InvalidParameterError(
                f"max_error {self.max_error}: expected numbers that are not negative"
            )

    @classmethod
    def of(
        cls,
        *,
        quality: float | None = None,
        target_psnr: float | None = None,
        target_ratio: float | None = None,
        max_error: float | Sequence[float] | None = None,
        bands: int,
    ) -> Rate:
        """The rate of parameters as users give them: `max_error` may be one number for all bands.

        Raises
        ------
        InvalidParameterError
            Two are given, one is not a number it can be, or `max_error` has another length.
        """
        try:
            bounds = None if max_error is None else _a_band(max_error, bands)
            return cls(
                quality=None if quality is None else float(quality),
                target_psnr=None if target_psnr is None else float(target_psnr),
                target_ratio=None if target_ratio is None else float(target_ratio),
                max_error=bounds,
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidParameterError):
                raise
            raise InvalidParameterError(f"a rate is made of numbers: {error}") from error


def _a_band(max_error: float | Sequence[float], bands: int) -> tuple[float, ...]:
    if not isinstance(max_error, Sequence):
        return (float(max_error),) * bands
    if len(max_error) != bands:
        raise InvalidParameterError(
            f"max_error has {len(max_error)} numbers for {bands} bands: expected one a band"
        )
    return tuple(float(bound) for bound in max_error)
