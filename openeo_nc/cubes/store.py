"""Writes cubes as Zarr stores: payloads go in as they are, and no tile is encoded twice.

    begin --> write_shard (a task for each shard, a shard for each task) --> finish
              measure     (a task for each tile)                         -->

The store grows in a hidden folder beside its path and is renamed at the end (see staging.py). No
task writes an object that another one writes; a task that runs twice, because a worker died,
writes the same bytes again.

A cube that carries no payloads, or that is no longer what its payloads hold, is written as a
plain Zarr, one task a chunk.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from dask.base import compute
from dask.delayed import delayed

from openeo_nc.codecs import registry, weights
from openeo_nc.codecs.loading import CARD, FOLDER
from openeo_nc.codecs.zarr import View
from openeo_nc.cubes import plain
from openeo_nc.cubes.inspect import RECORD, StoreReport, TileError, inspect_store, summary
from openeo_nc.cubes.item import MODEL, Footprint, store_item
from openeo_nc.cubes.layout import Layout
from openeo_nc.cubes.metrics import psnr
from openeo_nc.cubes.model_item import model_item
from openeo_nc.cubes.payloads import Payloads, payloads_of
from openeo_nc.cubes.shards import shard_bytes
from openeo_nc.cubes.staging import Staging, write_metadata
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.cache import get_codec

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed

    from openeo_nc.inference.spec import CodecSpec

Array = npt.NDArray[Any]
ITEM = "item.json"
"""The STAC Item, in the store's root."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StorePlan:
    """A write that has not been started; computing `report` does all of it."""

    staging: Staging
    """Where it happens."""
    objects: tuple[Delayed, ...]
    """One task for each object that holds data; gives its path in the store."""
    report: Delayed
    """Publishes the store once all objects are written; gives its `StoreReport`."""


def write_store(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    self_contained: bool = False,
    shard_tiles: int = 4,
    overwrite: bool = False,
    measure: bool = True,
) -> StoreReport:
    """Write a cube as a Zarr v3 store, on the Dask scheduler that is in use.

    Parameters
    ----------
    cube
        Compressed cube or embedding cube, whose payloads are stored; any other is stored plain.
    path
        Local folder of the store, not there yet. Workers need the same file system.
    self_contained
        Store the codec's card and weights too, so that the store opens where they are not at hand.
    shard_tiles
        Tiles of a shard in y and in x.
    overwrite
        Replace a Zarr store that is at the path, once the new one is finished.
    measure
        Decode each tile of a compressed cube once and store how far it is from its source.

    Raises
    ------
    OutputExistsError
        Something is at the path; nothing in it was touched.
    InvalidParameterError, FormatUnsuitableError
    """
    plan = plan_store(
        cube, path, self_contained=self_contained, shard_tiles=shard_tiles, overwrite=overwrite,
        measure=measure,
    )  # fmt: skip
    try:
        (report,) = compute(plan.report)
    except BaseException:
        plan.staging.discard()
        raise
    written: StoreReport = report
    return written


def plan_store(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    self_contained: bool = False,
    shard_tiles: int = 4,
    overwrite: bool = False,
    measure: bool = True,
) -> StorePlan:
    """The tasks of `write_store`, none of them run; parameters and errors are the same.

    Whoever computes the plan and fails calls `plan.staging.discard()`.
    """
    if shard_tiles != int(shard_tiles) or shard_tiles < 1:
        raise InvalidParameterError(f"shard_tiles must be a whole number above 0; {shard_tiles!r}.")
    staging = Staging.at(path, overwrite=overwrite)
    payloads = payloads_of(cube)
    if payloads is None:
        return _plan_plain(cube, staging)
    return _plan_coded(cube, payloads, staging, self_contained, shard_tiles, measure)


# --- stores of payloads --------------------------------------------------------------------------


