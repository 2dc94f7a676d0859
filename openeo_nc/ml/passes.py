"""Lets a fit go over samples several times, as tasks, with no more of them kept than fits.

    cube ---> samples of a chunk ---> sums of a chunk --tree--> sums --> state
                    ^                                                     |
                    '------------- next pass, with that state ------------'

Samples, the labelled patches of a chunk, stay with the workers between passes while they are few.
Where they could be more than `KEPT_BYTES`, every pass reads its chunks anew, and only once the pass
before it is done (`again`), so that nothing larger than a chunk is held,
whatever the cube.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da

from openeo_nc.cubes.task_layer import TaskLayer, block, optimised
from openeo_nc.ml.again import again
from openeo_nc.ml.samples import Array, Merge, Moments, Samples, Scaling

if TYPE_CHECKING:
    from dask._task_spec import TaskRef
    from dask.delayed import Delayed

KEPT_BYTES = 256 << 20
"""Bytes of samples that workers keep between passes."""
_FAN = 16
"""Results of chunks that one task merges."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A chunk that may have labelled patches."""

    places: tuple[tuple[int, ...], ...]
    """Index of the block in each array of `Source`."""
    extract: Callable[..., Samples]
    """Takes these blocks."""
    most: int
    """Samples that it can have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Where samples come from."""

    arrays: Sequence[da.Array]
    """Lazy arrays that chunks are blocks of."""
    chunks: Sequence[Chunk]
    """Those that may have samples; there is one."""
    features: int
    """Values of a sample."""
    classes: bool
    """Whether targets are classes."""
    codes: Array | None = None
    """Codes of all classes, where these are known without looking at samples."""
    alike: bool = False
    """Whether features are values of one embedding, whose sizes beside each other tell something."""

    @property
    def most_bytes(self) -> int:
        """Bytes that all samples can have."""
        return sum(chunk.most for chunk in self.chunks) * self.features * 4


class Passes:
    """Tasks of a fit, added pass by pass."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._arrays = [optimised(array) for array in source.arrays]
        self._keep = source.most_bytes <= KEPT_BYTES
        self._tasks = TaskLayer(self._arrays)
        self._samples = self._extracted(self._arrays)

    def samples(self, after: TaskRef | None) -> list[TaskRef]:
        """The `Samples` of each chunk, for a pass that begins when `after` is there."""
        if not self._keep and after is not None:
            done = self._tasks.delayed(after)
            arrays = [again(array, done, uuid.uuid4().hex) for array in self._arrays]
            self._tasks = TaskLayer([*arrays, done])
            self._samples = self._extracted(arrays)
        return self._samples

    def task(
        self, label: str, function: Callable[..., Any], *arguments: Any, place: tuple[int, ...] = ()
    ) -> TaskRef:
        """A task of the pass; see `TaskLayer.add`."""
        return self._tasks.add(label, function, *arguments, place=place)

    def merged(self, label: str, merge: Merge, parts: list[TaskRef], step: int = 0) -> TaskRef:
        """What a merge of all parts gives, by a tree of tasks."""
        level = 0
        while True:
            groups = [parts[i : i + _FAN] for i in range(0, len(parts), _FAN)]
            parts = [
                self.task(label, merge, group, place=(step, level, number))
                for number, group in enumerate(groups)
            ]
            level += 1
            if len(parts) == 1:
                return parts[0]

    def summed(
        self, label: str, function: Callable[..., Any], merge: Merge, state: Any, step: int = 0
    ) -> TaskRef:
        """A whole pass: `function(samples, state)` of every chunk, merged."""
        samples = self.samples(None if step == 0 else state)
        parts = [
            self.task(label, function, one, state, place=(step, number))
            for number, one in enumerate(samples)
        ]
        return self.merged(f"{label}-merged", merge, parts, step)

    def scaling(self) -> TaskRef:
        """The first pass, which gives `Scaling`."""
        moments = self.summed("moments", _moments, Moments.merged, None)
        source = self.source
        return self.task("scaling", Scaling.of, moments, source.codes, source.classes, source.alike)

    def delayed(self, task: TaskRef) -> Delayed:
        """A task as Dask computes it; no further ones are added."""
        return self._tasks.delayed(task)

    def _extracted(self, arrays: Sequence[da.Array]) -> list[TaskRef]:
        return [
            self._tasks.add(
                "samples", chunk.extract,
                *(block(a, *at) for a, at in zip(arrays, chunk.places, strict=True)),
                place=(number,),
            )
            for number, chunk in enumerate(self.source.chunks)
        ]  # fmt: skip


def _moments(samples: Samples, _state: None) -> Moments:
    return Moments.of(samples)
