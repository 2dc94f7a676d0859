"""Runs the networks of all threads of a process: joined into batches, within memory, overlapping.

        task threads: read, transform, code entropy          CUDA, two lanes: copy | network | copy
        thread 1 --items--+                                   lane 1: batch of items of one shape
        thread 2 --items--+--> waiting, up to WAIT seconds --> lane 2: the next batch
        thread 3 --items--+

Only networks go through here, so a thread codes the entropy of one tile while the device works on
others'. Lanes have a CUDA stream each: one copies while the other computes. On a CPU a batch gains
nothing, so each thread runs its own items with its share of the cores (`threads`).

Where memory runs out, the batch is halved; the size that went through is remembered for the
network and shape, which are one codec's on one device.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy.typing as npt

from openeo_nc import metrics
from openeo_nc.codecs import networks
from openeo_nc.codecs.networks import Network, by_shape
from openeo_nc.errors import CardInvalidError, DeviceMemoryError
from openeo_nc.inference.threads import SHARE

T = TypeVar("T")
Array = npt.NDArray[Any]
WAIT = 0.002
"""Seconds that an item waits for others where a device is idle: nothing against coding a tile."""
BATCH = 16
"""Most items of a batch, unless memory allows fewer."""
LANES = 2
"""Batches that are under way at once on a device that works beside the CPU."""


@dataclass(kw_only=True)
class _Counts:
    """What running networks took. A lane counts, and the thread of the task tells of it."""

    seconds: float = 0.0
    """Time of the device."""
    batches: int = 0
    """Batches that ran."""
    halved: int = 0
    """Batches that memory did not hold."""

    def told(self, device: str) -> None:
        """Add to the totals of the process, and of the job whose task runs in this thread."""
        if self.batches:
            metrics.BATCHES.add(self.batches)
        if self.halved:
            metrics.OUT_OF_MEMORY.add(self.halved)
        if self.seconds:
            metrics.DEVICE_SECONDS.add(self.seconds, device.partition(":")[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Item:
    """What a thread waits for."""

    network: Network[Any]
    shape: Hashable
    value: Any
    result: Future[Array] = field(default_factory=Future)
    counts: _Counts = field(default_factory=_Counts)
    """Its part of the seconds; the first item of a batch has the batch."""
    came: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> tuple[Network[Any], Hashable]:
        return self.network, self.shape


class Engine:
    """A `networks.Runner` for processes of many threads."""

    def __init__(
        self,
        *,
        most: int = BATCH,
        wait: float = WAIT,
        lanes: int = LANES,
        stream: Callable[[str], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._most = most
        self._wait = wait
        self._lanes = lanes
        self._stream = stream or _stream
        self._limits: dict[tuple[Network[Any], Hashable], int] = {}
        self._devices: dict[str, _Queue] = {}
        self._lock = threading.Lock()

    def run(self, network: Network[T], items: Sequence[T]) -> Sequence[Array]:
        """The result of each item, in order; waits for them.

        Raises
        ------
        DeviceMemoryError
            There is no memory for a single item.
        CardInvalidError
            The network gave more or fewer results than items.
        """
        run = self._here if network.device == "cpu" else self._there
        with metrics.waiting(len(items)):
            return run(network, items)

    def limit(self, network: Network[Any], shape: Hashable) -> int:
        """Most items of a batch, as far as is known."""
        return self._limits.get((network, shape), self._most)

    def _here(self, network: Network[T], items: Sequence[T]) -> Sequence[Array]:
        """In this thread, with its share of the cores."""
        results: dict[int, Array] = {}
        counts = _Counts()
        try:
            with SHARE.taken(), metrics.busy(network.device):
                for shape, members in by_shape(network, items).items():
                    part = [items[i] for i in members]
                    found = self._within_memory(network, shape, part, counts)
                    results.update(zip(members, found, strict=True))
        finally:
            counts.told(network.device)
        return [results[i] for i in range(len(items))]

    def _there(self, network: Network[T], items: Sequence[T]) -> Sequence[Array]:
        """By the lanes of its device."""
        with self._lock:
            if network.device not in self._devices:
                self._devices[network.device] = _Queue(self, network.device)
            queue = self._devices[network.device]
        waiting = [
            _Item(network=network, shape=network.shape(value), value=value) for value in items
        ]
        queue.put(waiting)
        try:
            return [item.result.result() for item in waiting]
        finally:
            for item in waiting:
                item.counts.told(network.device)

    def _within_memory(
        self, network: Network[T], shape: Hashable, items: Sequence[T], counts: _Counts
    ) -> Iterator[Array]:
        done = 0
        while done < len(items):
            part = items[done : done + self.limit(network, shape)]
            results = self._attempt(network, part)
            if results is None:
                counts.halved += 1
                self._halve(network, shape, len(part))
                continue
            if len(results) != len(part):
                raise CardInvalidError(
                    f"The network '{network.name}' gave {len(results)} results of {len(part)} items."
                )
            counts.batches += 1
            metrics.BATCH_SIZE.observe(len(part))
            yield from results
            done += len(part)

    def _attempt(self, network: Network[T], items: Sequence[T]) -> Array | None:
        """Results of a batch; None if there was no memory for it."""
        try:
            return network.forward(items)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # behind the except block: the exception's frames held what is to be freed
        _free(network.device)
        return None

    def _halve(self, network: Network[Any], shape: Hashable, size: int) -> None:
        if size == 1:
            raise DeviceMemoryError(
                f"The memory of '{network.device}' does not hold the network '{network.name}' on "
                f"one tile of shape {shape}. Other processes may have taken it."
            )
        with self._lock:
            self._limits[network, shape] = min(self.limit(network, shape), size // 2)


class _Queue:
    """Items that wait for one device, and the lanes that take them from it."""

    def __init__(self, engine: Engine, device: str) -> None:
        self._engine = engine
        self._device = device
        self._waiting: list[_Item] = []
        self._changed = threading.Condition()
        for number in range(engine._lanes):
            name = f"openeo_nc-{device}-{number}"
            threading.Thread(target=self._lane, name=name, daemon=True).start()

    def put(self, items: Sequence[_Item]) -> None:
        """Have items run."""
        with self._changed:
            self._waiting += items
            self._changed.notify_all()

    def _lane(self) -> None:
        """Run batches for ever: one that fails, or a stream that does, costs who waits for it."""
        while True:
            batch = self._take()
            try:
                with self._engine._stream(self._device):
                    while True:
                        self._run(batch)
                        batch = self._take()
            except BaseException as error:  # noqa: BLE001  it is for the threads that wait
                for item in batch:
                    if not item.result.done():
                        item.result.set_exception(error)

    def _take(self) -> list[_Item]:
        """The next batch: items like the one that waits longest, once it is full or has waited."""
        with self._changed:
            while True:
                if not self._waiting:
                    self._changed.wait()
                    continue
                first = self._waiting[0]
                alike = [item for item in self._waiting if item.key == first.key]
                rest = first.came + self._engine._wait - time.monotonic()
                if len(alike) >= self._engine.limit(*first.key) or rest <= 0:
                    break
                self._changed.wait(rest)
            batch = alike[: self._engine.limit(*first.key)]
            taken = set(map(id, batch))
            self._waiting = [item for item in self._waiting if id(item) not in taken]
        return batch

    def _run(self, batch: Sequence[_Item]) -> None:
        network, shape = batch[0].key
        counts = batch[0].counts
        began = time.perf_counter()
        try:
            values = [item.value for item in batch]
            results = list(self._engine._within_memory(network, shape, values, counts))
        except Exception as error:  # noqa: BLE001  it is for the threads that wait
            if len(batch) > 1:  # one that fails must not take along the others, of other threads
                for item in batch:
                    self._run([item])
            else:
                batch[0].result.set_exception(error)
            return
        seconds = (time.perf_counter() - began) / len(batch)
        for item, result in zip(batch, results, strict=True):
            item.counts.seconds = seconds
            item.result.set_result(result)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of a network says that memory ran out, on a device or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _free(device: str) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        torch.cuda.empty_cache()


def _stream(device: str) -> AbstractContextManager[Any]:
    """A CUDA stream of its own for a lane."""
    if not device.startswith("cuda"):
        return nullcontext()
    import torch

    of_lane: Any = torch.cuda.Stream
    stream: AbstractContextManager[Any] = torch.cuda.stream(of_lane(device))
    return stream


_installed = False


def install() -> None:
    """Have the networks of this process run by an engine, from the first call on."""
    global _installed
    if not _installed:
        networks.use(Engine())
        _installed = True


def _after_fork() -> None:
    """Lanes do not survive a fork, and locks may have been taken by threads that are gone."""
    SHARE.reset()
    if _installed:
        networks.use(Engine())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
