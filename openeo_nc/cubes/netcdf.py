"""Writes cubes as NetCDF-4 with CF conventions: one variable a band, or one embedding variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np
import xarray as xr

from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, labels, nodata_of
from openeo_nc.cubes.growing import Growth, grown
from openeo_nc.cubes.ledger import Written, fingerprint, keep_file, known
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.payloads import ATTRIBUTE
from openeo_nc.cubes.scenes import ATTRIBUTE as SCENES
from openeo_nc.cubes.strips import Array, prepared, strips

if TYPE_CHECKING:
    from dask._task_spec import TaskRef
    from dask.delayed import Delayed

    from openeo_nc.cubes.task_layer import TaskLayer

CONVENTIONS = "CF-1.11"
VECTORS = "vectors"
"""Variable of an embedding; `embedding` names the labels of its dimension."""


def plan_netcdf(cube: xr.DataArray, outputs: Outputs, name: str) -> Delayed:
    """A task that writes the cube to `<name>.nc`; gives `Saved`.

    Attributes that NetCDF has no form for, such as objects in objects, are left out.

    Raises
    ------
    DimensionMissingError, CRSMissingError, NoDataAvailableError, FormatUnsuitableError
    """
    dims = (T, Y, X) if T in cube.dims else (Y, X)
    given = cube
    cube, dim = prepared(cube, "NETCDF")
    if cube.dtype == bool:
        cube = cube.astype(np.uint8)
    if dim == EMBEDDING:
        names, dims = [VECTORS], (*dims[:-2], EMBEDDING, Y, X)
    else:
        names = (
            _names(labels(cube, BANDS))
            if BANDS in given.dims
            else ["data" if given.name is None else str(given.name)]
        )
    path = outputs.folder / f"{name}.nc"
    nodata = nodata_of(cube)
    header = _header(given, dims)
    attrs = writable(cube.attrs)
    mark = fingerprint(header.to_dict(), names, dims, cube.dtype, nodata, attrs)
    tasks, cut = strips(cube)
    if (found := known(outputs.ledger, path.name, mark).get(path.name)) is not None:
        return _saved_file(tasks, tasks.add("keep", keep_file, found, path), outputs)
    create = partial(
        _create, header=header, names=names, dims=dims, dtype=cube.dtype, nodata=nodata, attrs=attrs
    )
    fillings = [
        (partial(_write, names=names, place=(index,) if T in dims else (), row=strip.row),
         strip.blocks)
        for index, date in enumerate(cut)
        for strip in date
    ]  # fmt: skip
    growth = Growth(create=create, finish=os.replace)
    return _saved_file(tasks, grown(tasks, outputs, path, mark, growth, fillings), outputs)


def _saved_file(tasks: TaskLayer, written: TaskRef, outputs: Outputs) -> Delayed:
    plan = tasks.add("saved", _saved, written)
    outputs.objects.append(tasks.delayed(written))
    return tasks.delayed(plan)


def _header(cube: xr.DataArray, dims: tuple[str, ...]) -> xr.Dataset:
    """Coordinates of the file, without its data."""
    coords = {name: coord for name, coord in cube.coords.items() if set(coord.dims) <= set(dims)}
    header = xr.Dataset(coords={n: c for n, c in coords.items() if n not in dims or c.dims == (n,)})
    header[X].attrs.setdefault("standard_name", "projection_x_coordinate")
    header[Y].attrs.setdefault("standard_name", "projection_y_coordinate")
    header.attrs["Conventions"] = CONVENTIONS
    for dim in set(dims) - set(header.dims):
        header = header.assign_coords({dim: np.arange(cube.sizes[dim])})
    for coord in header.coords.values():
        coord.attrs = writable(coord.attrs)
        coord.encoding.clear()
    return header.reset_coords([n for n in header.coords if n not in header.dims])


def writable(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes as NetCDF takes them; our records and what has no form are left out."""
    kept: dict[str, Any] = {}
    for name, value in attrs.items():
        if isinstance(value, bool | np.bool_):
            value = int(value)
        if isinstance(value, list | tuple) and value:
            whole = all(isinstance(v, str) for v in value) or all(_number(v) for v in value)
            if not whole:
                continue
            value = list(value)
        elif isinstance(value, np.ndarray):
            if value.dtype.kind not in "iufU" or value.ndim > 1:
                continue
        elif not (isinstance(value, str) or _number(value)):
            continue
        if str(name) not in {ATTRIBUTE, SCENES, "_FillValue", "grid_mapping", "coordinates"}:
            kept[str(name).replace("/", "_")] = value
    return kept


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _names(bands: tuple[str, ...]) -> list[str]:
    """Variable names of bands; one that begins with a digit, or equals a coordinate, is prefixed."""
    safe = ["".join(c if c.isalnum() or c in "_-.+" else "_" for c in band) for band in bands]
    clean = [n if n[:1].isalpha() and n not in {T, X, Y} else f"band_{n}" for n in safe]
    return [n if clean.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(clean)]


def _create(
    part: Path, *, header: xr.Dataset, names: list[str], dims: tuple[str, ...], dtype: np.dtype[Any],
    nodata: float | None, attrs: Mapping[str, Any],
) -> None:  # fmt: skip
    part.unlink(missing_ok=True)
    header.to_netcdf(part, engine="netcdf4")
    with netCDF4.Dataset(part, "a") as file:
        chunk = [1 if d == T else min(file.dimensions[d].size, 512) for d in dims]
        for name in names:
            variable = file.createVariable(
                name, dtype, dims, zlib=True, complevel=4, shuffle=True, chunksizes=chunk,
                fill_value=False if nodata is None else dtype.type(nodata),
            )  # fmt: skip
            variable.setncatts(attrs)
            variable.setncattr("grid_mapping", "spatial_ref")
            if name != VECTORS:
                variable.setncattr("long_name", name)


def _write(
    part: Path, values: Array, *, names: list[str], place: tuple[int, ...], row: int
) -> None:
    rows = slice(row, row + values.shape[1])
    with netCDF4.Dataset(part, "a") as file:
        file.set_auto_maskandscale(False)
        if names == [VECTORS]:
            file[VECTORS][(*place, slice(None), rows)] = values
            return
        for name, band in zip(names, values, strict=True):
            file[name][(*place, rows)] = band


def _saved(file: Written) -> Saved:
    path = file.places[0]
    return Saved(path=path, format="NETCDF", files=(path,), bytes=file.bytes)
