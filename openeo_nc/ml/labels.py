"""Labels of patches: features of GeoJSON that lie on them, or a raster of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.geometry
import xarray as xr
from pyproj import Transformer

from openeo_nc.cubes.dims import BANDS, T, X, Y, crs_name, crs_of, lazy, nodata_of, require
from openeo_nc.cubes.grid import TOLERANCE, resolution_of
from openeo_nc.cubes.query import LONLAT
from openeo_nc.errors import (
    DimensionMissingError,
    GeometryInvalidError,
    GridMismatchError,
    InvalidParameterError,
    LabelNotAvailableError,
)
from openeo_nc.ml.model import Array, Label


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Geometries with a label each."""

    shapes: Array
    """Geometries, degrees."""
    values: Array
    """`(features,)` float64: numbers, or places in `classes`; NaN is no label."""
    classes: tuple[Label, ...] | None
    """Labels of classes, in order; None for numbers."""

    @classmethod
    def of(cls, document: Mapping[str, Any], target: str, *, classes: bool) -> Features:
        """Those of a FeatureCollection, or of one Feature.

        Raises
        ------
        GeometryInvalidError
            It is none, or has no geometry.
        LabelNotAvailableError
            No feature has the property.
        InvalidParameterError
            A label is no text and no number.
        """
        features = document.get("features", [document])
        try:
            shapes = [shapely.geometry.shape(one["geometry"]) for one in features]
            given = [(one.get("properties") or {}).get(target) for one in features]
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as e:
            raise GeometryInvalidError(f"labels is no GeoJSON of features: {e!r}") from e
        if all(label is None for label in given):
            raise LabelNotAvailableError(f"No feature of labels has the property '{target}'.")
        values, names = coded(given, classes=classes)
        return cls(shapes=np.asarray(shapes, object), values=values, classes=names)

    def on(self, cube: xr.DataArray) -> Array:
        """The geometries in the CRS of a cube."""
        to = crs_name(crs_of(cube))
        transform = Transformer.from_crs(LONLAT, to, always_xy=True).transform
        return np.asarray(shapely.transform(self.shapes, transform, interleaved=False), object)


def coded(labels: list[Any], *, classes: bool) -> tuple[Array, tuple[Label, ...] | None]:
    """Labels as numbers, and for classes the labels that these numbers are places in.

    Classes are all texts, or all whole numbers; None is no label.

    Raises
    ------
    InvalidParameterError
    """
    there = [label for label in labels if label is not None]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in there)
    if not classes:
        if not numbers:
            raise InvalidParameterError("The target of a regression is a number in each feature.")
        return np.array([np.nan if x is None else x for x in labels], np.float64), None
    whole = numbers and all(float(label).is_integer() for label in there)
    if not whole and not all(isinstance(label, str) for label in there):
        raise InvalidParameterError(
            "Labels of classes are all texts or all whole numbers; given "
            f"{', '.join(repr(label) for label in there[:5])} ..."
        )
    names: list[Any] = sorted({int(label) if whole else label for label in there})
    place = {name: float(number) for number, name in enumerate(names)}
    return np.array([np.nan if x is None else place[x] for x in labels]), tuple(names)


def marked(x: Array, y: Array, half: tuple[float, float], shapes: Array, values: Array) -> Array:
    """Labels `(y, x)` of patches, NaN where there is none; later features go over earlier ones.

    A patch has the label of a polygon that its middle lies in. A point, and whatever has the middle
    of no patch, labels the patch that it lies in.

    Parameters
    ----------
    x, y
        Middles of columns and rows.
    half
        Half of a patch's width and height.
    """
    found = np.full((len(y), len(x)), np.nan)
    for shape, value in zip(shapes, values, strict=True):
        left, bottom, right, top = shape.bounds
        columns = np.flatnonzero((x >= left - half[0]) & (x <= right + half[0]))
        rows = np.flatnonzero((y >= bottom - half[1]) & (y <= top + half[1]))
        if not len(columns) or not len(rows):
            continue
        box = np.ix_(rows, columns)
        at_x, at_y = np.meshgrid(x[columns], y[rows])
        inside = shapely.intersects_xy(shape, at_x, at_y)
        if not inside.any():
            point = shape.representative_point()
            inside = (np.abs(at_x - point.x) <= half[0]) & (np.abs(at_y - point.y) <= half[1])
        found[box] = np.where(inside, value, found[box])
    return found


