"""Lets a store grow unseen beside its path and puts it there whole, by one rename.

    .scene.zarr.3f9c2a10.part/store   while it is written
    scene.zarr                        once it is finished

A crash leaves nothing at the path, or the finished store; what it leaves in the hidden folder is
in nobody's way. The hidden folder's name is drawn when the write is planned, so tasks that run
again find it.

Object storage has no rename. There a store grows at its very path, and whoever asked for it keeps
that path to himself until all of it is written, as attempts at a job do.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openeo_nc.cubes.ledger import bring
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place
from openeo_nc.errors import InvalidParameterError, OutputExistsError

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.cubes.ledger import Written

METADATA = "zarr.json"


@dataclass(frozen=True, kw_only=True)
class Staging(ABC):
    """Where one write of one store happens; values, which tasks carry to workers."""

    path: Place
    """Where the store will be, absolute."""
    token: str
    """Name of this write, told apart from others of the same path."""

    @staticmethod
    def at(path: str | os.PathLike[str] | ObjectPath, *, overwrite: bool = False) -> Staging:
        """A write to `path`, which must be free; touches nothing.

        Raises
        ------
        OutputExistsError
            Something is there, and it may not be overwritten or is no Zarr store.
        InvalidParameterError
            The path is not one of this file system.
        """
        token = uuid4().hex
        if isinstance(path, ObjectPath):
            return ObjectStaging(path=path, token=token)
        if "://" in str(path):
            raise InvalidParameterError(f"Stores are written to local paths; given {path}.")
        staging = FolderStaging(path=Path(path).absolute(), token=token, overwrite=overwrite)
        staging.check()
        return staging

    @property
    @abstractmethod
    def store(self) -> Place:
        """The store while it grows."""

    @abstractmethod
    def begin(self, write: Callable[[Path], None]) -> None:
        """Make the store by `write(folder)`; nothing if it is there already."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Put an object into the store, whole or not at all.

        Raises
        ------
        FileNotFoundError
            The store is not there: the write was given up, or has not begun.
        """

    @abstractmethod
    def keep(self, written: Written) -> Written:
        """Take an object that an earlier attempt wrote into the store, whole or not at all.

        Raises
        ------
        FileNotFoundError
            The store is not there, or the object is gone.
        """

    @abstractmethod
    def publish(self) -> None:
        """Move the store to its path; OutputExistsError if that has been taken meanwhile."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what is left of a write that failed, or of one that is published."""


@dataclass(frozen=True, kw_only=True)
class FolderStaging(Staging):
    """A write to a file system: in a hidden folder, then renamed."""

    path: Path
    """Where the store will be, absolute."""
    overwrite: bool
    """Whether a Zarr store that is at the path is replaced."""

    @property
    def folder(self) -> Path:
        """The hidden folder."""
        return self.path.with_name(f".{self.path.name}.{self.token[:8]}.part")

    @property
    def store(self) -> Path:
        """The store while it grows."""
        return self.folder / "store"

    def check(self) -> None:
        """Raise OutputExistsError unless the path is free, or may be overwritten."""
        if not os.path.lexists(self.path):
            return
        if not self.overwrite:
            raise OutputExistsError(f"{self.path} exists; nothing in it was touched.")
        if self.path.is_symlink() or not (self.path / METADATA).is_file():
            raise OutputExistsError(
                f"{self.path} exists and is no Zarr store, so it is not overwritten."
            )

    def begin(self, write: Callable[[Path], None]) -> None:
        """Make the store by `write(folder)`, all at once; nothing if it is there already."""
        if self.store.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"draft-{uuid4().hex[:8]}"
        write(draft)
        try:
            os.rename(draft, self.store)
        except OSError:  # another run of the same task was faster
            if not self.store.is_dir():
                raise

    def write(self, key: str, data: bytes) -> None:
        """As the base says."""
        if not self.store.is_dir():
            raise FileNotFoundError(f"{self.store} is not there to be written into.")
        part = self.folder / f"part-{uuid4().hex}"  # never in the store, whatever happens
        part.write_bytes(data)
        (self.store / key).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, self.store / key)

    def keep(self, written: Written) -> Written:
        """As the base says."""
        if not self.store.is_dir():
            raise FileNotFoundError(f"{self.store} is not there to be written into.")
        part = self.folder / f"part-{uuid4().hex}"
        bring(written, part)
        target = self.store / written.key
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        part.unlink(missing_ok=True)  # there still, if the target was that very file already
        places = (target, self.path / written.key, *written.places)
        return replace(written, places=tuple(dict.fromkeys(places)), kept=True)

    def publish(self) -> None:
        """Move the store to its path; OutputExistsError if that has been taken meanwhile."""
        self.check()
        aside = self.folder / "replaced"
        if os.path.lexists(self.path):
            os.rename(self.path, aside)
        try:
            os.rename(self.store, self.path)
        except OSError as error:
            if os.path.lexists(aside):
                os.rename(aside, self.path)
            if os.path.lexists(self.path):
                raise OutputExistsError(f"{self.path} exists; it was made meanwhile.") from error
            raise
        self.discard()

    def discard(self) -> None:
        """Remove the hidden folder and what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class ObjectStaging(Staging):
    """A write to object storage, at the path itself."""

    path: ObjectPath
    """Where the store will be."""

    @property
    def store(self) -> ObjectPath:
        """The path itself."""
        return self.path

    def begin(self, write: Callable[[Path], None]) -> None:
        """Put the objects there, the group's metadata last."""
        if (self.path / METADATA).is_file():
            return
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "draft"
            write(draft)
            files = [file for file in draft.rglob("*") if file.is_file()]
            for file in sorted(files, key=lambda file: file == draft / METADATA):
                self.write(file.relative_to(draft).as_posix(), file.read_bytes())

    def write(self, key: str, data: bytes) -> None:
        """As the base says; an attempt that was given up is swept again."""
        (self.path / key).write_bytes(data)

    def keep(self, written: Written) -> Written:
        """As the base says."""
        target = self.path / written.key
        if target not in written.places or written.path() != target:
            bring(written, target)
        return replace(written, places=tuple(dict.fromkeys((target, *written.places))), kept=True)

    def publish(self) -> None:
        """Nothing: it is there."""

    def discard(self) -> None:
        """Nothing: whoever keeps the path to himself removes it."""


def write_metadata(folder: Path, dataset: xr.Dataset, encoding: dict[str, Any]) -> None:
    """Metadata and coordinates of a dataset as Zarr v3; its lazy arrays are left without data."""
    dataset.to_zarr(
        folder, mode="w-", compute=False, zarr_format=3, consolidated=False, encoding=encoding
    )
    _consolidate(folder)


def _consolidate(folder: Path) -> None:
    """Put the metadata of all arrays into the group's, as zarr-python does.

    zarr's own function lists the store, and warns of each file that is no Zarr.
    """
    arrays = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"*/{METADATA}"))
    }
    group = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    group["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": arrays,
    }
    (folder / METADATA).write_text(json.dumps(group, indent=2), encoding="utf-8")
