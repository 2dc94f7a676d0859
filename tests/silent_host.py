"""A host that takes connections and never answers."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager


@contextmanager
def silent():
    """Its address, host and port, while the block lasts."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:  # closed
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for one in held:
                one.close()
