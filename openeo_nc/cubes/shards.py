"""Makes and reads shard objects: payloads one after the other, then Zarr's index of them.

    payload ... payload | (offset u64, length u64) of each tile, C order | crc32c u32

This is the format of Zarr's `sharding_indexed` codec with its default index codecs. Writing it
here puts payloads that are already coded into a store; through Zarr, pixels would be encoded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from openeo_nc.errors import PayloadError

MISSING = np.uint64(2**64 - 1)
"""Offset and length of a tile that is not there."""


def shard_bytes(payloads: Sequence[Sequence[bytes | None]], shape: tuple[int, int]) -> bytes:
    """The object of one shard.

    Parameters
    ----------
    payloads
        Rows of payloads; None, or beyond the last row or column, is a tile that is not there.
    shape
        Tiles of a shard in y and x, those beyond the array's edge included.
    """
    index = np.full((*shape, 2), MISSING, "<u8")
    parts: list[bytes] = []
    offset = 0
    for row, line in enumerate(payloads):
        for column, payload in enumerate(line):
            if payload is not None:
                index[row, column] = offset, len(payload)
                parts.append(payload)
                offset += len(payload)
    entries = index.tobytes()
    return b"".join([*parts, entries, google_crc32c.value(entries).to_bytes(4, "little")])


def tile_bytes(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Bytes of each tile `(y, x)` in a shard's file, 0 where there is none; reads the index only.

    Raises
    ------
    PayloadError
        The index is damaged.
    """
    with path.open("rb") as file:
        index = _index(file, shape)
    return np.where(index[..., 0] == MISSING, 0, index[..., 1]).astype(np.int64)


def read_tile(path: Path, shape: tuple[int, int], tile: tuple[int, int]) -> bytes | None:
    """The payload of one tile `(row, column)` of a shard's file; None where there is none.

    Raises
    ------
    PayloadError
        The index is damaged.
    """
    with path.open("rb") as file:
        offset, length = _index(file, shape)[tile]
        if offset == MISSING:
            return None
        file.seek(int(offset))
        return file.read(int(length))


def _index(file: BinaryIO, shape: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """Offset and length of each tile, `(y, x, 2)`."""
    size = 16 * math.prod(shape)
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - size - 4))
    tail = file.read()
    entries, stored = tail[:-4], tail[-4:]
    if len(tail) != size + 4 or google_crc32c.value(entries) != int.from_bytes(stored, "little"):
        raise PayloadError(f"The index of the shard {file.name} is damaged.")
    return np.frombuffer(entries, "<u8").reshape(*shape, 2)
