"""What a tile store holds, and which entries leave it: those not read for longest.

An entry counts as used when it was put and whenever it was read. Uses come as notes of many
processes. Whoever looks through the store puts them together, and so does, once in a while, whoever
notes more of them: a store that is only read is not looked through.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from openeo_nc.cubes.tile_store_entry import Entry, digest_of
from openeo_nc.cubes.tile_store_shelf import Object, Shelf
from openeo_nc.errors import PayloadError

logger = logging.getLogger(__name__)

ENTRIES = "entries"
USES = "uses"
LOW = 0.95
"""Share of the bytes down to which a store is emptied, so that it is not looked through again soon."""
MANY = 64
"""Notes that may be there; more are put together into one."""
_AT_ONCE = 1000
"""Entries that are deleted by one request, where the storage has such."""


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
    uses, notes = _noted(shelf)
    there = list(shelf.list(ENTRIES))
    if len(notes) > MANY:
        paths = {one.path for one in there}
        _together(shelf, {path: use for path, use in uses.items() if path in paths}, notes)
    found = []
    for one in there:
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
    paths, freed = [], 0
    for entry in entries:
        if freed >= leave:
            break
        paths.append(entry.path)
        freed += entry.bytes
    for start in range(0, len(paths), _AT_ONCE):
        shelf.delete(*paths[start : start + _AT_ONCE])
    return Freed(entries=len(paths), bytes=freed)


def put_together(shelf: Shelf) -> None:
    """Make one note of the uses of many, if there are many."""
    if sum(1 for _ in shelf.list(USES)) > MANY:
        _together(shelf, *_noted(shelf))


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


Uses = dict[str, tuple[float, int]]
"""Last use and number of uses by path."""


def _noted(shelf: Shelf) -> tuple[Uses, list[str]]:
    """All that is noted of uses, and the notes."""
    uses: Uses = {}
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
    return uses, notes


def _together(shelf: Shelf, uses: Uses, notes: list[str]) -> None:
    """Put a note in place of others.

    It is named by these, so that two who do this at once put one note and count no use twice.
    """
    name = digest_of(sorted(notes))
    if shelf.put(f"{USES}/{name}.json", json.dumps({"uses": uses}).encode()):
        shelf.delete(*notes)
