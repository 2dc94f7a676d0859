"""What the tasks of a graph will do, found by looking at them: tiles coded, windows read.

Nothing is run but tasks that hold metadata. Tasks are told by the label that their layer was made
with and by the objects that they carry; tasks that Dask fused are looked into.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from dask._task_spec import DataNode, GraphNode, Task, TaskRef, _execute_subgraph
from stackstac.to_dask import fetch_raster_window

from openeo_nc.codecs.rate import Rate
from openeo_nc.cubes.coding import Coding, Form
from openeo_nc.cubes.embed_tasks import Embedding
from openeo_nc.cubes.grid import Bounds
from openeo_nc.cubes.reader import BandReader, Source
from openeo_nc.cubes.whole_tiles import Reading, read_tile
from openeo_nc.inference.spec import CodecSpec

Operation = Literal["encode", "decode", "embed"]
_OPERATIONS: dict[str, tuple[Operation, ...]] = {
    "encode": ("encode",),
    "together": ("encode",),
    "analyse": ("encode",),
    "entry": ("encode", "decode"),  # the tile store keeps a tile's error with it
    "point": ("encode", "decode"),
    "decode": ("decode",),
    "redecode": ("decode",),
    "synthesise": ("decode",),
    "unpack": ("decode",),
    "measure": ("decode",),
    "vectors": ("embed",),
    "embedded": ("embed",),
}
"""What tasks of a label do to each of their tiles."""
_FETCHED = "_entered"
"""The function of tasks that take tiles from the tile store, or from a task that did."""
_DTYPE_BYTES = 2
"""Of a source's number where the metadata do not say."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Coding at one rate by one codec, or vectors by one model."""

    codec_id: str
    """The codec or model."""
    operation: Operation
    """What it does."""
    rate: Rate
    """What was asked, a bound in card numbers; empty where tasks do not say."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the tasks of a graph do."""

    tasks: int
    """All tasks, as the scheduler gets them."""
    labels: Mapping[str, int]
    """Tasks by label."""
    steps: Mapping[Step, tuple[int, int]]
    """Tiles, and samples (a band of a pixel) in these, of each kind of coding."""
    kept: int
    """Tiles that the tile store has."""
    largest: int
    """Samples that a task codes at most: of a tile, or of its dates that are coded together."""
    samples_read: int
    """Samples that are read from sources, on the cube's grid."""
    source_bytes: int
    """Bytes of the sources' own numbers in what is read, uncompressed."""
    read_bytes: int | None
    """Bytes of these as files hold them, by `file:size`; None if no item states it."""

    @property
    def tiles(self) -> int:
        """Tiles that are encoded and embedded, or else decoded."""
        counts = dict.fromkeys(get_args(Operation), 0)
        for step, (tiles, _) in self.steps.items():
            counts[step.operation] += tiles
        return counts["encode"] + counts["embed"] or counts["decode"]


def work_of(graph: Mapping[Any, Any]) -> Work:
    """What the tasks of an optimised graph do."""
    found = _Finder(graph)
    for key, node in graph.items():
        found.visit(_label(key), node)
    return Work(
        tasks=len(graph),
        labels=dict(found.labels),
        steps={step: (tiles, found.samples[step]) for step, tiles in found.tiles.items()},
        kept=found.kept,
        largest=found.largest,
        samples_read=found.samples_read,
        source_bytes=round(found.source_bytes),
        read_bytes=None if found.read_bytes is None else round(found.read_bytes),
    )


def _label(key: Any) -> str:
    name = key[0] if isinstance(key, tuple) else key
    return str(name).rsplit("-", 1)[0]