def aligned(labels: xr.DataArray, cube: xr.DataArray, target: str) -> tuple[xr.DataArray, int]:
    """A raster of labels `(t, y, x)` float64 in the chunks of an embedding cube, lazily.

    Its pixels are patches, or so many of them make one along each side; that number is given too.
    NaN is no label. t has the labels of the cube, or is of size 1 for all dates.

    Raises
    ------
    DimensionMissingError, LabelNotAvailableError, GridMismatchError
    """
    plain = _plain(labels, target)
    if crs_of(plain) != crs_of(cube):
        raise GridMismatchError(
            f"The labels are in {crs_name(crs_of(plain))}, the cube is in "
            f"{crs_name(crs_of(cube))}. Use resample_cube_spatial with method near."
        )
    dates = plain.sizes[T]
    if dates > 1 and not np.array_equal(plain[T].values, cube[T].values):
        raise GridMismatchError("The labels have other dates than the cube; reduce them to one.")
    factor = None
    sizes = zip((X, Y), resolution_of(cube), resolution_of(plain), strict=True)
    for dim, patch, pixel in sizes:
        plain, found = _whole(plain, cube, dim, abs(patch), abs(pixel))
        if factor not in (None, found):
            raise GridMismatchError("Pixels of the labels have other proportions than patches.")
        factor = found
    many = int(factor or 1)
    sides = {
        dim: tuple(int(n) * many for n in cube.chunksizes[dim])
        if many > 1
        else cube.chunksizes[dim]
        for dim in (Y, X)
    }
    return plain.chunk({T: 1, **sides}), many


def _plain(labels: xr.DataArray, target: str) -> xr.DataArray:
    """`(t, y, x)` float64 with NaN as no data."""
    require(labels, X, Y)
    if BANDS in labels.dims:
        names = [str(name) for name in labels[BANDS].values] if BANDS in labels.coords else []
        if target in names:
            labels = labels.isel({BANDS: names.index(target)}, drop=True)
        elif labels.sizes[BANDS] == 1:
            labels = labels.isel({BANDS: 0}, drop=True)
        else:
            raise LabelNotAvailableError(
                f"labels has no band '{target}'; it has {', '.join(names)}."
            )
    if T not in labels.dims:
        labels = labels.expand_dims(T)
    if extra := [str(dim) for dim in labels.dims if dim not in (T, Y, X)]:
        raise DimensionMissingError(f"labels has further dimensions: {', '.join(extra)}.")
    labels = lazy(labels.transpose(T, Y, X))
    nodata = nodata_of(labels)
    numbers = labels.astype(np.float64)
    return numbers if nodata is None or np.isnan(nodata) else numbers.where(labels != nodata)


def _whole(
    labels: xr.DataArray, cube: xr.DataArray, dim: str, patch: float, pixel: float
) -> tuple[xr.DataArray, int]:
    """Labels with exactly the extent of the cube along x or y, and how many make a patch."""
    factor = round(patch / pixel)
    sign = 1 if dim == X else -1
    first = float(cube[dim].values[0]) - sign * patch / 2
    own = float(labels[dim].values[0]) - sign * pixel / 2
    shift = sign * (first - own) / pixel
    begin, size = round(shift), cube.sizes[dim] * factor
    drift = abs(patch / pixel - factor) * cube.sizes[dim]
    if factor < 1 or drift > TOLERANCE * 10 or abs(shift - begin) > TOLERANCE * 10:
        raise GridMismatchError(
            f"Pixels of the labels ({pixel:g}) do not lie on patches of the cube ({patch:g}): so "
            "many must make a patch, edge on edge. Use resample_cube_spatial with method near."
        )
    end = begin + size
    cut = labels.isel({dim: slice(max(begin, 0), max(min(end, labels.sizes[dim]), 0))})
    lacking = (max(-begin, 0), max(end - labels.sizes[dim], 0))
    if any(lacking):
        before = min(lacking[0], size)
        cut = cut.pad({dim: (before, size - before - cut.sizes[dim])}, constant_values=np.nan)
    return cut, factor


def of_patches(labels: Array, many: int, *, classes: bool) -> Array:
    """Labels `(dates, y, x)` of patches: of `many x many` pixels the commonest, or the mean."""
    if many == 1:
        return labels
    dates, height, width = labels.shape
    blocks = labels.reshape(dates, height // many, many, width // many, many)
    pixels = blocks.transpose(0, 1, 3, 2, 4).reshape(dates, height // many, width // many, -1)
    there = np.isfinite(pixels)
    if not classes:
        total = np.where(there, pixels, 0).sum(axis=-1)
        return np.where(there.any(axis=-1), total / np.maximum(there.sum(axis=-1), 1), np.nan)
    best, most = np.full(pixels.shape[:-1], np.nan), np.zeros(pixels.shape[:-1], int)
    for label in np.unique(pixels[there]):
        count = (pixels == label).sum(axis=-1)
        best, most = np.where(count > most, label, best), np.maximum(most, count)
    return best
