"""What a tile store holds, and which entries leave it: those not read for longest.

An entry counts as used when it was put and whenever it was read. Uses come as notes of many
processes; looking through them puts them together, so that there are never many.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from openeo_nc.cubes.tile_store_entry import Entry, digest_of
from openeo_nc.cubes.tile_store_shelf import Object, Shelf
from openeo_nc.errors import PayloadError

logger = logging.getLogger(__name__)

ENTRIES = "entries"
USES = "uses"
LOW = 0.95
"""Share of the bytes down to which a store is emptied, so that it is not looked through again soon."""
_MANY = 64
"""Notes that are put together into one."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """An entry that is there."""

    path: str
    """Where it lies."""
    bytes: int
    """Its size."""
    used: float
    """When it was put or last read, in seconds since 1970, as far as is noted."""
    hits: int
    """How often it was read, as far as is noted."""


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What left a store."""

    entries: int
    """How many entries."""
    bytes: int
    """Their size."""


def held(shelf: Shelf) -> list[Held]:
    """All entries, those not read for longest first."""
    uses = _uses(shelf)
    found = []
    for one in shelf.list(ENTRIES):
        used, hits = uses.get(one.path, (0.0, 0))
        used = max(used, one.modified)
        found.append(Held(path=one.path, bytes=one.bytes, used=used, hits=hits))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def evict(shelf: Shelf, max_bytes: int) -> Freed:
    """Delete the entries not read for longest if there are more bytes than these.

    Whoever reads one meanwhile has it whole, or does not find it. Two that do this at once delete
    the same entries.
    """
    entries = held(shelf)
    there = sum(entry.bytes for entry in entries)
    leave = there - int(max_bytes * LOW) if there > max_bytes else 0
    count = freed = 0
    for entry in entries:
        if freed >= leave:
            break
        shelf.delete(entry.path)
        freed += entry.bytes
        count += 1
    return Freed(entries=count, bytes=freed)


def damaged(shelf: Shelf) -> Iterator[Object]:
    """Entries whose bytes are not those that were written, or that lie at another's place."""
    for one in shelf.list(ENTRIES):
        data = shelf.get(one.path)
        if data is None:  # it left meanwhile
            continue
        try:
            right = digest_of(Entry.from_bytes(data).key) == one.path.rpartition("/")[2]
        except PayloadError:
            right = False
        if not right:
            yield one


def _uses(shelf: Shelf) -> dict[str, tuple[float, int]]:
    """Last use and number of uses by path."""
    uses: dict[str, tuple[float, int]] = {}
    notes = []
    for one in shelf.list(USES):
        data = shelf.get(one.path)
        try:
            noted = json.loads(data or b"{}").get("uses", {})
        except ValueError:
            logger.warning("The note of uses %s is damaged and removed", one.path)
            shelf.delete(one.path)
            continue
        notes.append(one.path)
        for path, (last, hits) in noted.items():
            before, count = uses.get(path, (0.0, 0))
            uses[path] = max(before, last), count + hits
    if len(notes) > _MANY:
        there = {one.path for one in shelf.list(ENTRIES)}
        uses = {path: use for path, use in uses.items() if path in there}
        shelf.put(f"{USES}/{uuid4().hex}.json", json.dumps({"uses": uses}).encode())
        for path in notes:
            shelf.delete(path)
    return uses
