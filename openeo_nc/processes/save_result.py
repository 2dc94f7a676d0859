"""The openEO process save_result: cubes and quality reports into the folder of the run.

Where results go is not an argument of the process but of whoever runs the graph: within
`cubes.outputs.output_folder(path)` every save_result is planned, and all are written by one
computation when it closes. Outside of it a result is written at once, into `openeo-nc-output`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr
from dask.delayed import delayed
from dask_geopandas import GeoDataFrame as LazyGeoDataFrame
from geopandas import GeoDataFrame

from openeo_nc.cubes import outputs
from openeo_nc.cubes.dims import with_bands
from openeo_nc.cubes.planned import Planned
from openeo_nc.cubes.quality import QualityReport
from openeo_nc.errors import (
    FormatUnsuitableError,
    FormatUnsupportedError,
    InvalidParameterError,
)
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.cubes.outputs import Outputs, Saved
    from openeo_nc.models.quantisation import Quantiser

PREFIX = "result"
"""Name of results whose options give no `filename_prefix`."""


def save_result(
    data: xr.DataArray | QualityReport | GeoDataFrame,
    format: str,
    options: Mapping[str, Any] | None = None,
) -> bool:  # openEO's names
    """Save a cube, or a quality report; true, as an error is raised otherwise.

    Raises
    ------
    FormatUnsupportedError
        There is no such format.
    FormatUnsuitableError, InvalidParameterError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError
        The format cannot hold the cube, or an option has no meaning.
    """
    name = str(format).upper()
    known = sorted({*_FORMATS, *_REPORTS, *_VECTORS})
    if name not in known:
        raise FormatUnsupportedError(
            f"There is no output format '{format}'; possible are {', '.join(known)}."
        )
    if isinstance(data, xr.DataArray):
        cube = data if name == "ZARR" else with_bands(data)
        plan = _suitable(_FORMATS, name, "data cubes")(cube, options)
    elif isinstance(data, QualityReport):
        plan = _suitable(_REPORTS, name, "reports of compression_quality")(data, options)
    elif isinstance(data, GeoDataFrame | LazyGeoDataFrame):
        plan = _suitable(_VECTORS, name, "what find_similar found")(data, options)
    else:
        raise FormatUnsuitableError(
            f"Data cubes and reports of compression_quality are saved; given {type(data).__name__}."
        )
    outputs.save(_recorded(name, data, plan))
    return True


def _recorded(
    form: str, data: Any, plan: Callable[[Outputs], Delayed]
) -> Callable[[Outputs], Delayed]:
    """The plan, and a note of how large its result will be."""

    def planned(to: Outputs) -> Delayed:
        made = plan(to)
        to.planned.append(Planned.of(form, data))
        return made

    return planned


def _suitable(writers: Mapping[str, Writer], name: str, what: str) -> Writer:
    """The writer of a format; FormatUnsuitableError if it is none for such data."""
    if name not in writers:
        raise FormatUnsuitableError(
            f"{name} does not hold {what}; these are saved as {', '.join(sorted(writers))}."
        )
    return writers[name]


def _zarr(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.embedding_store import plan_embedding_store
    from openeo_nc.cubes.store import plan_store

    given = take(options, "filename_prefix", "self_contained", "shard_tiles", "quantization")
    chosen = _quantiser(data, given.pop("quantization"))
    if not isinstance(given["shard_tiles"], int | float | None):
        raise InvalidParameterError(f"shard_tiles is a number; given {given['shard_tiles']!r}.")
    settings = {k: v for k, v in given.items() if v is not None and k != "filename_prefix"}

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".zarr")
        path = to.folder / f"{name}.zarr"
        if chosen is not None:
            store = plan_embedding_store(data, chosen, path, ledger=to.ledger)
        else:
            store = plan_store(data, path, ledger=to.ledger, **settings)
        to.objects += store.objects
        to.discards.append(store.staging.discard)
        saved: Delayed = delayed(_saved_store, pure=False)(store.report)
        return saved

    return plan


def _quantiser(data: xr.DataArray, name: Any) -> Quantiser | None:
    """What an embedding cube is stored as integers by; None for what is stored otherwise."""
    from openeo_nc.cubes.embedding_codes import choose
    from openeo_nc.cubes.payloads import payloads_of

    if not isinstance(name, str | None):
        raise InvalidParameterError(f"quantization is the name of a quantiser; given {name!r}.")
    return None if name is None and payloads_of(data) is not None else choose(data, name)


def _plain_vectors(data: xr.DataArray) -> Quantiser | None:
    """float32 for an embedding cube of any kind; None for other cubes."""
    from openeo_nc.cubes.dims import EMBEDDING
    from openeo_nc.models.quantisation import quantiser

    if EMBEDDING not in data.dims:
        return None
    return quantiser("float32", dim=data.sizes[EMBEDDING])


def _saved_store(report: Any) -> Saved:
    return outputs.Saved(
        path=report.path,
        format="ZARR",
        files=(report.path,),
        bytes=report.bytes,
        details={"report": report.to_dict()},
    )


def _gtiff(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.embedding_cog import plan_cogs
    from openeo_nc.cubes.geotiff import plan_geotiff

    given = take(options, "filename_prefix", "compression", "quantization")
    chosen = _quantiser(data, given["quantization"])
    compression = str(given["compression"] or "DEFLATE")

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".tif")
        if chosen is not None and chosen.name != "float32":
            return plan_cogs(data, chosen, to, name, compression)
        return plan_geotiff(data, to, name, compression)

    return plan


def _parquet(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.embedding_table import plan_table

    given = take(options, "filename_prefix", "quantization", "geometry")
    chosen = _quantiser(data, given["quantization"]) or _plain_vectors(data)
    if chosen is None:
        raise FormatUnsuitableError("PARQUET holds embedding cubes; use ZARR or GTIFF for others.")
    geometry = str(given["geometry"] or "polygon")

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".parquet")
        return plan_table(data, chosen, to, name, geometry)

    return plan


def _netcdf(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.netcdf import plan_netcdf

    given = take(options, "filename_prefix")

    def plan(to: Outputs) -> Delayed:
        return plan_netcdf(data, to, to.free_name(_prefix(given), ".nc"))

    return plan


def _png(data: xr.DataArray, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.cubes.png import plan_png

    given = take(options, "filename_prefix", "red", "green", "blue", "gray", "min", "max")
    bands = _colours(given)
    low, high = (_number(name, given[name]) for name in ("min", "max"))

    def plan(to: Outputs) -> Delayed:
        name = to.free_name(_prefix(given), ".png")
        return plan_png(data, to, name, bands=bands, low=low, high=high)

    return plan


def _colours(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The bands of a picture: one for `gray`, three for `red`, `green` and `blue`, or none named."""
    named = {n: options[n] for n in ("red", "green", "blue", "gray") if options[n] is not None}
    if list(named) not in ([], ["gray"], ["red", "green", "blue"]):
        raise InvalidParameterError("PNG takes red, green and blue together, or gray alone.")
    if wrong := [name for name, band in named.items() if not isinstance(band, str)]:
        raise InvalidParameterError(f"{', '.join(wrong)}: labels of bands are texts.")
    return tuple(named.values())


