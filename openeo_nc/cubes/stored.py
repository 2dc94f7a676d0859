"""Opens a store as the cube it was written from: its extent, dims, numbers and dtype (lazy).

`xr.open_zarr` gives the same values in a store's own terms: whole tiles, always t and bands,
float64 where CF's scale applies, NaN for no data. This takes that back, so that the cube is equal
to the one that was saved, and an embedding decodes again.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.codecs.views import ARRAYS, native_view, view_of
from openeo_nc.codecs.zarr import NO_LATENT, View
from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y
from openeo_nc.cubes.embedding_store import open_embeddings
from openeo_nc.cubes.reread import with_stored_payloads
from openeo_nc.cubes.scaling import from_card, multiply
from openeo_nc.errors import FormatUnsuitableError

STORES = ("nc:window", "nc:dims", "nc:reference_dtype", "nc:source_nodata", "grid_mapping",
          "scale_factor", "_FillValue")  # fmt: skip
"""Attributes that say how a store holds a cube, and nothing of the cube."""


def open_cube(path: str | os.PathLike[str], view: View | None = None) -> xr.DataArray:
    """The cube that a store holds; one chunk a tile, nothing is read.

    Parameters
    ----------
    path
        Folder (or URL) of a store that `write_store` wrote.
    view
        `pixels` or `latents`; default the one it was written in. A plain store has no other.

    Raises
    ------
    FormatUnsuitableError
        There is no store, it holds no cube, or it does not have that view.
    """
    native = native_view(path)
    if native is None and view is None:
        return _plain(path)
    chosen: View = view or native or "pixels"
    dataset = xr.open_zarr(view_of(path, chosen), chunks={}, mask_and_scale=False)
    coded = dataset[ARRAYS[chosen]]
    stated = "nc:source_nodata" if native == "pixels" else "_FillValue"
    nodata = coded.attrs.get(stated)
    cube = _pixels(coded, nodata) if chosen == "pixels" else _latents(coded)
    cube.attrs = {name: value for name, value in coded.attrs.items() if name not in STORES}
    if cube.dtype.kind != "f" and nodata is not None:
        cube.attrs["_FillValue"] = nodata
    return with_stored_payloads(_labelled(cube), path)


def _pixels(coded: xr.DataArray, nodata: float | None) -> xr.DataArray:
    attrs = coded.attrs
    dtype = np.dtype(attrs.get("nc:source_dtype", coded.dtype))
    factor = float(attrs.get("scale_factor", 1.0))
    data = coded.data.map_blocks(_restored, factor, dtype, nodata, dtype=dtype)
    top, bottom, left, right = attrs["nc:window"]
    cube = coded.copy(data=data).isel(
        {Y: slice(top, coded.sizes[Y] - bottom), X: slice(left, coded.sizes[X] - right)}
    )
    dims = attrs.get("nc:dims", cube.dims)
    cube = cube.isel({dim: 0 for dim in (T, BANDS) if dim not in dims}, drop=True)
    return cube.transpose(*dims)


def _latents(coded: xr.DataArray) -> xr.DataArray:
    step = float(coded.attrs["nc:step"])
    data = coded.data.map_blocks(_embedded, step, dtype=np.dtype(np.float32))
    return coded.copy(data=data).rename(EMBEDDING)


def _plain(path: str | os.PathLike[str]) -> xr.DataArray:
    if (quantised := open_embeddings(path)) is not None:
        return quantised
    dataset = xr.open_zarr(path, chunks={}, mask_and_scale=False)
    names = [name for name in ARRAYS.values() if name in dataset.data_vars]
    if not names:
        raise FormatUnsuitableError(f"{path} holds no cube; it has {list(dataset.data_vars)}.")
    cube = dataset[names[0]]
    cube.attrs.pop("grid_mapping", None)
    return _labelled(cube)


def _labelled(cube: xr.DataArray) -> xr.DataArray:
    """The cube with its string labels as NumPy's ordinary ones."""
    texts = {
        name: (coord.dims, np.array(coord.values.tolist(), str), coord.attrs)
        for name, coord in cube.coords.items()
        if coord.dtype.kind in "TO" and name in cube.dims
    }
    return cube.assign_coords(texts)


def _restored(
    block: npt.NDArray[Any], factor: float, dtype: np.dtype[Any], nodata: float | None
) -> npt.NDArray[Any]:
    """Decoded numbers as the cube's."""
    if dtype.kind == "f":
        return block if (factor, block.dtype) == (1.0, dtype) else multiply(block, factor, dtype)
    return from_card(block, 1.0 / factor, dtype, nodata)


def _embedded(block: npt.NDArray[np.int32], step: float) -> npt.NDArray[np.float32]:
    values = (block * np.float64(step)).astype(np.float32)
    values[block == NO_LATENT] = np.nan
    return values
