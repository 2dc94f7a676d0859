"""Samples of one chunk, and what passes over all of them add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError, NoDataAvailableError

Array = npt.NDArray[Any]
MOST_CLASSES = 1000
"""More labels than this are no classes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Vectors with what is known of each."""

    x: Array
    """`(samples, features)` float32, finite."""
    y: Array
    """`(samples,)` float64: a number, or the code of a class."""

    @classmethod
    def known(cls, x: Array, y: Array) -> Samples:
        """Those of vectors `(n, features)` and targets `(n,)` without NaN in either."""
        good = np.isfinite(x).all(axis=1) & np.isfinite(y)
        return cls(x=np.ascontiguousarray(x[good], np.float32), y=y[good].astype(np.float64))

    def __len__(self) -> int:
        return len(self.y)


def joined(parts: list[Samples]) -> Samples:
    """All of several."""
    return Samples(x=np.concatenate([p.x for p in parts]), y=np.concatenate([p.y for p in parts]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Means and squared deviations, merged in any order (Chan, Golub and LeVeque, 1979)."""

    count: int
    """Samples."""
    mean: Array
    """`(features + 1,)`, the last of the target."""
    squares: Array
    """Sums of squared deviations from the mean."""
    codes: tuple[float, ...]
    """Targets that occur; at most one more than `MOST_CLASSES` of them."""

    @classmethod
    def of(cls, samples: Samples) -> Moments:
        """Those of a chunk."""
        both = np.column_stack([samples.x.astype(np.float64), samples.y])
        mean = both.mean(axis=0) if len(samples) else np.zeros(both.shape[1])
        codes = np.unique(samples.y)[: MOST_CLASSES + 1]
        return cls(
            count=len(samples), mean=mean, squares=((both - mean) ** 2).sum(axis=0),
            codes=tuple(codes.tolist()),
        )  # fmt: skip

    @staticmethod
    def merged(parts: list[Moments]) -> Moments:
        """Those of all chunks."""
        first, *rest = parts
        for other in rest:
            first = first._with(other)
        return first

    def _with(self, other: Moments) -> Moments:
        count = max(self.count + other.count, 1)
        apart = other.mean - self.mean
        return Moments(
            count=self.count + other.count,
            mean=self.mean + apart * (other.count / count),
            squares=self.squares + other.squares + apart**2 * (self.count * other.count / count),
            codes=tuple(sorted({*self.codes, *other.codes})[: MOST_CLASSES + 1]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """What every further pass knows of all samples."""

    count: int
    """Samples."""
    mean: Array
    """`(features,)`, subtracted from vectors."""
    scale: Array
    """`(features,)`, divided by then; 1 where all samples have one value."""
    target: float
    """Mean of the targets."""
    codes: Array
    """Codes of the classes, ascending; the number of a class is its place here."""

    @classmethod
    def of(
        cls, moments: Moments, codes: Array | None, classes: bool, alike: bool = False
    ) -> Scaling:
        """From all samples.

        Parameters
        ----------
        codes
            Codes of the classes that there are, where that is known; else those that occur.
        classes
            Whether targets are classes.
        alike
            Whether features keep their sizes beside each other: one scale is for all.

        Raises
        ------
        NoDataAvailableError
            There is no sample.
        InvalidParameterError
            Targets are to be classes, and there is one of them only, or there are too many.
        """
        if not moments.count:
            raise NoDataAvailableError("No patch with data has a label: there is nothing to learn.")
        found = np.asarray(moments.codes)
        if classes and not 2 <= len(found) <= MOST_CLASSES:
            many = f"{len(found)}" if len(found) < 2 else f"more than {MOST_CLASSES}"
            raise InvalidParameterError(
                f"Samples are of {many} class(es); a classification needs 2 to {MOST_CLASSES}."
            )
        if classes and np.any(found != np.rint(found)):
            raise InvalidParameterError(
                "Labels of classes are texts or whole numbers; for other numbers use a regression "
                "(mlm_regr_random_forest, mlm_regr_linear)."
            )
        variance = moments.squares[:-1] / moments.count
        deviation = np.sqrt(np.full_like(variance, variance.mean()) if alike else variance)
        return cls(
            count=moments.count,
            mean=moments.mean[:-1],
            scale=np.where(deviation > 0, deviation, 1.0),
            target=float(moments.mean[-1]),
            codes=found if codes is None else codes,
        )

    def vectors(self, samples: Samples) -> Array:
        """`(samples, features)` float64, of mean 0 and scaled, each or together, to deviation 1."""
        return np.asarray((samples.x - self.mean) / self.scale, np.float64)

    def numbers(self, samples: Samples) -> Array:
        """Number of the class of each sample."""
        return np.searchsorted(self.codes, samples.y)

    def to_arrays(self) -> dict[str, Array]:
        """As models keep it."""
        return {"mean": self.mean, "scale": self.scale}


def added(parts: list[Any]) -> Any:
    """Sums of tuples of arrays, item by item; None among them counts nothing."""
    there = [part for part in parts if part is not None]
    return tuple(sum(items) for items in zip(*there, strict=True)) if there else None


Merge = Callable[[list[Any]], Any]
