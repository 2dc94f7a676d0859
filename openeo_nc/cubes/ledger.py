"""What a run remembers of the objects it wrote, so that another attempt computes only the rest.

An object is a shard or a chunk of a store, or a whole file: what one task writes, all at once and
for good. A plan asks the ledger which of its objects an earlier attempt wrote, takes those as they
are, and gives a task a `Written` for each of the others. The ledger computes the plans, and so
hears of each object when it is there.

An object counts as the same if its result has the same name and the same fingerprint: that of all
that says what it looks like (grid, dates, codec, rate), not of the pixels. Whoever keeps a ledger
keeps it for one process graph.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from dask.base import tokenize

from openeo_nc import metrics
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.cubes.outputs import Saved


@dataclass(frozen=True, kw_only=True)
class Written:
    """An object that is on disk, or in object storage."""

    output: str
    """Name of its result."""
    fingerprint: str
    """What it is an object of; see `fingerprint`."""
    key: str
    """Its path in the result."""
    bytes: int
    """Its size."""
    places: tuple[Place, ...]
    """Where it is, or will be once its result is published."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What finishing the result needs to know of it, as JSON."""
    kept: bool = False
    """Whether an earlier attempt wrote it."""

    def path(self) -> Place | None:
        """Where it is now, with the size it had; None if it is gone."""
        for place in (*self.places, *self.places):  # it may move from one to the other meanwhile
            try:
                if place.stat().st_size == self.bytes:
                    return place
            except OSError:
                continue
        return None


class Ledger(Protocol):
    """Remembers objects, and computes plans so that it hears of new ones."""

    def written(self, output: str, fingerprint: str) -> Mapping[str, Written]:
        """Objects of a result that earlier attempts wrote and that are still there, by key."""
        ...

    def compute(self, plans: Sequence[Delayed], objects: Sequence[Delayed]) -> Sequence[Saved]:
        """What all plans give, computed at once; `objects`, part of them, give `Written`."""
        ...


def known(ledger: Ledger | None, output: str, mark: str) -> Mapping[str, Written]:
    """What a ledger, if there is one, has of a result."""
    return {} if ledger is None else ledger.written(output, mark)


def fingerprint(*parts: Any) -> str:
    """A name of values that is the same in every process."""
    return hashlib.sha256(tokenize(*parts, ensure_deterministic=True).encode()).hexdigest()


def bring(written: Written, path: Place) -> None:
    """Put an object at a free path too: linked there, or copied where links are not known.

    Object storage copies on its own side; the bytes do not travel.

    Raises
    ------
    FileNotFoundError
        It is gone.
    """
    source = written.path()
    if source is None:
        raise FileNotFoundError(f"{written.key} of {written.output} is not where it was written.")
    if isinstance(source, ObjectPath) and isinstance(path, ObjectPath) and source.url == path.url:
        path.copy_from(source)
    elif isinstance(source, ObjectPath) or isinstance(path, ObjectPath):  # results moved meanwhile
        path.write_bytes(source.read_bytes())
    else:
        _link(source, path)


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def file_written(path: Place, mark: str) -> Written:
    """A file of a result, finished at its path."""
    size = path.stat().st_size
    metrics.RESULT_BYTES_WRITTEN.add(size)
    return Written(output=path.name, fingerprint=mark, key=path.name, bytes=size, places=(path,))


def keep_file(written: Written, path: Place) -> Written:
    """A file of an earlier attempt, at its path in this one too.

    Raises
    ------
    FileNotFoundError
        It is gone.
    """
    if isinstance(path, ObjectPath):
        bring(written, path)
    else:
        part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
        bring(written, part)
        os.replace(part, path)
        part.unlink(missing_ok=True)  # there still, if the path was that very file already
    return replace(written, places=tuple(dict.fromkeys((path, *written.places))), kept=True)
