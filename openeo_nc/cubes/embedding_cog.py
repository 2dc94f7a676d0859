"""Writes embedding cubes as GeoTIFFs of integers, a COG a date, and one more of scales if needed.

    <name>_<date>.tif          a band a value, int8 (or what the quantiser has), its no data
    <name>-scale_<date>.tif    float32, for int8 whose vectors have a scale each

Tags of the first have the quantiser's document, the labels and the cube's attributes. `int8_power` needs no scales and is
what AlphaEarth's own files have.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from openeo_nc.cubes import conventions
from openeo_nc.cubes.dims import EMBEDDING, T, X, Y, crs_name, crs_of
from openeo_nc.cubes.embedding_codes import (
    QUANTIZATION,
    columns,
    edges,
    names_of,
    prepared,
    quantised,
    text_of,
)
from openeo_nc.cubes.embedding_files import Description, described
from openeo_nc.cubes.geotiff import plan_geotiff
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.ledger import Written
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.places import Place

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.models.quantisation import Quantiser

TAG = "NC_QUANTIZATION"
LABELS = "NC_LABELS"
ATTRIBUTES = "NC_ATTRIBUTES"
SCALE_FILE = "-scale"
"""Between the name of a result and the date, in the name of a file of scales."""
TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
_NODATA = {"int8": -128, "int32": -(2**31), "float32": float("nan")}


def plan_cogs(
    cube: xr.DataArray, chosen: Quantiser, outputs: Outputs, name: str, compression: str
) -> Delayed:
    """A task that writes the files of a cube and their STAC; gives `Saved`.

    Raises
    ------
    DimensionMissingError, CRSMissingError, GridMismatchError, FormatUnsuitableError,
    InvalidParameterError
    """
    laid = prepared(cube)
    codes, scales = _codes(laid, chosen)
    if T not in cube.dims:
        codes = codes.isel({T: 0}, drop=True)
        scales = None if scales is None else scales.isel({T: 0}, drop=True)
    document = text_of(chosen)
    attrs = {k: v for k, v in conventions.plain(cube.attrs).items() if k != QUANTIZATION}
    tags = {
        TAG: document,
        LABELS: ",".join(names_of(laid)),
        ATTRIBUTES: json.dumps(attrs, separators=(",", ":")),
    }
    plans = [plan_geotiff(codes, outputs, name, compression, tags=tags)]
    if scales is not None:
        plans.append(plan_geotiff(scales, outputs, name + SCALE_FILE, compression))
    dated = T in cube.coords
    count = laid.sizes[T]
    moments = laid[T].values if dated else ()
    told = Description(
        name=name,
        crs=crs_name(crs_of(laid)),
        bounds=edges(laid[X].values, laid[Y].values, resolution_of(laid)),
        shape=(laid.sizes[Y], laid.sizes[X]),
        attrs=attrs,
        document=document,
        type=TYPE,
        moments=tuple((str(m),) for m in moments) if dated else ((),) * count,
    )
    saved: Delayed = delayed(partial(_saved, told), pure=False)(plans)
    return saved


def _codes(laid: xr.DataArray, chosen: Quantiser) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Cubes of integers `(t, embedding, y, x)` and of scales `(t, bands, y, x)`."""
    _, found = columns(chosen, names_of(laid))
    data: da.Array = laid.data
    dtype = np.dtype(chosen.dtype)
    chunks = (data.chunks[0], (chosen.columns,), *data.chunks[2:])
    values = da.map_blocks(
        _values, data, chosen=chosen, chunks=chunks, dtype=dtype, meta=np.empty((0,) * 4, dtype)
    )
    codes = laid.isel({EMBEDDING: [0] * chosen.columns}).copy(data=values)
    codes = codes.assign_coords({EMBEDDING: list(found)})
    codes.attrs = {}
    if chosen.dtype in _NODATA and codes.dtype.kind != "f":
        codes.attrs["_FillValue"] = _NODATA[chosen.dtype]
    if not chosen.scaled:
        return codes, None
    scale = da.map_blocks(
        _scales, data, chosen=chosen, chunks=(data.chunks[0], (1,), *data.chunks[2:]),
        dtype=np.dtype(np.float32), meta=np.empty((0,) * 4, np.float32),
    )  # fmt: skip
    scales = laid.isel({EMBEDDING: [0]}).copy(data=scale).assign_coords({EMBEDDING: ["scale"]})
    scales.attrs = {}
    return codes, scales


def _values(block: npt.NDArray[Any], *, chosen: Quantiser) -> npt.NDArray[Any]:
    return quantised(block, chosen)[0]


def _scales(block: npt.NDArray[Any], *, chosen: Quantiser) -> npt.NDArray[np.float32]:
    scale = quantised(block, chosen)[1]
    return np.asarray(scale, np.float32)[:, None]


def _saved(told: Description, plans: list[Saved]) -> Saved:
    files = [file for plan in plans for file in plan.files]
    return described(told, [_written(file) for file in files], "GTIFF")


def _written(file: Place) -> Written:
    size = file.stat().st_size
    return Written(output=file.name, fingerprint="", key=file.name, bytes=size, places=(file,))
