"""A server on this machine for the suite's tests over HTTP: embedded defaults, OpenID Connect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import LocalCluster
from live_server import serving_app
from oidc_issuer import issuing

from openeo_nc.server.app import create_app
from openeo_nc.server.settings import Settings

PROVIDER = "test"
CLIENT = "robot"


def merging_slashes(app):
    """An application that takes `//jobs` for `/jobs`, as servers behind nginx do: the suite asks so."""

    async def merged(scope, receive, send):
        if "path" in scope:
            scope = scope | {"path": re.sub("/+", "/", scope["path"])}
        await app(scope, receive, send)

    return merged


@contextmanager
def running(data: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve while the block lasts; gives the URL and, as variables, the suite's credentials."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
                     dashboard_address="127.0.0.1:0") as cluster,
        issuing() as issuer,
    ):  # fmt: skip
        provider = {"id": PROVIDER, "title": "Test", "issuer": issuer.url, "clients": [CLIENT]}
        settings = Settings.model_validate(
            {"data": data, "scheduler": cluster.scheduler_address, "oidc": [provider],
             "requests_per_minute": 10**6}
        )  # fmt: skip
        with serving_app(merging_slashes(create_app(settings))) as url:
            yield (
                url,
                {
                    "OPENEO_AUTH_METHOD": "client_credentials",
                    "OPENEO_AUTH_PROVIDER_ID": PROVIDER,
                    "OPENEO_AUTH_CLIENT_ID": CLIENT,
                    "OPENEO_AUTH_CLIENT_SECRET": "any",
                },
            )
