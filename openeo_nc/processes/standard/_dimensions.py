"""Dimensions of a cube by their openEO type, which xarray does not hold: by name, or by labels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from openeo_nc.errors import DimensionNotAvailableError, TooManyDimensionsError

_NAMES = {
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "temporal": ("t", "time", "date", "year", "month", "week", "day", "hour", "season"),
    "bands": ("bands", "band", "b", "embedding"),
}


def of_type(cube: xr.DataArray, kind: str) -> list[str]:
    """Names of the dimensions of a type: x, y, temporal or bands."""
    return [
        str(name)
        for name in cube.dims
        if str(name).casefold() in _NAMES[kind]
        or (kind == "temporal" and name in cube.coords and cube[name].dtype.kind == "M")
    ]


def named(cube: xr.DataArray, name: str) -> str:
    """The name, if a dimension has it.

    Raises
    ------
    DimensionNotAvailableError
    """
    if name not in cube.dims:
        raise DimensionNotAvailableError(
            f"There is no dimension '{name}'; the cube has {_shown(cube)}."
        )
    return name


def temporal(cube: xr.DataArray, name: str | None) -> str:
    """The temporal dimension of that name, or the only one.

    Raises
    ------
    DimensionNotAvailableError, TooManyDimensionsError
    """
    if name is not None:
        return named(cube, name)
    found = of_type(cube, "temporal")
    if not found:
        raise DimensionNotAvailableError(f"The cube has no temporal dimension, but {_shown(cube)}.")
    if len(found) > 1:
        raise TooManyDimensionsError(
            f"The cube has the temporal dimensions {', '.join(found)}; name one of them."
        )
    return found[0]


def horizontal(cube: xr.DataArray) -> tuple[str, str]:
    """The dimensions x and y.

    Raises
    ------
    DimensionNotAvailableError
    """
    found = [of_type(cube, axis) for axis in ("x", "y")]
    if not all(found):
        raise DimensionNotAvailableError(f"The cube has no dimensions x and y, but {_shown(cube)}.")
    return found[0][0], found[1][0]


def without(cube: xr.DataArray, dimension: str) -> dict[object, xr.DataArray]:
    """Coordinates that do not lie along a dimension."""
    return {n: c for n, c in cube.coords.items() if dimension not in c.dims}


def enumerated(labels: object) -> bool:
    """Whether labels are 0, 1, 2 and so on."""
    given = np.asarray(labels)
    return given.dtype.kind in "iu" and bool((given == np.arange(len(given))).all())


def _shown(cube: xr.DataArray) -> str:
    return ", ".join(map(str, cube.dims)) or "none"