class _Finder:
    """Adds up what nodes of a graph do."""

    def __init__(self, graph: Mapping[Any, Any]) -> None:
        self.labels: Counter[str] = Counter()
        self.tiles: Counter[Step] = Counter()
        self.samples: Counter[Step] = Counter()
        self.kept = self.largest = self.samples_read = 0
        self.source_bytes = 0.0
        self.read_bytes: float | None = None
        self._graph = graph
        self._readers: dict[Any, list[BandReader]] = {}

    def visit(self, label: str, node: Any) -> None:
        self.labels[label] += 1
        if label in _OPERATIONS and isinstance(node, Task):
            self._coded(label, node)
        for function, arguments, scope in _calls(node, self._graph):
            if function is fetch_raster_window:
                self._fetched(arguments[0], arguments[1], scope)
            elif function is read_tile:
                self._whole(*arguments)

    def _coded(self, label: str, task: Task) -> None:
        parts = list(_parts(task))
        if any(getattr(part, "__name__", "") == _FETCHED for part in parts):
            self.kept += 1
            return
        how = next((part for part in parts if isinstance(part, Embedding)), None)
        if how is not None:
            size = how.dates * len(how.bands) * how.layout.tile**2
            self._add(Step(codec_id=how.spec.model_id, operation="embed", rate=Rate()), 1, size)
            return
        coding = next((part for part in parts if isinstance(part, Coding)), None)
        form = coding.form if coding else next((p for p in parts if isinstance(p, Form)), None)
        spec = coding.spec if coding else next((p for p in parts if isinstance(p, CodecSpec)), None)
        if spec is None:
            return
        tiles = 1
        if label in ("together", "entry"):
            tiles = max(1, sum(isinstance(argument, TaskRef) for argument in task.args))
        size = 0 if form is None else form.bands * form.tile**2
        self.largest = max(self.largest, size * tiles)
        for operation in _OPERATIONS[label]:
            step = Step(
                codec_id=spec.codec_id, operation=operation, rate=Rate() if coding is None else rate_of(coding)
            )  # fmt: skip
            self._add(step, tiles, size)

    def _add(self, step: Step, tiles: int, size: int) -> None:
        self.tiles[step] += tiles
        self.samples[step] += tiles * size
        self.largest = max(self.largest, size)

    def _fetched(
        self, table: TaskRef, slices: tuple[slice, slice] | TaskRef, scope: Mapping[Any, Any]
    ) -> None:
        """A window of stackstac's table of assets; fused tasks refer to its slices."""
        rows, columns = _value(scope, slices.key) if isinstance(slices, TaskRef) else slices
        for reader in self._readers_of(table.key, scope):
            res_x, res_y = reader.spec.resolutions_xy
            left, _, _, top = reader.spec.bounds
            box = (
                left + columns.start * res_x, top - rows.stop * res_y,
                left + columns.stop * res_x, top - rows.start * res_y,
            )  # fmt: skip
            self._read(reader.source, box, (res_x, res_y))

    def _readers_of(self, key: Any, scope: Mapping[Any, Any]) -> list[BandReader]:
        known = self._readers.get(key)
        if known is None:
            known = [entry[0] for entry in np.ravel(_value(scope, key)) if entry]
            if key in self._graph:  # names within fused tasks say nothing elsewhere
                self._readers[key] = known
        return known

    def _whole(
        self, reading: Reading, corner: tuple[float, float], *items: TaskRef | tuple[Source, ...]
    ) -> None:
        """A tile for the tile store, from one or more items."""
        res_x, res_y = reading.resolutions_xy
        side = reading.side
        box = (corner[0], corner[1] - side * res_y, corner[0] + side * res_x, corner[1])
        for item in items:
            known = _value(self._graph, item.key) if isinstance(item, TaskRef) else item
            for source in known:
                self._read(source, box, (res_x, res_y))

    def _read(self, source: Source, box: Bounds, resolution: tuple[float, float]) -> None:
        asset = source.asset
        size = resolution
        if asset.crs in (None, source.crs):
            box = box if asset.bounds is None else _overlap(box, asset.bounds)
            if asset.transform is not None:
                size = asset.transform[1], asset.transform[3]
        area = max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
        self.samples_read += round(area / (resolution[0] * resolution[1]))
        own = area / (size[0] * size[1])
        self.source_bytes += own * (asset.number_bytes or _DTYPE_BYTES)
        if asset.stored_bytes is not None:
            self.read_bytes = (self.read_bytes or 0.0) + own * asset.stored_bytes


def rate_of(coding: Coding) -> Rate:
    """What a coding asks of tiles, a bound in card numbers."""
    rate = coding.asked.rate
    if rate.max_error is None:
        return rate
    return Rate(max_error=tuple(bound * coding.form.ratio for bound in rate.max_error))


def _overlap(a: Bounds, b: Bounds) -> Bounds:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _calls(
    node: Any, scope: Mapping[Any, Any]
) -> Iterator[tuple[Any, list[Any], Mapping[Any, Any]]]:
    """Functions and arguments of a task, and of the tasks that were fused into it.

    Each comes with its scope: what names stand for where it is.
    """
    if not isinstance(node, Task):
        return
    arguments = [_meant(argument, scope) for argument in node.args]
    if node.func is not _execute_subgraph:
        yield node.func, arguments, scope
        return
    inner, _, inside, *given = arguments
    # what is given under the name that it has outside would stand for itself for ever
    passed = {
        name: meant
        for name, meant in zip(inside, given, strict=True)
        if not (isinstance(meant, TaskRef) and meant.key == name)
    }
    within = ChainMap(passed, inner, scope)  # type: ignore[arg-type]
    for task in inner.values():
        yield from _calls(task, within)


def _meant(argument: Any, scope: Mapping[Any, Any]) -> Any:
    """An argument as it is outside: a value, or a name that a task has there."""
    while isinstance(argument, TaskRef) and isinstance(
        named := scope.get(argument.key), TaskRef | DataNode
    ):
        argument = named
    return argument.value if isinstance(argument, DataNode) else argument


def _parts(task: Task) -> Iterator[Any]:
    """What a task carries, and what a `Making` of the tile store has in it."""
    for argument in (task.func, *task.args):
        value = argument.value if isinstance(argument, DataNode) else argument
        yield value
        for name in ("coding", "func", "how"):
            if (inner := getattr(value, name, None)) is not None:
                yield inner
        yield from getattr(value, "args", ()) if callable(value) else ()


def _value(scope: Mapping[Any, Any], key: Any) -> Any:
    """What a task of metadata gives, with the tasks that it needs."""
    node = scope[key]
    if isinstance(node, TaskRef):
        return _value(scope, node.key)
    if not isinstance(node, GraphNode):
        return node
    return node({name: _value(scope, name) for name in node.dependencies})
