"""Two cubes as one: side by side where their labels differ, resolved where they overlap; lazily.

Cubes that differ along one dimension only are put together chunk by chunk. Where they differ along
several, each is widened with no data first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import xarray as xr

from openeo_nc.cubes.dims import lazy, nodata_of
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.errors import (
    GridMismatchError,
    IncompatibleDataCubesError,
    OverlapResolverMissingError,
)
from openeo_nc.processes.standard._dimensions import of_type
from openeo_nc.processes.standard.dimensions import everywhere
from openeo_nc.processes.standard.resampling import resample_cube_spatial

__all__ = ["merge_cubes"]

Labels = Mapping[str, Any]
Resolver = Callable[..., Any]


def merge_cubes(
    cube1: Any, cube2: Any, overlap_resolver: Resolver | None = None, context: Any = None
) -> xr.DataArray:
    """One cube with the labels of both; of pixels on another grid the nearest to those of `cube1`.

    Raises
    ------
    IncompatibleDataCubesError
        Each has a dimension that the other lacks, or one of them is a vector cube.
    OverlapResolverMissingError
        Both have values of the same labels, and nothing says which count.
    """
    if not isinstance(cube1, xr.DataArray) or not isinstance(cube2, xr.DataArray):
        raise IncompatibleDataCubesError("Raster cubes are merged with raster cubes only.")
    attrs = {
        name: value
        for name, value in cube1.attrs.items()
        if name in cube2.attrs and _same(value, cube2.attrs[name])
    }
    cube2 = _on_grid(cube1, cube2)
    one, two = _alike(cube1, cube2)
    union = {str(dim): _union(one, two, str(dim)) for dim in one.dims}
    common = {
        dim: labels[np.isin(labels, one[dim].values) & np.isin(labels, two[dim].values)]
        for dim, labels in union.items()
    }
    apart = [dim for dim, labels in common.items() if not len(labels)]
    if not apart and overlap_resolver is None:
        raise OverlapResolverMissingError(
            "The cubes have values of the same labels, and no overlap_resolver says which count. "
            "To keep both, give bands or embeddings other labels with rename_labels."
        )
    if apart:
        merged = _joined([one, two], union, apart[0])
    else:
        merged = _resolved(one, two, common, union, overlap_resolver, context)
    merged.attrs = attrs
    return merged


def _same(one: Any, two: Any) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(two)))


def _on_grid(cube1: xr.DataArray, cube2: xr.DataArray) -> xr.DataArray:
    """The second cube on the grid of the first, resampled unless it lies on it."""
    axes = [[of_type(cube, axis) for axis in ("x", "y")] for cube in (cube1, cube2)]
    if not all(axes[0] + axes[1]) or axes[0] != axes[1] or None in (cube1.rio.crs, cube2.rio.crs):
        return cube2
    (x,), (y,) = axes[0]
    if all(np.array_equal(cube1[dim].values, cube2[dim].values) for dim in (x, y)):
        return cube2
    try:
        grid = TileGrid.of(cube1, 1)
        window, other = grid.window(cube1), grid.window(cube2)
    except GridMismatchError:
        there = resample_cube_spatial(
            cube2, cube1
        )  # in its chunks, or the finer ones would be both's
        return (
            there if cube1.chunks is None else there.chunk({d: cube1.chunksizes[d] for d in (x, y)})
        )
    # the same pixels may have coordinates that differ by rounding
    moved = {}
    for dim, first, size, step in (
        (x, other.i0 - window.i0, cube2.sizes[x], grid.res_x),
        (y, other.j0 - window.j0, cube2.sizes[y], -grid.res_y),
    ):
        known = cube1[dim].values
        place = first + np.arange(size)
        inside = (place >= 0) & (place < len(known))
        moved[dim] = np.where(
            inside, known[np.clip(place, 0, len(known) - 1)], known[0] + step * place
        )
    return cube2.assign_coords(moved)


def _alike(one: xr.DataArray, two: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with the same dimensions in the same order, and the coordinates that both have."""
    only = [[d for d in a.dims if d not in b.dims] for a, b in ((one, two), (two, one))]
    if all(only):
        raise IncompatibleDataCubesError(
            f"cube1 has {', '.join(map(str, only[0]))} and cube2 {', '.join(map(str, only[1]))}, "
            "which the other lacks; use add_dimension, reduce_dimension or drop_dimension first."
        )
    order = two.dims if only[1] else one.dims
    one = one.expand_dims({dim: two[dim].values for dim in only[1]}).transpose(*order)
    two = two.expand_dims({dim: one[dim].values for dim in only[0]}).transpose(*order)
    if one.chunks is not None or two.chunks is not None:
        one, two = lazy(one), lazy(two)
    kept = {*order, one.rio.grid_mapping, *(n for n in one.coords if n in two.coords)}
    one, two = (cube.drop_vars([n for n in cube.coords if n not in kept]) for cube in (one, two))
    return _labelled(one), _labelled(two)


