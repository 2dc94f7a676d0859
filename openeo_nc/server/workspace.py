"""Users' own files: each user has a folder, and no path leaves it."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from openeo_nc.errors import (
    FileOperationUnsupportedError,
    FilePathInvalidError,
    FileSizeExceededError,
    StorageQuotaExceededError,
    WorkspaceFileNotFoundError,
)
from openeo_nc.server.accounts import User
from openeo_nc.server.settings import Settings

_PART = re.compile(r"[^/\\:'\"\x00-\x1f\x7f]{1,200}")
"""A name of a file or folder; openEO's characters, and none that terminals obey."""
_DEEPEST = 20


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a user."""

    path: str
    """Relative to the user's folder, parts joined by `/`."""
    size: int
    """Bytes."""
    modified: datetime
    """UTC."""

    def to_dict(self) -> dict[str, Any]:
        """As openEO has it."""
        modified = self.modified.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"path": self.path, "size": self.size, "modified": modified}


class Workspaces:
    """The folders of all users."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.data / "files"
        self._arriving = settings.data / "arriving"
        self._quota = settings.max_workspace_bytes
        self._largest = settings.max_upload_bytes
        self._coming: Counter[str] = Counter()
        self._counting = threading.Lock()

    def listed(self, user: User) -> list[StoredFile]:
        """All files of a user by path."""
        folder = self._root / user.id
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted((_stored(path, folder) for path in files), key=lambda file: file.path)

    def free(self, user: User) -> int:
        """Bytes that a user may still store."""
        return max(self._quota - sum(file.size for file in self.listed(user)), 0)

    def quota(self) -> int:
        """Bytes that a user may store."""
        return self._quota

    def find(self, user: User, path: str) -> Path:
        """Where a file of a user lies.

        Raises
        ------
        FilePathInvalidError, WorkspaceFileNotFoundError, FileOperationUnsupportedError
        """
        place = self._place(user, path)
        if place.is_dir():
            raise FileOperationUnsupportedError(f"'{path}' is a folder.")
        if not place.is_file():
            raise WorkspaceFileNotFoundError(f"File '{path}' does not exist.")
        return place

    def delete(self, user: User, path: str) -> None:
        """Delete a file, and folders that are empty then; errors as of `find`."""
        place = self.find(user, path)
        place.unlink(missing_ok=True)
        for folder in place.parents:
            if folder == self._root:
                break
            with suppress(OSError):  # not empty, or being written to
                folder.rmdir()

    @contextmanager
    def upload(self, user: User, path: str) -> Iterator[Upload]:
        """Write a file, which is in its place when the block ends, or not at all.

        Raises
        ------
        FilePathInvalidError, FileOperationUnsupportedError, FileSizeExceededError,
        StorageQuotaExceededError
        """
        place = self._place(user, path)
        if place.is_dir() or any(p.is_file() for p in place.parents):
            raise FileOperationUnsupportedError(f"'{path}' is a folder, or lies below a file.")
        self._arriving.mkdir(parents=True, exist_ok=True)
        handle, own = tempfile.mkstemp(dir=self._arriving)
        upload = None
        try:
            with os.fdopen(handle, "wb") as file:
                take = partial(self._take, user, self.free(user))
                upload = Upload(file, self._largest, take)
                yield upload
            with self._counting:  # uploads beside this one may have come first
                there = place.stat().st_size if place.is_file() else 0
                self._check(upload.written, self.free(user) + there)
                place.parent.mkdir(parents=True, exist_ok=True)
                Path(own).replace(place)
        except BaseException:
            Path(own).unlink(missing_ok=True)
            raise
        finally:
            if upload is not None:
                with self._counting:
                    self._coming[user.id] -= upload.written

    def _take(self, user: User, free: int, size: int) -> None:
        """Count bytes that arrive, with those of other uploads of the user."""
        with self._counting:
            self._coming[user.id] += size
            self._check(self._coming[user.id], free)

    @staticmethod
    def _check(size: int, free: int) -> None:
        if size > free:
            raise StorageQuotaExceededError(f"Your files may have {free} bytes more.")

    def stored(self, user: User, path: str) -> StoredFile:
        """A file of a user; errors as of `find`."""
        return _stored(self.find(user, path), self._root / user.id)

    def _place(self, user: User, path: str) -> Path:
        parts = path.split("/")
        if len(parts) > _DEEPEST:
            raise FilePathInvalidError(f"File path is invalid: more than {_DEEPEST} parts.")
        for part in parts:
            if part in ("", ".", "..") or not _PART.fullmatch(part) or len(part.encode()) > 255:
                raise FilePathInvalidError(
                    "File path is invalid: parts are names without . and .., quotes, colons, "
                    "backslashes and control characters."
                )
        return self._root.joinpath(user.id, *parts)


class Upload:
    """A file that is being written, within its limits."""

    def __init__(self, file: BinaryIO, largest: int, take: Callable[[int], None]) -> None:
        self._file = file
        self._largest, self._take = largest, take
        self.written = 0

    def write(self, data: bytes) -> None:
        """Add bytes; FileSizeExceededError or StorageQuotaExceededError if they are too many."""
        if self.written + len(data) > self._largest:
            raise FileSizeExceededError(f"Files may have at most {self._largest} bytes.")
        self.written += len(data)
        self._take(len(data))
        self._file.write(data)


def _stored(path: Path, folder: Path) -> StoredFile:
    status = path.stat()
    return StoredFile(
        path=path.relative_to(folder).as_posix(),
        size=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
    )
