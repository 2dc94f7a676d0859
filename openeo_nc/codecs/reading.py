"""Joins the chunk reads of one moment into batches and decodes them off Zarr's event loop.

Zarr has one event loop a process, on which the reads of all threads meet, and asks for one chunk
at a time. A learned codec is several times faster with a batch than with as many single tiles, so
payloads wait up to `WAIT` seconds for others of the same codec. A codec that decodes tile by tile
gains nothing from a batch: its tiles go to as many threads as there are cores.

    reads of all threads --> Queue (on the loop) --> decode_batch (in a thread) --> their futures
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from openeo_nc import metrics
from openeo_nc.codecs import payloads
from openeo_nc.codecs.base import Codec, Latents, with_latents
from openeo_nc.errors import OpenEONCError

WAIT = 0.002
"""Seconds that a payload waits for others: nothing against a tile's decoding."""
BATCH = 8
"""Most tiles of one `decode_batch` call; bounds its memory."""
NO_LATENT = int(np.iinfo(np.int32).min)
"""Value of latents in patches without a valid pixel."""

Tile = npt.NDArray[Any]
T = TypeVar("T")

_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[int, str], Queue]] = (
    WeakKeyDictionary()
)


async def decode(
    codec: Codec, view: Literal["pixels", "latents"], coded: Sequence[bytes]
) -> list[Tile]:
    """What the payloads hold: pixels `(bands, y, x)`, or latents as int32 `(channels, y, x)`.

    Raises
    ------
    PayloadError
        Of the first payload that is damaged; other reads in the same batch are not affected.
    """
    queues = _queues.setdefault(asyncio.get_running_loop(), {})
    key = (id(codec), view)
    if key not in queues:
        queues[key] = Queue(codec, view)
    return list(await asyncio.gather(*[queues[key].add(payload) for payload in coded]))


async def off_loop(function: Callable[[], T]) -> T:
    """The result of a long computation that must not hold up Zarr's event loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), function)


class Queue:
    """Payloads of one codec and view that wait on one event loop to be decoded together."""

    def __init__(self, codec: Codec, view: str) -> None:
        self._codec = codec
        self._decoded = _pixel_tiles(codec) if view == "pixels" else _latent_tiles(codec)
        shares = view == "pixels" and type(codec).decode_batch is not Codec.decode_batch
        self._most = BATCH if shares else 1
        self._waiting: list[tuple[bytes, asyncio.Future[Tile]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    def add(self, payload: bytes) -> asyncio.Future[Tile]:
        """A future of the payload's tile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Tile] = loop.create_future()
        self._waiting.append((payload, future))
        if len(self._waiting) >= self._most:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT, self._flush)
        return future

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._running.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[tuple[bytes, asyncio.Future[Tile]]]) -> None:
        coded = [payload for payload, _ in batch]
        # an error must reach the readers, or they would wait forever
        (outcome,) = await asyncio.gather(
            off_loop(lambda: self._decode(coded)), return_exceptions=True
        )
        results = outcome if isinstance(outcome, list) else [outcome] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # its reader was cancelled
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _decode(self, coded: list[bytes]) -> list[Tile] | list[Tile | OpenEONCError]:
        """Tiles, or for each payload that cannot be decoded the error."""
        if len(coded) > 1:
            # one that is damaged must not take along the others, of other readers maybe
            with suppress(OpenEONCError):
                return self._decoded(coded)
        return [self._attempt(payload) for payload in coded]

    def _attempt(self, payload: bytes) -> Tile | OpenEONCError:
        try:
            (tile,) = self._decoded([payload])
            return tile
        except OpenEONCError as error:
            return error


def _pixel_tiles(codec: Codec) -> Callable[[Sequence[bytes]], list[Tile]]:
    def decode(coded: Sequence[bytes]) -> list[Tile]:
        # the codec is the one that wrote them: no other card is looked at
        tiles = payloads.decode_batch(coded, codec, lambda _: codec, cards=())
        metrics.decoded(sum(map(len, coded)), sum(x.nbytes for x in tiles), tiles=len(tiles))
        return tiles

    return decode


def _latent_tiles(codec: Codec) -> Callable[[Sequence[bytes]], list[Tile]]:
    latent = with_latents(codec)
    return lambda coded: [latent_tile(latent.unpack(payload)) for payload in coded]


def latent_tile(latents: Latents) -> npt.NDArray[np.int32]:
    """`(channels, y, x)` int32: y, with `NO_LATENT` in patches that have no valid pixel."""
    if latents.mask is None:
        return latents.y
    y = latents.y.copy()
    y[:, empty_patches(latents)] = NO_LATENT
    return y


def empty_patches(latents: Latents) -> npt.NDArray[np.bool_]:
    """`(y, x)` of the latents: True where no pixel of any band is valid."""
    rows, columns = latents.y.shape[1:]
    if latents.mask is None:
        return np.zeros((rows, columns), bool)
    masked = latents.mask.all(axis=0)
    height, width = masked.shape
    stride = max(-(-height // rows), -(-width // columns))
    padded = np.pad(
        masked,
        ((0, rows * stride - height), (0, columns * stride - width)),
        constant_values=True,
    )
    patches = padded.reshape(rows, stride, columns, stride)
    return np.asarray(patches.all(axis=(1, 3)))


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of its own: on the loop's default ones, decoding would hold up reading files."""
    return ThreadPoolExecutor(_cores(), thread_name_prefix="openeo_nc-codec")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if hasattr(os, "register_at_fork"):
    # threads do not survive a fork, and the pool would not notice
    os.register_at_fork(after_in_child=_threads.cache_clear)
