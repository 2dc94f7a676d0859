"""What a process has its tile store do beside its tasks: one thread, there only while it is needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

Work = Callable[[], None]


class Keeper:
    """Does what is due, one after the other; what is due already is done once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._due: list[Work] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def later(self, work: Work) -> None:
        """Have something done. What comes while it is being done is done once more after it."""
        with self._changed:
            if work not in self._due:
                self._due.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def settled(self, seconds: float) -> bool:
        """Wait until nothing is due or being done; tells whether that came within a time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, seconds)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:  # nobody waits for it
                logger.exception("%s failed", self._name)

    def _next(self) -> Work | None:
        with self._changed:
            if self._due:
                return self._due.pop(0)
            self._thread = None
            self._changed.notify_all()
            return None
