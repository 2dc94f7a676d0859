"""The server's own connection to the scheduler, made again once a scheduler that was lost is back."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.cluster import Certificates

logger = logging.getLogger(__name__)

_SECONDS = 3.0


class SchedulerConnection:
    """Tells whether the scheduler answers; safe to share between threads."""

    def __init__(self, client: Client, certificates: Certificates | None) -> None:
        self.address = str(client.scheduler_info()["address"])
        """Address that others connect to."""
        self._client = client
        self._certificates = certificates
        self._lock = threading.Lock()

    def answers(self) -> bool:
        """Whether it does; a connection that was given up is tried anew."""
        with self._lock:
            if self._client.status == "closed":
                self._connect()
            return bool(self._client.status == "running")

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _connect(self) -> None:
        from distributed import Client

        security = None if self._certificates is None else self._certificates.security()
        try:
            self._client = Client(
                self.address, timeout=_SECONDS, security=security, set_as_default=False
            )
        except (OSError, RuntimeError):
            logger.warning("The scheduler at %s does not answer", self.address)
