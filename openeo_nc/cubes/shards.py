"""Makes and reads shard objects: payloads one after the other, then Zarr's index of them.

    payload ... payload | (offset u64, length u64) of each tile, C order | crc32c u32

This is the format of Zarr's `sharding_indexed` codec with its default index codecs. Writing it
here puts payloads that are already coded into a store; through Zarr, pixels would be encoded.

Dates of one group differ in their leading zeros only (see `codecs.payloads`). Their bytes are there
once, and entries of the index overlap:

    0 0 group's payload           date 0 from the third byte on, date 1 from the second, date 2 all
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.payloads import split
from openeo_nc.cubes.places import Place
from openeo_nc.errors import PayloadError

MISSING = np.uint64(2**64 - 1)
"""Offset and length of a tile that is not there."""
_ZEROS = 1 << 8
"""Leading zeros of a payload that `tile_heads` looks behind."""


def shard_bytes(payloads: Sequence[Any], shape: tuple[int, ...]) -> bytes:
    """The object of one shard.

    Parameters
    ----------
    payloads
        Payloads nested as in `shape`; None, or beyond the last of an axis, is a tile that is not
        there.
    shape
        Tiles of a shard in (t,) y and x, those beyond the array's edge included.
    """
    cells = [
        (place, *split(payload))
        for place, payload in np.ndenumerate(np.array(payloads, object))
        if payload is not None
    ]
    zeros: dict[bytes, int] = {}
    for _, date, body in cells:
        if date:
            zeros[body] = max(date, zeros.get(body, 0))
    index = np.full((*shape, 2), MISSING, "<u8")
    parts: list[bytes] = []
    ends: dict[bytes, int] = {}
    offset = 0
    for place, date, body in cells:
        end = ends.get(body)
        if end is None:
            front = zeros.get(body, 0)
            parts += [bytes(front), body]
            end = offset = offset + front + len(body)
            if body in zeros:
                ends[body] = end
        index[place] = end - len(body) - date, len(body) + date
    entries = index.tobytes()
    return b"".join([*parts, entries, google_crc32c.value(entries).to_bytes(4, "little")])


def tile_bytes(path: Place, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Bytes of each tile in a shard's file, 0 where there is none; reads the index only.

    Those of dates that share bytes are their parts of them, so that sums are what is stored.

    Raises
    ------
    PayloadError
        The index is damaged.
    """
    sizes = np.zeros(shape, np.int64)
    for tiles in _shared(path, shape):
        stored = max(length for _, _, length in tiles)
        for n, (place, _, _) in enumerate(tiles):
            sizes[place] = stored // len(tiles) + (n < stored % len(tiles))
    return sizes


def tile_heads(path: Place, shape: tuple[int, ...], size: int) -> list[tuple[bytes, int]]:
    """The first `size` bytes of each payload in a shard's file, and its length.

    A payload of several dates is one.

    Raises
    ------
    PayloadError
        The index is damaged.
    """
    heads = []
    found = _shared(path, shape)
    with path.open("rb") as file:
        for tiles in found:
            _, offset, length = max(tiles, key=lambda tile: tile[1])
            file.seek(offset)
            head = file.read(min(size + _ZEROS, length)).lstrip(b"\0")[:size]
            heads.append((head, max(stored for _, _, stored in tiles)))
    return heads


def read_tile(path: Place, shape: tuple[int, ...], tile: tuple[int, ...]) -> bytes | None:
    """The payload of one tile of a shard's file; None where there is none.

    Raises
    ------
    PayloadError
        The index is damaged.
    """
    with path.open("rb") as file:
        offset, length = _index(file, shape)[tile].tolist()
        if offset == MISSING:
            return None
        file.seek(offset)
        return file.read(length)


def _shared(path: Place, shape: tuple[int, ...]) -> list[list[tuple[tuple[int, ...], int, int]]]:
    """Place, offset and length of the tiles that are there, those that share bytes together."""
    with path.open("rb") as file:
        index = _index(file, shape)
    by_end: dict[int, list[tuple[tuple[int, ...], int, int]]] = {}
    for place in np.ndindex(*shape):
        offset, length = index[place].tolist()
        if offset != MISSING:
            by_end.setdefault(offset + length, []).append((place, offset, length))
    return list(by_end.values())


def _index(file: BinaryIO, shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Offset and length of each tile, `(*shape, 2)`."""
    size = 16 * math.prod(shape)
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - size - 4))
    tail = file.read()
    entries, stored = tail[:-4], tail[-4:]
    if len(tail) != size + 4 or google_crc32c.value(entries) != int.from_bytes(stored, "little"):
        raise PayloadError(f"The index of the shard {file.name} is damaged.")
    return np.frombuffer(entries, "<u8").reshape(*shape, 2)
