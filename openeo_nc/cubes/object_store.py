"""Object storage as places like folders: opened by URL, and with what is asked of a path.

Object storage has no rename and no folders. What is written there is an object at a time, each
whole or not at all; who may see it is decided elsewhere.

A URL is `s3://bucket/prefix` or `gs://bucket/prefix`. Credentials and the
endpoint never stand in it, since URLs travel in task graphs: every process takes them from its
environment, for S3 from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from openeo_nc.errors import InvalidParameterError, StorageRefusedError, StorageUnavailableError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PATIENCE = "OPENEO_NC_STORAGE_SECONDS"
"""Variable: for how long one request is repeated while the storage answers with errors."""
_PATIENCE_SECONDS = 60.0
_READ_AHEAD = 1 << 17
_PART = 1 << 22


def open_object_store(url: str, seconds: float | None = None) -> ObjectStore:
    """The store below a URL, opened once a process; its keys are relative to the URL's prefix.

    Requests that fail for the storage's sake (5xx, connections that break) are repeated, with
    pauses that grow. Building it asks nothing of the storage.

    Parameters
    ----------
    seconds
        For how long a request may take, and be repeated; default is as set for results.

    Raises
    ------
    InvalidParameterError
        The URL is of no storage that obstore knows.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    return _opened(url.rstrip("/"), seconds, endpoint, os.getpid())


@cache
def _opened(url: str, patience: float | None, endpoint: str, _process: int) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    given = float(os.environ.get(PATIENCE, _PATIENCE_SECONDS)) if patience is None else patience
    seconds, longest = timedelta(seconds=given), 60.0 if patience is None else patience
    plain = endpoint.startswith("http://")
    try:
        return from_url(
            url,
            client_options={
                "timeout": f"{longest}s",
                "connect_timeout": f"{min(10.0, longest)}s",
                "allow_http": plain,
            },
            retry_config={
                "max_retries": 10,
                "retry_timeout": seconds,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=15),
                    "base": 2,
                },
            },
        )
    except (BaseError, ValueError) as error:
        raise InvalidParameterError(f"'{url}' is no object storage that is known.") from error


@contextmanager
def typed_failures(what: object) -> Iterator[None]:
    """Within it, what object storage raises becomes an error of this package.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    StorageRefusedError, StorageUnavailableError
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StorageRefusedError(f"The object storage refuses access to '{what}'.") from error
    except exceptions.BaseError as error:
        raise StorageUnavailableError(
            f"The object storage does not answer for '{what}' ({type(error).__name__})."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Size:
    """What `ObjectPath.stat` tells."""

    st_size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, order=True)
class ObjectPath:
    """An object, or a folder of objects, with those methods of `pathlib.Path` that are used.

    A folder is there if an object is in it. Methods raise `FileNotFoundError`, or what
    `typed_failures` does.
    """

    url: str
    """URL of the store that it is in."""
    key: str = ""
    """Path below it, parts joined by `/`."""
    listed: int | None = field(default=None, compare=False)
    """Bytes of an object that was found by listing, as it was then."""

    def __truediv__(self, other: str | PurePosixPath) -> ObjectPath:
        return ObjectPath(url=self.url, key=str(PurePosixPath(self.key, other)))

    def __str__(self) -> str:
        return f"{self.url}/{self.key}" if self.key else self.url

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The suffix of the last part, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in."""
        return ObjectPath(url=self.url, key=_key(PurePosixPath(self.key).parent))

    def with_name(self, name: str) -> ObjectPath:
        """A neighbour."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether it is an object or a folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether it is an object."""
        if self.listed is not None:
            return True
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether objects are in it."""
        return next(self.rglob("*"), None) is not None

    def stat(self) -> Size:
        """The object's size."""
        import obstore

        if self.listed is not None:
            return Size(st_size=self.listed)
        with typed_failures(self):
            return Size(st_size=obstore.head(self._store, self.key)["size"])

    def read_bytes(self) -> bytes:
        """All of an object."""
        import obstore

        with typed_failures(self):
            return bytes(obstore.get(self._store, self.key).bytes())

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of an object as text."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to, not with, `end`."""
        import obstore

        with typed_failures(self):
            return bytes(obstore.get_range(self._store, self.key, start=start, end=end))

    def read_parts(self, start: int, end: int) -> Iterator[bytes]:
        """The same bytes, asked for some at a time."""
        for first in range(start, end, _PART):
            yield self.read_range(first, min(first + _PART, end))

    def signed(self, method: str, valid: timedelta) -> str:
        """A link of the storage itself that lets anybody read the object for a time."""
        import obstore

        with typed_failures(self):
            return str(obstore.sign(cast("Any", self._store), cast("Any", method), self.key, valid))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file that is read where it is sought."""
        return io.BufferedReader(_Ranges(self, self.stat().st_size), _READ_AHEAD)

    def write_bytes(self, data: bytes) -> None:
        """Put an object there, whole or not at all, whatever was there."""
        import obstore

        with typed_failures(self):
            obstore.put(self._store, self.key, data)

    def upload(self, file: Path) -> None:
        """Put a file there as an object, part by part."""
        import obstore

        with typed_failures(self):
            obstore.put(self._store, self.key, file)

    def copy_from(self, other: ObjectPath) -> None:
        """Copy an object here within the storage; both are of one store."""
        import obstore

        with typed_failures(self):
            obstore.copy(self._store, other.key, self.key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object; one that is not there is deleted already."""
        import obstore

        with typed_failures(self):
            obstore.delete(self._store, self.key)

    def rglob(self, _all: str = "*") -> Iterator[ObjectPath]:
        """All objects below it."""
        import obstore

        with typed_failures(self):
            for found in obstore.list(self._store, prefix=self.key or None, chunk_size=200):
                for one in found:
                    yield ObjectPath(url=self.url, key=one["path"], listed=one["size"])

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects `*/NAME` of the folders in it."""
        name = pattern.removeprefix("*/")
        places = (folder / name for folder in self.iterdir())
        return (place for place in places if place.is_file())

    def iterdir(self) -> Iterator[ObjectPath]:
        """Objects and folders in it."""
        import obstore

        with typed_failures(self):
            found = obstore.list_with_delimiter(self._store, prefix=self.key or None)
        for prefix in found["common_prefixes"]:
            yield ObjectPath(url=self.url, key=prefix)
        for one in found["objects"]:
            yield ObjectPath(url=self.url, key=one["path"], listed=one["size"])

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing: folders come with their objects."""

    def remove(self) -> None:
        """Delete all that is below it."""
        import obstore

        with typed_failures(self):
            for found in obstore.list(self._store, prefix=self.key or None, chunk_size=1000):
                obstore.delete(self._store, [one["path"] for one in found])

    @property
    def _store(self) -> ObjectStore:
        return open_object_store(self.url)


def _key(path: PurePosixPath) -> str:
    return "" if str(path) == "." else str(path)


class _Ranges(io.RawIOBase):
    """An object whose bytes are asked for where they are read."""

    def __init__(self, path: ObjectPath, size: int) -> None:
        self.name, self._path, self._size, self._at = str(path), path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._path.read_range(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
