"""What writers of indexes share: one at a time, and nothing left of a first one that failed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def removed_if_fails(path: Path) -> Iterator[None]:
    """A folder that was not there is not there afterwards if what is done within fails."""
    there = path.exists()
    try:
        yield
    except BaseException:
        if not there:
            (path / ".lock").unlink(missing_ok=True)
            with suppress(OSError):
                path.rmdir()
        raise
