"""The openEO process save_result: ZARR, GTIFF and NETCDF into the folder of the run.

Where results go is not an argument of the process but of whoever runs the graph: within
`cubes.outputs.output_folder(path)` every save_result is planned, and all are written by one
computation when it closes. Outside of it a result is written at once, into `openeo-nc-output`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr
from dask.delayed import delayed

from openeo_nc.cubes import outputs
from openeo_nc.errors import (
    FormatUnsuitableError,
    FormatUnsupportedError,
    InvalidParameterError,
)
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.cubes.outputs import Outputs, Saved

PREFIX = "result"
"""Name of results whose options give no `filename_prefix`."""


def save_result(
    data: xr.DataArray, format: str, options: Mapping[str, Any] | None = None
) -> bool:  # openEO's names
    """Save a cube; true, as an error is raised otherwise.

    Raises
    ------
    FormatUnsupportedError
        There is no such format.
    FormatUnsuitableError, InvalidParameterError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError
        The format cannot hold the cube, or an option has no meaning.
    """
    writer = _FORMATS.get(str(format).upper())
    if writer is None:
        raise FormatUnsupportedError(
            f"There is no output format '{format}'; possible are {', '.join(sorted(_FORMATS))}."
        )
    if not isinstance(data, xr.DataArray):
        raise FormatUnsuitableError(f"Data cubes are saved; given {type(data).__name__}.")
    plan = writer(data, options)
    outputs.save(plan)
    return True


def _zarr(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.store import plan_store

    given = take(options, "filename_prefix", "self_contained", "shard_tiles")
    if not isinstance(given["shard_tiles"], int | float | None):
        raise InvalidParameterError(f"shard_tiles is a number; given {given['shard_tiles']!r}.")
    settings = {k: v for k, v in given.items() if v is not None and k != "filename_prefix"}

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".zarr")
        store = plan_store(data, to.folder / f"{name}.zarr", **settings)
        to.discards.append(store.staging.discard)
        saved: Delayed = delayed(_saved_store, pure=False)(store.report)
        return saved

    return plan


def _saved_store(report: Any) -> Saved:
    return outputs.Saved(
        path=report.path,
        format="ZARR",
        files=(report.path,),
        bytes=report.bytes,
        details={"report": report.to_dict()},
    )


def _gtiff(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.geotiff import plan_geotiff

    given = take(options, "filename_prefix", "compression")

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".tif")
        return plan_geotiff(data, to, name, str(given["compression"] or "DEFLATE"))

    return plan


def _netcdf(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.netcdf import plan_netcdf

    given = take(options, "filename_prefix")

    def plan(to: Outputs) -> Delayed:
        return plan_netcdf(data, to, to.free_name(_prefix(given), ".nc"))

    return plan


def _prefix(options: Mapping[str, Any]) -> str:
    prefix = options["filename_prefix"] or PREFIX
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", prefix):
        raise InvalidParameterError(
            f"filename_prefix is a name of letters, digits, _, - and '.'; given {prefix!r}."
        )
    return prefix


_FORMATS = {"ZARR": _zarr, "GTIFF": _gtiff, "NETCDF": _netcdf}
