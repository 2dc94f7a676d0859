"""Where entries of the tile store lie: objects in a folder or in object storage, by path.

An object appears whole or not at all, and is never changed: it is put if nobody has put it
before, read whole, and deleted. That is all that several processes and machines need to agree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PART = ".part"
_LEFT_SECONDS = 3600
"""Age of a part that nobody finishes any more: whoever wrote it was killed."""


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object that is there."""

    path: str
    """Parts joined by `/`."""
    bytes: int
    """Its size."""
    modified: float
    """When it was put, in seconds since 1970."""


class Shelf(Protocol):
    """Objects by path. OSError, or an error of the storage's client, where it cannot be reached."""

    def get(self, path: str) -> bytes | None:
        """The object; None if there is none."""
        ...

    def put(self, path: str, data: bytes) -> bool:
        """Put an object unless there is one; tells whether this one was put."""
        ...

    def list(self, prefix: str = "") -> Iterator[Object]:
        """All objects below a prefix of whole parts."""
        ...

    def delete(self, *paths: str) -> None:
        """Delete objects as far as they are there."""
        ...


@dataclass(frozen=True)
class Folder:
    """A `Shelf` in a folder that all workers reach under the same path."""

    root: Path
    """The folder; made when something is put."""

    def get(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, path: str, data: bytes) -> bool:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{uuid4().hex}{_PART}")
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine leaves a name without bytes
            return _named(part, target)
        finally:
            part.unlink(missing_ok=True)

    def list(self, prefix: str = "") -> Iterator[Object]:
        folders = [self.root / prefix if prefix else self.root]
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
                for one in found:
                    if one.is_dir(follow_symlinks=False):
                        folders.append(Path(one.path))
                        continue
                    with suppress(FileNotFoundError):
                        stat = one.stat()
                        if one.name.endswith(_PART):
                            _forget(Path(one.path), stat.st_mtime)
                            continue
                        path = Path(one.path).relative_to(self.root).as_posix()
                        yield Object(path=path, bytes=stat.st_size, modified=stat.st_mtime)

    def delete(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Bucket:
    """A `Shelf` in object storage, such as S3, that puts objects on condition that there is none."""

    store: ObjectStore
    """Client of the bucket, at the prefix where the store lies."""

    def get(self, path: str) -> bytes | None:
        import obstore

        with _as_os_errors():
            try:
                return bytes(obstore.get(self.store, path).bytes())
            except (FileNotFoundError, obstore.exceptions.NotFoundError):
                return None

    def put(self, path: str, data: bytes) -> bool:
        import obstore

        with _as_os_errors():
            try:
                obstore.put(self.store, path, data, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                return False
            return True

    def list(self, prefix: str = "") -> Iterator[Object]:
        import obstore

        with _as_os_errors():
            for page in obstore.list(self.store, prefix or None, chunk_size=1000):
                for one in page:
                    modified = one["last_modified"].timestamp()
                    yield Object(path=one["path"], bytes=one["size"], modified=modified)

    def delete(self, *paths: str) -> None:
        import obstore

        if len(paths) > 1:
            # one request for many; not all storages have it, and some stop at the first that is gone
            with suppress(FileNotFoundError, obstore.exceptions.BaseError):
                obstore.delete(self.store, list(paths))
                return
        for path in paths:
            with _as_os_errors(), suppress(FileNotFoundError, obstore.exceptions.NotFoundError):
                obstore.delete(self.store, path)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Within it, what the client of object storage raises is an OSError."""
    import obstore

    try:
        yield
    except obstore.exceptions.BaseError as error:
        raise OSError(f"The object storage failed: {error}") from error


def _named(part: Path, target: Path) -> bool:
    """Give a finished part its name, unless another has it."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: the last of two at once counts, whole as well
        if target.exists():
            return False
        os.replace(part, target)
    return True


def _forget(part: Path, modified: float) -> None:
    """Remove what a writer that was killed left."""
    if modified < time.time() - _LEFT_SECONDS:
        part.unlink(missing_ok=True)
