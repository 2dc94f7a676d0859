"""Measures a head on each place by a head that was fitted to the others, through the UDF's own code."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from udfs.fit import heads, scores
from udfs.fit.embedded import embed
from udfs.fit.places import NO_LABEL, PATCH, Place, patches

_LONG = 50
"""Dates of a series that is thinned."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Patches of a place that have a class."""

    vectors: Array
    """`(n, dim)` embeddings."""
    pixels: Array
    """`(n, 24)` mean and standard deviation of the bands of each patch; NaN where a band lacks."""
    classes: Array
    """`(n,)` numbers of classes."""


def labelled(place: Place, kinds: Mapping[int, int], dates: slice = slice(None)) -> Labelled:
    """Patches of a place whose label is one of `kinds`, which says the number of its class."""
    number = np.full(NO_LABEL + 1, -1)
    number[list(kinds)] = list(kinds.values())
    classes = number[patches(place.labels[dates])].reshape(-1)
    vectors = np.moveaxis(embed(place.pixels[dates]), 1, -1).reshape(len(classes), -1)
    kept = (classes >= 0) & np.isfinite(vectors).all(-1)
    return Labelled(
        vectors=vectors[kept],
        pixels=moments(place.pixels[dates])[kept],
        classes=classes[kept],
    )


def thinned(place: Place) -> slice:
    """Every third date of long series, all of others: a season is there all the same."""
    return slice(None, None, 3 if len(place.pixels) > _LONG else 1)


def confusions(
    places: Mapping[str, Labelled], classes: int, called: Callable[[heads.Head, Array], Array]
) -> dict[str, Array]:
    """Of each place, by a head of the others; `called(head, vectors)` gives classes."""
    return _each(samples(places), classes, "one", called)


def baseline(
    places: Mapping[str, Labelled], classes: int, name: str, metric: scores.Metric
) -> dict[str, Any]:
    """The score of heads on mean and standard deviation of the bands, of the better of two scales."""
    middle = np.nanmean(np.concatenate([one.pixels for one in places.values()]), 0)
    made = {
        place: heads.Sample(
            features=np.where(np.isnan(one.pixels), middle, one.pixels), classes=one.classes
        )
        for place, one in places.items()
    }
    found = [_each(made, classes, scale, heads.predicted) for scale in get_args(heads.Scale)]
    told = [scores.score(f"{name}, mean and deviation of the bands", one, metric) for one in found]
    return max(told, key=lambda one: one["value"])


def call(udf: ModuleType, vectors: Array, context: Mapping[str, Any]) -> Array:
    """What a UDF gives for vectors `(n, dim)`: `(n, labels)`."""
    cube = xr.DataArray(vectors[None], dims=("y", "x", "embedding"))
    found: Array = udf.apply_datacube(cube, dict(context)).transpose(..., "embedding").values[0]
    return found


def moments(pixels: Array) -> Array:
    """Mean and deviation of the bands of patches: `(t, bands, y, x)` to `(patches, 2 bands)`."""
    t, bands, height, width = pixels.shape
    rows, columns = height // PATCH, width // PATCH
    cut = pixels[..., : rows * PATCH, : columns * PATCH]
    blocks = cut.reshape(t, bands, rows, PATCH, columns, PATCH).transpose(0, 2, 4, 1, 3, 5)
    flat = blocks.reshape(t * rows * columns, bands, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # patches without a valid pixel are NaN
        return np.concatenate([np.nanmean(flat, -1), np.nanstd(flat, -1)], -1)


def samples(places: Mapping[str, Labelled]) -> dict[str, heads.Sample]:
    """What a head is fitted to."""
    return {
        name: heads.Sample(features=one.vectors, classes=one.classes)
        for name, one in places.items()
    }


def described(places: Sequence[Place]) -> dict[str, list[str]]:
    """Files of each place, for cards."""
    return {place.name: list(place.files) for place in places}


def _each(
    places: Mapping[str, heads.Sample],
    classes: int,
    scale: heads.Scale,
    called: Callable[[heads.Head, Array], Array],
) -> dict[str, Array]:
    found = {}
    for name, place in places.items():
        others = {n: one for n, one in places.items() if n != name}
        answers = called(heads.fitted(others, classes, scale), place.features)
        found[name] = scores.confusion(place.classes, answers, classes)
    return found
