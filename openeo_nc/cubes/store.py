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

import os
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from dask.base import compute

from openeo_nc.codecs import registry, weights
from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.loading import CARD, FOLDER, other_card
from openeo_nc.codecs.zarr import View
from openeo_nc.cubes import plain
from openeo_nc.cubes.inspect import RECORD, StoreReport, inspect_store
from openeo_nc.cubes.item import MODEL, Footprint, store_item
from openeo_nc.cubes.layout import Lattice, Layout
from openeo_nc.cubes.ledger import Written, fingerprint, known
from openeo_nc.cubes.measures import TileError, shift_record, summary
from openeo_nc.cubes.measures import measure as measured
from openeo_nc.cubes.model_item import model_item
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.payloads import Payloads, payloads_of
from openeo_nc.cubes.publishing import (
    StorePlan,
    keep,
    publish,
    published,
    write_json,
    written_in,
)
from openeo_nc.cubes.shards import read_tile, shard_bytes
from openeo_nc.cubes.staging import Staging, write_metadata
from openeo_nc.cubes.task_layer import TaskLayer, block
from openeo_nc.cubes.tile_graph import cell
from openeo_nc.cubes.tile_store_graph import located
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.placement import on_device

if TYPE_CHECKING:
    import xarray as xr
    from dask._task_spec import TaskRef

    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.ledger import Ledger
    from openeo_nc.inference.spec import CodecSpec

Array = npt.NDArray[Any]


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
    path: str | os.PathLike[str] | ObjectPath,
    *,
    self_contained: bool = False,
    shard_tiles: int = 4,
    overwrite: bool = False,
    measure: bool = True,
    ledger: Ledger | None = None,
) -> StorePlan:
    """The tasks of `write_store`, none of them run; parameters and errors are the same.

    Objects that the ledger has are not computed again, nor is anything that only they need.
    Whoever computes the plan and fails calls `plan.staging.discard()`.
    """
    if shard_tiles != int(shard_tiles) or shard_tiles < 1:
        raise InvalidParameterError(f"shard_tiles must be a whole number above 0; {shard_tiles!r}.")
    staging = Staging.at(path, overwrite=overwrite)
    payloads = payloads_of(cube)
    if payloads is None:
        return plain.plan_plain(cube, staging, ledger)
    return _plan_coded(cube, payloads, staging, self_contained, shard_tiles, measure, ledger)


# --- stores of payloads --------------------------------------------------------------------------


