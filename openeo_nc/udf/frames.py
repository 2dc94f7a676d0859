"""Messages between a worker and its sandbox: a length, a JSON header, the bytes of one array.

        4 bytes, big-endian: n  |  n bytes of JSON, with `array`: {dtype, shape, axes} or null  |  the array

An array is sent as it lies in memory: its axes in this order, which need not be its own. Bringing them
in order first would cost as much as the pipe does.

Nothing is unpickled. What a sandbox sends is checked before it is believed: lengths against limits,
dtypes against a pattern of plain numbers.
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 4 << 20
"""Most bytes of a header."""
_LENGTH = 4
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c(?:8|16))")
_PATIENCE = 0.5
"""Seconds between two looks at whether anybody still waits."""

Array = npt.NDArray[Any]


class FrameError(Exception):
    """What came is no message, or one that is too large."""


class Late(Exception):
    """The other side did not answer in time."""


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class Channel:
    """Two file descriptors of pipes, read and written without waiting for longer than asked."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        for fd in (reading, writing):
            os.set_blocking(fd, False)

    def send(
        self,
        header: Mapping[str, Any],
        array: Array | None = None,
        until: float | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> None:
        """Write a message.

        Raises
        ------
        Late, Abandoned
        OSError
            The other side is gone.
        """
        described: dict[str, Any] | None = None
        laid: Array | None = None
        if array is not None:
            axes = _axes(array)
            laid = np.ascontiguousarray(array.transpose(axes)).reshape(
                [array.shape[n] for n in axes]
            )
            described = {"dtype": laid.dtype.str, "shape": laid.shape, "axes": axes}
        text = json.dumps({**header, "array": described}).encode()
        self._write(len(text).to_bytes(_LENGTH, "big") + text, until, abandoned)
        if laid is not None and laid.nbytes:
            self._write(laid.reshape(-1).view(np.uint8).data, until, abandoned)

    def receive(
        self,
        until: float | None = None,
        largest: int | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> tuple[dict[str, Any], Array | None]:
        """Read a message: its header, and its array.

        Parameters
        ----------
        until
            Time by `time.monotonic`.
        largest
            Most bytes of the array.

        Raises
        ------
        Late, Abandoned, FrameError
        EOFError
            The other side is gone.
        """
        length = int.from_bytes(self._read(bytearray(_LENGTH), until, abandoned), "big")
        if length > HEADER_BYTES:
            raise FrameError(f"a header of {length} bytes")
        try:
            header = json.loads(bytes(self._read(bytearray(length), until, abandoned)))
        except (ValueError, RecursionError) as error:
            raise FrameError("a header that is no JSON") from error
        if not isinstance(header, dict):
            raise FrameError("a header that is no object")
        described = header.pop("array", None)
        if described is None:
            return header, None
        array = _empty(described, largest)
        if array.nbytes:
            self._read(array.reshape(-1).view(np.uint8).data, until, abandoned)
        return header, array.transpose(np.argsort(described["axes"]))

    def _write(self, data: Any, until: float | None, abandoned: Callable[[], bool] | None) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._writing, left) :]
            except BlockingIOError:
                _wait(self._writing, select.POLLOUT, until, abandoned)

    def _read(self, buffer: Any, until: float | None, abandoned: Callable[[], bool] | None) -> Any:
        left = memoryview(buffer)
        while left:
            try:
                count = os.readv(self._reading, [left])
            except BlockingIOError:
                _wait(self._reading, select.POLLIN, until, abandoned)
                continue
            if count == 0:
                raise EOFError("the other side is gone")
            left = left[count:]
        return buffer


def _wait(fd: int, event: int, until: float | None, abandoned: Callable[[], bool] | None) -> None:
    poll = select.poll()
    poll.register(fd, event)
    while True:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise Late
        pause = left if abandoned is None else min(_PATIENCE, left or _PATIENCE)
        if poll.poll(None if pause is None else 1000 * pause):
            return
        if abandoned is not None and abandoned():
            raise Abandoned


def _axes(array: Array) -> list[int]:
    """Axes from the one with the longest steps in memory to that with the shortest."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def _empty(described: Any, largest: int | None) -> Array:
    """An array for what a header announces; FrameError if that is not to be believed."""
    try:
        dtype, shape = described["dtype"], tuple(described["shape"])
        plain = _DTYPE.fullmatch(dtype) and all(type(n) is int and n >= 0 for n in shape)
        plain = plain and sorted(described["axes"]) == list(range(len(shape)))
    except (TypeError, KeyError) as error:
        raise FrameError("an array without dtype, shape and axes") from error
    if not plain or len(shape) > 16:
        raise FrameError("an array that is not of plain numbers")
    size = prod(shape) * np.dtype(dtype).itemsize
    if largest is not None and size > largest:
        raise FrameError(f"an array of {size} bytes, where {largest} are allowed")
    return np.empty(shape, dtype)
