"""Gives a cube that is opened from a store the payloads it is stored as, to be read when needed.

With them an embedding decodes with its exact mask and tells whether it was changed, and saving
what was loaded copies payloads instead of coding pixels a second time.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from openeo_nc.codecs import registry
from openeo_nc.codecs.views import ARRAYS, VIEW
from openeo_nc.cubes.coding import Coding, Form
from openeo_nc.cubes.decode import pixel_grid
from openeo_nc.cubes.dims import EMBEDDING, T, nodata_of
from openeo_nc.cubes.forms import neural_configuration
from openeo_nc.cubes.grid import TileGrid, Window
from openeo_nc.cubes.payloads import Payloads, with_payloads
from openeo_nc.cubes.rates import Asked
from openeo_nc.cubes.scaling import factor
from openeo_nc.cubes.shards import read_tile
from openeo_nc.cubes.tile_graph import TileTask
from openeo_nc.errors import CodecNotFoundError, PayloadError
from openeo_nc.inference.spec import CodecSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from openeo_nc.codecs.base import CodecCard


def with_stored_payloads(cube: xr.DataArray, path: str | os.PathLike[str]) -> xr.DataArray:
    """The cube, all of a store, carrying the store's payloads.

    It stays as it is if the store is not on this file system, is plain, is shown in another view
    than it was written in, or needs a codec that is not installed with the same weights.
    """
    root = Path(path)
    group = _attributes(root)
    view = group.get(VIEW)
    if view != ("latents" if EMBEDDING in cube.dims else "pixels"):
        return cube
    card = _card(group)
    if card is None:
        return cube
    array = _document(root / ARRAYS[view])
    grid, window = _place(cube, card, group)
    attrs = array["attributes"]
    nodata = attrs.get("_FillValue" if view == "pixels" else "nc:nodata")
    dtype, bands = np.dtype(group["nc:dtype"]), tuple(map(str, group["nc:bands"]))
    scale = attrs.get("scale_factor", 1.0) if view == "pixels" else 1.0 / factor(cube, card)
    coding = Coding(
        spec=CodecSpec.of(card),
        others=_others(array),
        asked=Asked.of_document(
            group.get("nc:rate") or {"quality": group["nc:quality"]}, len(bands)
        ),
        form=Form(
            bands=len(bands),
            tile=card.tile,
            dtype=cube.dtype,
            ratio=1.0 / scale,
            nodata=nodata_of(cube) if cube.dtype.kind in "iu" else None,
        ),
        reference=np.dtype(group["nc:reference_dtype"]),
        nodata=None if nodata is None or dtype.kind == "f" else float(nodata),
    )
    payloads = Payloads(
        blocks=_blocks(root / ARRAYS[view], array, window),
        card=card,
        coding=coding,
        grid=grid,
        window=window,
        bands=bands,
        dtype=dtype,
        kind=view,
        scale_factor=scale,
        times=tuple(cube[T].values) if T in cube.dims and T in cube.coords else None,
    )
    return with_payloads(cube, payloads)


def _attributes(folder: Path) -> Mapping[str, Any]:
    return dict(_document(folder).get("attributes", {}))


def _document(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _card(group: Mapping[str, Any]) -> CodecCard | None:
    """The codec's card, if it is installed with the weights that the store names."""
    try:
        card = registry.get_card(str(group["nc:codec"]))
    except CodecNotFoundError:
        return None
    return card if card.weights_sha256 == group.get("nc:weights_sha256") else None


def _others(array: Mapping[str, Any]) -> tuple[CodecSpec, ...]:
    """Other codecs that the array's payloads may be of."""
    named = neural_configuration(array).get("others", {})
    return tuple(CodecSpec(codec_id=name, weights_sha256=sha) for name, sha in named.items())


def _place(
    cube: xr.DataArray, card: CodecCard, group: Mapping[str, Any]
) -> tuple[TileGrid, Window]:
    if EMBEDDING not in cube.dims:
        grid = TileGrid.of(cube, card.tile)
        return grid, grid.window(cube)
    grid, window = pixel_grid(cube, card)
    top, bottom, left, right = group["nc:window"]
    return grid, replace(window, pad_top=top, pad_bottom=bottom, pad_left=left, pad_right=right)


def _blocks(folder: Path, array: Mapping[str, Any], window: Window) -> da.Array:
    """Payloads `(t, tile_y, tile_x)` object, one task a tile, which reads it."""
    outer = array["chunk_grid"]["configuration"]["chunk_shape"]
    inner = array["codecs"][0]["configuration"]["chunk_shape"]
    shard = tuple(outer[axis] // inner[axis] for axis in (0, -2, -1))
    shape = (array["shape"][0], window.nj, window.ni)
    # a store is never written in place, but another of its name may come after it
    name = f"read-{tokenize(str(folder), (folder / 'zarr.json').stat().st_mtime_ns)}"
    graph = {}
    for t, j, i in np.ndindex(*shape):
        place, within = zip(*map(divmod, (t, j, i), shard), strict=True)
        path = folder / "c" / str(place[0]) / "0" / str(place[1]) / str(place[2])
        key = (name, t, j, i)
        graph[key] = TileTask(key, _read, path, shard, within)
    return da.Array(graph, name, tuple((1,) * n for n in shape), dtype=np.dtype(object))


def _read(path: Path, shape: tuple[int, ...], tile: tuple[int, ...]) -> npt.NDArray[Any]:
    payload = read_tile(path, shape, tile) if path.is_file() else None
    if payload is None:
        raise PayloadError(f"The store has no tile {tile} in {path}.")
    cell = np.empty((1, 1, 1), object)
    cell[0, 0, 0] = payload
    return cell