def _number(name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None if value is None else float(value)
    raise InvalidParameterError(f"{name} is a number; given {value!r}.")


def _report(
    form: str, data: QualityReport, options: Mapping[str, Any] | None
) -> Callable[[Outputs], Delayed]:
    from openeo_nc.report.saving import plan_report

    given = take(options, "filename_prefix")

    def plan(to: Outputs) -> Delayed:
        return plan_report(data, to, to.free_name(_prefix(given), f".{form.lower()}"), form)

    return plan


def _geojson(data: Any, options: Mapping[str, Any] | None) -> Callable[[Outputs], Delayed]:
    from openeo_nc.search.saving import plan_geojson

    given = take(options, "filename_prefix")

    def plan(to: Outputs) -> Delayed:
        return plan_geojson(data, to, to.free_name(_prefix(given), ".geojson"))

    return plan


def _prefix(options: Mapping[str, Any]) -> str:
    prefix = options["filename_prefix"] or PREFIX
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", prefix):
        raise InvalidParameterError(
            f"filename_prefix is a name of letters, digits, _, - and '.'; given {prefix!r}."
        )
    return prefix


Writer = Callable[[Any, Mapping[str, Any] | None], Callable[["Outputs"], "Delayed"]]
_FORMATS: dict[str, Writer] = {"ZARR": _zarr, "GTIFF": _gtiff, "NETCDF": _netcdf, "PNG": _png,
                                "PARQUET": _parquet}  # fmt: skip
_VECTORS: dict[str, Writer] = {"GEOJSON": _geojson}
_REPORTS: dict[str, Writer] = {form: partial(_report, form) for form in ("JSON", "HTML")}
