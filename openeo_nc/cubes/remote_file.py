"""Opens a local file, or one on the web, of which only what is looked at is fetched."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, cast

from openeo_nc.cubes.addresses import Guard, get
from openeo_nc.cubes.places import is_url

_AHEAD = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file and who may fetch it; carried to workers."""

    href: str
    """URL or path."""
    guard: Guard | None = None
    """What may be fetched; None fetches anything."""

    def open(self) -> BinaryIO:
        """The file, to be read and sought; OSError if it cannot be."""
        if not is_url(self.href):
            return open(self.href, "rb")
        return cast("BinaryIO", io.BufferedReader(_Ranges(self), _AHEAD))

    def exists(self) -> bool:
        """Whether there is such a file."""
        try:
            with self.open():
                return True
        except OSError:
            return False


class _Ranges(io.RawIOBase):
    """A file on the web; a server that knows no ranges is asked for all of it once."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0
        _, self._size, self._all = self._fetch(0, 1)

    def _fetch(self, start: int, stop: int) -> tuple[bytes, int, bytes | None]:
        """Bytes, the size of the file, and all of it if that is what came."""
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        answer = get(self._source.href, self._source.guard, headers=headers)
        answer.raise_for_status()
        data = answer.content
        if answer.status_code != 206:
            return data[start:stop], len(data), data
        return data, int(answer.headers["Content-Range"].rpartition("/")[2]), None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        held = self._all
        data = self._fetch(self._at, stop)[0] if held is None else held[self._at : stop]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
