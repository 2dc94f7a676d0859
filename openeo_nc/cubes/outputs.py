"""Where results are saved, and the one computation that writes all of them.

Saving plans a write and computes nothing. All plans of a process graph are computed together when
its outputs are closed, so that two results of one cube share what they have in common: a tile
that goes into a store and into a GeoTIFF is encoded once.

        with output_folder("out") as outputs:    the folder must not exist
            save(plan, ...)                      any number of times, from anywhere below
        outputs.saved                            written here, or nothing is left in "out"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import compute

from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place, remove
from openeo_nc.errors import OutputExistsError
from openeo_nc.inference.placement import prepare

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from openeo_nc.cubes.ledger import Ledger
    from openeo_nc.cubes.planned import Planned

DEFAULT = Path("openeo-nc-output")
"""Folder, in the working directory, for what is saved outside of any `output_folder`."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One result on disk, or in object storage."""

    path: Place
    """The file or store; of several files the first."""
    format: str
    """Format as save_result names it."""
    files: tuple[Place, ...]
    """All files, or the store's folder."""
    bytes: int
    """Bytes of all of them, and of the documents."""
    documents: tuple[Place, ...] = ()
    """STAC beside files that describes them; stores have theirs inside."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the writer reports beyond that."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "path": str(self.path),
            "format": self.format,
            "files": [str(file) for file in self.files],
            "documents": [str(document) for document in self.documents],
            "bytes": self.bytes,
            **self.details,
        }


@dataclass(kw_only=True)
class Outputs:
    """The results of one run."""

    folder: Place
    """Where they go."""
    plans: list[Delayed] = field(default_factory=list)
    """Writes that have not been started; each gives a `Saved`."""
    objects: list[Delayed] = field(default_factory=list)
    """Tasks of those writes that give a `Written` each."""
    planned: list[Planned] = field(default_factory=list)
    """How large each result will be."""
    ledger: Ledger | None = None
    """What remembers them between attempts at one run, if it may be attempted again."""
    discards: list[Callable[[], None]] = field(default_factory=list)
    """What removes the traces of writes that failed."""
    names: set[str] = field(default_factory=set)
    """Names taken in the folder."""
    saved: tuple[Saved, ...] = ()
    """What was written, in the order it was planned."""

    def free_name(self, prefix: str, suffix: str) -> str:
        """`prefix`, or `prefix-2` and so on where another result has that name and suffix."""
        name, count = prefix, 1
        while name + suffix in self.names:
            count += 1
            name = f"{prefix}-{count}"
        self.names.add(name + suffix)
        return name

    def write(self) -> None:
        """Compute all plans at once; if one fails, nothing of any unfinished one stays.

        A folder that this call made is removed with all that is in it. With a ledger everything
        stays, as another attempt may use it.
        """
        made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            prepare()
            self.saved += self._computed()
        except BaseException:
            if self.ledger is not None:
                raise
            for discard in self.discards:
                discard()
            if made:
                remove(self.folder)
            raise
        self.plans.clear()
        self.objects.clear()
        self.discards.clear()

    def _computed(self) -> tuple[Saved, ...]:
        if self.ledger is None:
            done: tuple[Saved, ...] = compute(*self.plans)
            return done
        return tuple(self.ledger.compute(self.plans, self.objects))


_current: ContextVar[Outputs | None] = ContextVar("outputs", default=None)


@contextmanager
def output_folder(
    path: str | Place, *, exist_ok: bool = False, ledger: Ledger | None = None
) -> Iterator[Outputs]:
    """Within it, saving plans writes into the folder `path`; at its end they are all done.

    Parameters
    ----------
    exist_ok
        Whether the folder may exist; single results never replace anything in either case.
    ledger
        What has the objects of earlier attempts, and computes the writes.

    Raises
    ------
    OutputExistsError
        The folder exists; nothing in it was touched.
    """
    folder = path if isinstance(path, ObjectPath) else Path(path).absolute()
    if folder.exists() and not exist_ok:
        raise OutputExistsError(f"{folder} exists; nothing in it was touched.")
    outputs = Outputs(folder=folder, ledger=ledger)
    token = _current.set(outputs)
    try:
        yield outputs
    finally:
        _current.reset(token)
    if outputs.plans:
        outputs.write()


def save(plan: Callable[[Outputs], Delayed]) -> None:
    """Plan a write into the open `output_folder`; where none is open, write at once to `DEFAULT`."""
    outputs = _current.get()
    if outputs is not None:
        outputs.plans.append(plan(outputs))
        return
    with output_folder(DEFAULT, exist_ok=True) as outputs:
        outputs.plans.append(plan(outputs))