def _plan_coded(
    cube: xr.DataArray, payloads: Payloads, staging: Staging, self_contained: bool,
    shard_tiles: int, measure: bool,
) -> StorePlan:  # fmt: skip
    layout = Layout.of(cube, payloads, shard_tiles)
    # Not optimised, so that all that need a tile's payload name the one task that makes it.
    blocks = payloads.blocks.to_delayed(optimize_graph=False)
    lattice = delayed(_lattice)(blocks[0, 0, 0], payloads.spec, payloads.quality)
    begun = delayed(partial(_begin, staging, layout))(lattice)
    high, wide = layout.shard
    dates, rows, columns = blocks.shape
    objects = []
    for t in range(dates):
        for row in range(-(-rows // high)):
            for column in range(-(-columns // wide)):
                tiles = blocks[t, row * high :, column * wide :][:high, :wide].tolist()
                key = layout.shard_key(t, row, column)
                objects.append(
                    delayed(partial(_write_shard, staging, key, layout.shard))(tiles, begun)
                )
    errors = _measures(payloads, blocks) if measure and payloads.kind == "pixels" else []
    finish = partial(_finish_coded, staging, layout, self_contained)
    return StorePlan(
        staging=staging,
        objects=tuple(objects),
        report=delayed(finish)(objects, errors, lattice),
    )


def _measures(payloads: Payloads, blocks: Array) -> list[Delayed]:
    if payloads.source is None:
        return []
    source = payloads.source.to_delayed(optimize_graph=False)[:, 0]
    peak, nodata = payloads.card.peak, payloads.nodata
    return [
        delayed(partial(_measure, index, peak, nodata))(blocks[index], source[index], payloads.spec)
        for index in np.ndindex(*blocks.shape)
    ]


def _lattice(block: Array, spec: CodecSpec, quality: float) -> tuple[int, float]:
    """Channels of the latents, and their step."""
    codec = get_codec(spec)
    channels = codec.card.latent_channels or len(codec.unpack(block.item()).y)
    return channels, float(codec.embedding_step(quality))


def _begin(staging: Staging, layout: Layout, lattice: tuple[int, float]) -> None:
    """Write metadata and coordinates of both views."""

    def write(folder: Path) -> None:
        other: View = "latents" if layout.native == "pixels" else "pixels"
        write_metadata(folder, *layout.dataset(layout.native, *lattice))
        write_metadata(folder / FOLDER / other, *layout.dataset(other, *lattice))

    staging.begin(write)


def _write_shard(
    staging: Staging, key: str, shape: tuple[int, int], tiles: list[list[Array]], begun: None
) -> str:
    """Write the one object that this task owns."""
    staging.write(key, shard_bytes([[tile.item() for tile in row] for row in tiles], shape))
    return key


def _measure(
    index: tuple[int, int, int], peak: float | None, nodata: float | None,
    block: Array, source: Array, spec: CodecSpec,
) -> TileError:  # fmt: skip
    """The error of a tile as it decodes."""
    x, x_hat = source[0], get_codec(spec).decode(block.item())
    ratio = psnr(x, x_hat, peak=peak, nodata=nodata)
    valid = ~np.isnan(x) if x.dtype.kind == "f" else np.full(x.shape, True)
    valid &= x != nodata if nodata is not None else True
    difference = np.abs(x_hat.astype(np.float64) - x)[valid]
    return TileError(
        tile=index,
        psnr=float(ratio) if np.isfinite(ratio) else None,
        max_error=float(difference.max()) if difference.size else None,
    )


def _finish_coded(
    staging: Staging, layout: Layout, self_contained: bool, objects: list[str],
    errors: list[TileError], lattice: tuple[int, float],
) -> StoreReport:  # fmt: skip
    """Write what is known only now, and publish the store."""
    if (done := _published(staging)) is not None:
        return done
    card = layout.card
    _write_json(staging, MODEL, model_item(card, weights_here=self_contained))
    if self_contained:
        if card.weights is not None:
            staging.write(f"{FOLDER}/{card.weights}", weights.resolve(card).read_bytes())
        _write_json(staging, CARD, registry.card_document(card))
    tiles = [asdict(error) for error in errors]
    record = {"write": staging.token, "metrics": summary(errors), "tiles": tiles}
    _write_json(staging, RECORD, record)
    report = inspect_store(staging.store)
    embedding = layout.native == "latents"
    stride = card.stride if embedding else 1
    item = store_item(
        staging.path.stem,
        footprint=Footprint(
            crs=layout.grid.crs,
            bounds=layout.outer_bounds,
            shape=(layout.y.size // stride, layout.x.size // stride),
            inner=layout.bounds,
        ),
        times=layout.times,
        labels=layout.bands,
        embedding=embedding,
        attrs=layout.attrs,
        report=report,
        card=card,
        step=lattice[1],
    )
    return _publish(staging, item, report)


# --- plain stores --------------------------------------------------------------------------------


def _plan_plain(cube: xr.DataArray, staging: Staging) -> StorePlan:
    chunked = plain.chunked(cube)
    layout = plain.PlainLayout.of(chunked)
    begun = delayed(partial(_begin_plain, staging, layout))()
    blocks = chunked.data.to_delayed(optimize_graph=False)
    objects = [
        delayed(partial(_write_chunk, staging, layout.name, layout.chunks, index))(block, begun)
        for index, block in np.ndenumerate(blocks)
    ]
    report = delayed(partial(_finish_plain, staging, layout))(objects)
    return StorePlan(staging=staging, objects=tuple(objects), report=report)


def _begin_plain(staging: Staging, layout: plain.PlainLayout) -> None:
    staging.begin(lambda folder: write_metadata(folder, *layout.dataset()))


def _write_chunk(
    staging: Staging, name: str, chunks: tuple[int, ...], index: tuple[int, ...],
    block: Array, begun: None,
) -> str:  # fmt: skip
    return plain.write_chunk(staging.store, name, chunks, index, block)


def _finish_plain(staging: Staging, layout: plain.PlainLayout, objects: list[str]) -> StoreReport:
    if (done := _published(staging)) is not None:
        return done
    _write_json(staging, RECORD, {"write": staging.token})
    report = inspect_store(staging.store)
    item = store_item(
        staging.path.stem,
        footprint=layout.footprint,
        times=layout.times,
        labels=layout.labels,
        embedding=False,
        attrs=layout.attrs,
        report=report,
    )
    return _publish(staging, item, report)


# --- both ----------------------------------------------------------------------------------------


def _published(staging: Staging) -> StoreReport | None:
    """The report of a store that this very write has published already; its tasks ran again."""
    record = staging.path / RECORD
    if not record.is_file():
        return None
    if json.loads(record.read_text(encoding="utf-8")).get("write") != staging.token:
        return None
    staging.discard()
    return inspect_store(staging.path)


def _publish(staging: Staging, item: dict[str, Any], report: StoreReport) -> StoreReport:
    size = _write_json(staging, ITEM, item)
    staging.publish()
    return replace(report, path=staging.path, bytes=report.bytes + size)


def _write_json(staging: Staging, key: str, document: dict[str, Any]) -> int:
    data = json.dumps(document, indent=2).encode()
    staging.write(key, data)
    return len(data)