def _labelled(cube: xr.DataArray) -> xr.DataArray:
    return cube.assign_coords(
        {d: np.arange(cube.sizes[d]) for d in cube.dims if d not in cube.coords}
    )


def _union(one: xr.DataArray, two: xr.DataArray, dim: str) -> Any:
    """Labels of both: sorted as they are where that means something, else those of two behind."""
    first, second = one[dim].values, two[dim].values
    added = second[~np.isin(second, first)]
    if not len(added):
        return first
    labels = np.concatenate([first, added])
    if any(of_type(one[dim], kind) for kind in ("x", "y", "temporal")):
        longer = first if len(first) > 1 else second
        labels = np.sort(labels)
        if len(longer) > 1 and longer[0] > longer[-1]:
            labels = labels[::-1]
    return labels


def _joined(parts: list[xr.DataArray], union: Labels, along: str) -> xr.DataArray:
    """Cubes of different labels along a dimension, one behind the other and then in order."""
    others = {dim: labels for dim, labels in union.items() if dim != along}
    wide = [_widened(part, others, parts) for part in parts]
    joined = xr.concat(wide, along, coords="minimal", compat="override", join="override")
    return _at(joined, {along: union[along]})


def _resolved(
    one: xr.DataArray, two: xr.DataArray, common: Labels, union: Labels, resolver: Any, context: Any
) -> xr.DataArray:
    """The cubes joined, and what a resolver makes of the values of labels that both have."""
    both = _at(one, common)
    values = resolver(
        positional_parameters={},
        named_parameters={"x": both.data, "y": _at(two, common).data, "context": context},
    )
    both = both.copy(data=everywhere(values, both))
    differing = [dim for dim, labels in union.items() if len(labels) != len(common[dim])]
    if not differing:
        return both
    if len(differing) == 1:
        (along,) = differing
        rests = [
            cube.isel({along: ~np.isin(cube[along].values, common[along])}) for cube in (one, two)
        ]
        return _joined([rest for rest in (*rests, both) if rest.sizes[along]], union, along)
    in_both, in_one = (
        reduce(and_, (xr.DataArray(np.isin(union[d], cube[d].values), dims=d) for d in differing))
        for cube in (both, one)
    )
    wide = [_widened(cube, union, [one, two]) for cube in (both, one, two)]
    return wide[0].where(in_both, wide[1].where(in_one, wide[2]))


def _widened(cube: xr.DataArray, labels: Labels, both: list[xr.DataArray]) -> xr.DataArray:
    """The cube with all of these labels, no data where it has none of its own."""
    added = {d: v for d, v in labels.items() if not np.array_equal(cube[d].values, v)}
    if not added:
        return cube
    nodata = {nodata_of(one) for one in both} if cube.dtype.kind in "iu" else {None}
    fill = nodata.pop() if len(nodata) == 1 else None
    return cube.reindex(added, fill_value=np.nan if fill is None else cube.dtype.type(fill))


def _at(cube: xr.DataArray, labels: Labels) -> xr.DataArray:
    """The cube at some of its labels, in their order; what follows one another as slices."""
    for dim, wanted in labels.items():
        own = cube[dim].values
        if np.array_equal(own, wanted):
            continue
        places = {label: place for place, label in enumerate(own.tolist())}
        at = np.array([places[label] for label in wanted.tolist()])
        run = len(at) > 0 and np.array_equal(at, at[0] + np.arange(len(at)))
        cube = cube.isel({dim: slice(int(at[0]), int(at[-1]) + 1) if run else at})
    return cube
