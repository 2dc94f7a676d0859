"""The sandboxes of this process: one a session, started on first use and ended when idle."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from openeo_nc.udf.frames import Array
from openeo_nc.udf.limits import Rules
from openeo_nc.udf.sandbox import Sandbox

_LOOK_SECONDS = 5.0
_sandboxes: dict[str, Sandbox] = {}
_begun: set[str] = set()
_locks: dict[str, threading.Lock] = {}
_changing = threading.Lock()
_watching = threading.Event()


def call(
    rules: Rules,
    header: Mapping[str, Any],
    array: Array,
    tell: Callable[[str, str], None],
    abandoned: Callable[[], bool] | None = None,
) -> tuple[dict[str, Any], Array]:
    """Run code on a chunk in the sandbox of a session; errors as of `Sandbox.call`.

    Raises
    ------
    UDFSandboxError
        There can be none, or none that isolates as asked.
    """
    with _changing:
        lock = _locks.setdefault(rules.session, threading.Lock())
    with lock:
        return _ready(rules).call(header, array, tell, abandoned)


def running() -> dict[str, int]:
    """Process ids of sandboxes by session."""
    with _changing:
        return {session: one.pid for session, one in _sandboxes.items() if one.alive()}


def begun(session: str) -> bool:
    """Whether a session has had a sandbox in this process, and has not been ended."""
    return session in _begun


def end(session: str) -> None:
    """End the sandbox of a session, whatever it is doing."""
    _begun.discard(session)
    _close(session)


def _close(session: str) -> None:
    with _changing:
        sandbox, lock = _sandboxes.pop(session, None), _locks.pop(session, None)
    if sandbox is None or lock is None:
        return
    if lock.acquire(blocking=False):
        sandbox.end()
        lock.release()
    else:
        sandbox.kill()


def _ready(rules: Rules) -> Sandbox:
    """The session's sandbox; a new one if there is none, or it has ended or may not last."""
    with _changing:
        sandbox = _sandboxes.get(rules.session)
    if sandbox is not None and sandbox.alive() and not sandbox.spent():
        return sandbox
    if sandbox is not None:
        sandbox.end()
    _begun.add(rules.session)
    made = Sandbox(rules)
    with _changing:
        _sandboxes[rules.session] = made
        _locks.setdefault(rules.session, threading.Lock())
        if not _watching.is_set():
            _watching.set()
            threading.Thread(target=_watch, daemon=True, name="udf-sandboxes").start()
    return made


def _watch() -> None:
    """End sandboxes that nobody calls, until there are none."""
    while True:
        time.sleep(_LOOK_SECONDS)
        with _changing:
            if not _sandboxes:
                _watching.clear()
                return
            sessions = [*_sandboxes]
        for session in sessions:
            _close_idle(session)


def _close_idle(session: str) -> None:
    """End a sandbox that nobody calls; a call that comes now waits, and gets another one."""
    with _changing:
        lock = _locks.get(session)
    if lock is None or not lock.acquire(blocking=False):
        return
    try:
        with _changing:
            one = _sandboxes.get(session)
            if one is None or time.monotonic() - one.used <= one.rules.limits.idle_seconds:
                return
            del _sandboxes[session]  # the lock stays, since calls may wait for it
        one.end()
    finally:
        lock.release()


def _end_all() -> None:
    for session in list(_sandboxes):
        end(session)


atexit.register(_end_all)