def _plan_coded(
    cube: xr.DataArray, payloads: Payloads, staging: Staging, self_contained: bool,
    shard_tiles: int, measure: bool, ledger: Ledger | None,
) -> StorePlan:  # fmt: skip
    layout = Layout.of(cube, payloads, shard_tiles)
    measure = measure and payloads.kind == "pixels" and payloads.source is not None
    mark = fingerprint(layout, payloads.coding, measure)
    there = known(ledger, staging.path.name, mark)
    blocks = payloads.blocks
    others = (payloads.source, payloads.shifts, payloads.errors)
    sources = [blocks, *(array for array in others if array is not None)]
    # arrays are not optimised, so that all that need a tile's payload name the one task that makes it
    tasks = TaskLayer(sources)
    # bands and dates are not told apart in the latents of dates that are coded together
    quality = payloads.quality if layout.asked.dates is None else None
    first = there.get(layout.shard_key(0, 0, 0))
    sample = block(blocks, 0, 0, 0)
    if first is not None:
        sample = tasks.add("stored", _stored, first, layout.shard)
    lattice = tasks.add("lattice", _lattice, sample, payloads.spec, quality)
    begun = tasks.add("begin", _begin, staging, layout, lattice)
    objects = []
    counts = (-(-n // side) for n, side in zip(blocks.shape, layout.shard, strict=True))
    for place in np.ndindex(*counts):
        key = layout.shard_key(*place)
        if key in there:
            objects.append(tasks.add("keep", keep, staging, there[key], begun, place=(key,)))
            continue
        sides = zip(place, layout.shard, blocks.shape, strict=True)
        ts, rows, columns = (range(n * side, min((n + 1) * side, size)) for n, side, size in sides)
        cells = [[[block(blocks, t, j, i) for i in columns] for j in rows] for t in ts]
        write = partial(_write_shard, staging, mark, key, layout.shard)
        written = tasks.add("write", write, cells, begun, place=(key,))
        of_part = list(product(ts, rows, columns))
        errors = [_measure(tasks, payloads, at) for at in of_part] if measure else []
        shifts = _shifts(tasks, payloads, of_part)
        objects.append(tasks.add("seal", _sealed, written, errors, shifts, place=(key,)))
    finish = partial(_finish_coded, staging, layout, self_contained)
    report = tasks.add("finish", finish, objects, lattice)
    return StorePlan(
        staging=staging,
        objects=tuple(map(tasks.delayed, objects)),
        report=tasks.delayed(report),
    )


def _measure(tasks: TaskLayer, payloads: Payloads, at: tuple[int, int, int]) -> TaskRef:
    """The task of a tile's errors."""
    if payloads.errors is not None:
        return tasks.add("measure", located, at, block(payloads.errors, *at), place=at)
    date, row, column = at
    shift = None if payloads.shifts is None else block(payloads.shifts, *at)
    source = None if payloads.source is None else block(payloads.source, date, 0, row, column)
    function = on_device(partial(measured, at, payloads.coding), payloads.spec)
    return tasks.add("measure", function, block(payloads.blocks, *at), source, shift, place=at)


def _shifts(
    tasks: TaskLayer, payloads: Payloads, places: list[tuple[int, int, int]]
) -> list[TaskRef]:
    """The tasks that record the guard's scores of tiles, where there are any."""
    shifts = payloads.shifts
    if shifts is None:
        return []
    return [tasks.add("shifts", _shift_record, at, block(shifts, *at), place=at) for at in places]


def _lattice(block: Array, spec: CodecSpec, quality: float | None) -> Lattice | None:
    """Channels of the latents, and their step; None where tiles have none that compare."""
    codec = get_codec(spec)
    if quality is None or not isinstance(codec, LatentCodec):
        return None
    channels = codec.card.latent_channels or codec.channels(block.item())
    return channels, float(codec.embedding_step(quality))


def _begin(staging: Staging, layout: Layout, lattice: Lattice | None) -> None:
    """Write metadata and coordinates of both views; of pixels alone where latents do not compare."""

    def write(folder: Path) -> None:
        other: View = "latents" if layout.native == "pixels" else "pixels"
        write_metadata(folder, *layout.dataset(layout.native, lattice))
        if lattice is not None:
            write_metadata(folder / FOLDER / other, *layout.dataset(other, lattice))

    staging.begin(write)


def _write_shard(
    staging: Staging, mark: str, key: str, shape: tuple[int, int, int],
    tiles: list[list[list[Array]]], begun: None,
) -> Written:  # fmt: skip
    """Write the one object that this task owns."""
    payloads = [[[tile.item() for tile in row] for row in date] for date in tiles]
    data = shard_bytes(payloads, shape)
    staging.write(key, data)
    return written_in(staging, mark, key, len(data))


def _sealed(written: Written, errors: list[TileError], shifts: list[dict[str, Any]]) -> Written:
    """A shard with what is known of its tiles: all that is needed if it is never computed again."""
    return replace(written, details={"tiles": list(map(asdict, errors)), "shifts": shifts})


def _stored(written: Written, shape: tuple[int, int, int]) -> Array:
    """The first payload of a shard that is there."""
    path = written.path()
    if path is None:
        raise FileNotFoundError(f"{written.key} of {written.output} is not where it was written.")
    return cell(read_tile(path, shape, (0, 0, 0)))


def _shift_record(index: tuple[int, int, int], cell: Array) -> dict[str, Any]:
    return shift_record(index, cell.item())


def _finish_coded(
    staging: Staging, layout: Layout, self_contained: bool, objects: list[Written],
    lattice: Lattice | None,
) -> StoreReport:  # fmt: skip
    """Write what is known only now, and publish the store."""
    if (done := published(staging)) is not None:
        return done
    card = layout.card
    write_json(staging, MODEL, model_item(card, weights_here=self_contained))
    if self_contained:
        _bring(staging, card, CARD)
        for codec_id in layout.others:
            _bring(staging, registry.get_card(codec_id), other_card(codec_id))
    errors, shifts = _known(objects)
    tiles = [asdict(error) for error in errors]
    record = {"write": staging.token, "metrics": summary(errors), "tiles": tiles}
    if shifts:
        record["shifts"] = shifts
    write_json(staging, RECORD, record)
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
        step=None if lattice is None else lattice[1],
    )
    return publish(staging, item, report)


def _known(objects: list[Written]) -> tuple[list[TileError], list[dict[str, Any]]]:
    """Errors and shifts of all tiles, in the order of tiles."""
    errors = [TileError.of(tile) for written in objects for tile in written.details["tiles"]]
    shifts = [shift for written in objects for shift in written.details["shifts"]]
    return sorted(errors, key=lambda e: e.tile), sorted(shifts, key=lambda s: list(s["tile"]))


def _bring(staging: Staging, card: CodecCard, key: str) -> None:
    """Write a codec's card and weights."""
    if card.weights is not None:
        staging.write(f"{FOLDER}/{card.weights}", weights.resolve(card).read_bytes())
    write_json(staging, key, registry.card_document(card))
