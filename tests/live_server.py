"""Runs a server over HTTP on this machine, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from openeo_nc.server.app import create_app

USERS = {"ada": "lovelace", "grace": "hopper"}


def serving(settings):
    """Serve the API with these settings while the block lasts; gives the URL."""
    return serving_app(create_app(settings))


@contextmanager
def serving_app(app):
    """Serve an application while the block lasts; gives the URL."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive(), "the server ended at once"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=150)  # its parts have two minutes to end
        assert not thread.is_alive(), "the server does not end"
