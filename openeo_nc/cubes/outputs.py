"""Where results are saved, and the one computation that writes all of them.

Saving plans a write and computes nothing. All plans of a process graph are computed together when
its outputs are closed, so that two results of one cube share what they have in common: a tile
that goes into a store and into a GeoTIFF is encoded once.

        with output_folder("out") as outputs:    the folder must not exist
            save(plan, ...)                      any number of times, from anywhere below
        outputs.saved                            written here, or nothing is left in "out"
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import compute

from openeo_nc.errors import OutputExistsError
from openeo_nc.inference.placement import kept

if TYPE_CHECKING:
    from dask.delayed import Delayed

DEFAULT = Path("openeo-nc-output")
"""Folder, in the working directory, for what is saved outside of any `output_folder`."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One result on disk."""

    path: Path
    """The file or store; of several files the first."""
    format: str
    """Format as save_result names it."""
    files: tuple[Path, ...]
    """All files, or the store's folder."""
    bytes: int
    """Bytes of all of them."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the writer reports beyond that."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "path": str(self.path),
            "format": self.format,
            "files": [str(file) for file in self.files],
            "bytes": self.bytes,
            **self.details,
        }


@dataclass(kw_only=True)
class Outputs:
    """The results of one run."""

    folder: Path
    """Where they go."""
    plans: list[Delayed] = field(default_factory=list)
    """Writes that have not been started; each gives a `Saved`."""
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

        A folder that this call made is removed with all that is in it.
        """
        made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with kept():
                self.saved += compute(*self.plans)
        except BaseException:
            for discard in self.discards:
                discard()
            if made:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.plans.clear()
        self.discards.clear()


_current: ContextVar[Outputs | None] = ContextVar("outputs", default=None)


@contextmanager
def output_folder(path: str | Path, *, exist_ok: bool = False) -> Iterator[Outputs]:
    """Within it, saving plans writes into the folder `path`; at its end they are all done.

    Parameters
    ----------
    exist_ok
        Whether the folder may exist; single results never replace anything in either case.

    Raises
    ------
    OutputExistsError
        The folder exists; nothing in it was touched.
    """
    folder = Path(path).absolute()
    if folder.exists() and not exist_ok:
        raise OutputExistsError(f"{folder} exists; nothing in it was touched.")
    outputs = Outputs(folder=folder)
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
