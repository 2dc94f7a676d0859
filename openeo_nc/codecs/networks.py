"""Networks as codecs call them: items in, arrays out; who runs them, and in what batches, is set.

        codec --items--> run(network, items) --batches of one shape--> network.forward

A codec says what its network does with items of one shape at once, and does not care what else
runs. By itself each call is a batch. `inference.engine` takes over in processes that serve many
threads: it joins their items, and keeps within memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt

T = TypeVar("T")
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network(Generic[T]):
    """One network on one device; thread-safe. Two are the same only if they are one object."""

    name: str
    """What it does, for people."""
    device: str
    """torch device name."""
    shape: Callable[[T], Hashable]
    """Of an item: items that have it in common may be one batch."""
    forward: Callable[[Sequence[T]], Array]
    """Results of a batch of items of one shape, one after the other along the first axis."""


class Runner(Protocol):
    """Runs networks."""

    def run(self, network: Network[T], items: Sequence[T]) -> Sequence[Array]:
        """The result of each item, in order."""


class Alone:
    """Runs what each caller gives by itself, all items of a shape at once."""

    def run(self, network: Network[T], items: Sequence[T]) -> Sequence[Array]:
        """The result of each item, in order."""
        results: dict[int, Array] = {}
        for members in by_shape(network, items).values():
            found = network.forward([items[i] for i in members])
            results.update(zip(members, found, strict=True))
        return [results[i] for i in range(len(items))]


_runner: Runner = Alone()


def use(runner: Runner) -> Runner:
    """Have networks of this process run by a runner from now on; gives the one before."""
    global _runner
    before, _runner = _runner, runner
    return before


def run(network: Network[T], items: Sequence[T]) -> Iterator[Array]:
    """The result of each item, in order."""
    return iter(_runner.run(network, items) if items else ())


def by_shape(network: Network[T], items: Sequence[T]) -> dict[Hashable, list[int]]:
    """Positions of items of each shape."""
    groups: dict[Hashable, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(network.shape(item), []).append(i)
    return groups
