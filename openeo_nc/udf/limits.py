"""What sandboxes may use, and under which rules the code of users runs at the moment."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_MEBI = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one sandbox may use."""

    seconds: float = 300.0
    """Wall-clock time of one call, which is one chunk."""
    cpu_seconds: int = 3600
    """Processor time of a sandbox; one that has used most of it is replaced before its next call."""
    memory_bytes: int = 4096 * _MEBI
    """Address space, beyond what the libraries take that are loaded at the start."""
    file_bytes: int = 256 * _MEBI
    """Bytes of a file in the working folder, and of all of them where that is a file system."""
    reply_bytes: int = 1024 * _MEBI
    """Bytes of the array that one call gives."""
    open_files: int = 256
    """Open files."""
    threads: int = 64
    """Threads that code may start."""
    idle_seconds: float = 60.0
    """Time after which a sandbox that nobody calls is ended."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How code runs; tasks carry it to the workers."""

    session: str
    """Calls of one session share a sandbox on each worker: the id of a job or a request."""
    limits: Limits = field(default_factory=Limits)
    """What a sandbox may use."""
    strict: bool = False
    """Whether code is refused where network and files cannot be kept from it."""
    first_uid: int | None = None
    """First of the user ids that sandboxes take where they may; default is a range nobody has."""
    topic: str | None = None
    """Dask topic that is told what code prints and logs."""
    hosts: tuple[str, ...] | None = None
    """Hosts without public addresses that scripts may be at; None lets them be anywhere."""
    files: str | None = None
    """Folder that paths of scripts are relative to and may not leave; None is this process's."""


_PROCESS = Rules(session=secrets.token_hex(8))
_rules: ContextVar[Rules] = ContextVar("udf_rules", default=_PROCESS)


def rules() -> Rules:
    """The rules in force; those of one's own code on one's own machine if none were set."""
    return _rules.get()


@contextmanager
def ruled(rules: Rules) -> Iterator[None]:
    """Within it, `run_udf` builds tasks under these rules."""
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)
