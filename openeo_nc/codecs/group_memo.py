"""Keeps decoded groups of dates for a while, so that reading their dates decodes each group once."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from threading import Lock
from typing import Any

import numpy.typing as npt

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.base import Codec

Tile = npt.NDArray[Any]
LIMIT = 1 << 28
"""Bytes of pixels that are kept: a few dozen dates of a tile of twelve bands."""
_MOST = 1024  # entries, of whatever size


@dataclass(kw_only=True, eq=False)
class _Entry:
    """One group: decoded by whoever holds the lock first."""

    lock: Lock = field(default_factory=Lock)
    tile: Tile | None = None

    @property
    def nbytes(self) -> int:
        tile = self.tile
        return 0 if tile is None else tile.nbytes


class GroupMemo:
    """Decoded payloads, the latest used last; safe to use from many threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget all, locks that are held included: threads do not survive a fork."""
        self._lock = Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def decode(self, payload: bytes, codec: Codec) -> Tile:
        """The payload's tile, read-only; who asks while another decodes it waits for that one.

        Raises
        ------
        PayloadError, PayloadVersionError, PayloadModelError
        """
        key = bitstream.codec_tag(codec.card) + blake2b(payload, digest_size=16).digest()
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            tile = entry.tile
            if tile is None:
                tile = codec.decode(payload)
                tile.flags.writeable = False
                entry.tile = tile
        self._trim()
        return tile

    def _trim(self) -> None:
        with self._lock:
            size = sum(entry.nbytes for entry in self._entries.values())
            while self._entries and (size > self._limit or len(self._entries) > _MOST):
                _, oldest = self._entries.popitem(last=False)
                size -= oldest.nbytes


memo = GroupMemo()
"""The one of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=memo.clear)
