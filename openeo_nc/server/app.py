"""The application: middleware, routes, and the parts that live as long as it does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from openeo_nc.server import failures, page
from openeo_nc.server.access import Access
from openeo_nc.server.backend import Backend, open_backend
from openeo_nc.server.headers import Headers
from openeo_nc.server.limits import Limits
from openeo_nc.server.routes import (
    account,
    assets,
    capabilities,
    collections,
    estimate,
    files,
    formats,
    health,
    jobs,
    metrics,
    process_graphs,
    processes,
    result,
    results,
    services,
)
from openeo_nc.server.settings import Settings

logger = logging.getLogger(__name__)

_EXPOSED = ["Location", "OpenEO-Identifier", "OpenEO-Costs", "Link", "Retry-After"]
"""Headers that scripts of other origins may read."""
_PREFLIGHT_SECONDS = 3600
_END_SECONDS = 120


def _hold(
    settings: Settings, opened: Future[Backend], ending: threading.Event, ended: Future[None]
) -> None:
    """Keep the backend open until it is to end; an error while opening or ending it is told."""
    try:
        with open_backend(settings) as backend:
            opened.set_result(backend)
            ending.wait()
    except BaseException as error:  # noqa: BLE001  it is raised by whoever waits
        (ended if opened.done() else opened).set_exception(error)
    else:
        ended.set_result(None)


def create_app(settings: Settings) -> FastAPI:
    """The API with these settings; its parts start with it, and end with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened: Future[Backend] = Future()
        ending, ended = threading.Event(), Future[None]()
        # In a thread of its own: it takes seconds, and a Dask client ends where it began. No
        # executor's: the interpreter would wait for that at its end, whatever it hangs on.
        threading.Thread(
            target=_hold, args=(settings, opened, ending, ended), daemon=True, name="backend"
        ).start()
        app.state.backend = await asyncio.wrap_future(opened)
        try:
            yield
        finally:
            ending.set()
            done, _ = await asyncio.wait([asyncio.wrap_future(ended)], timeout=_END_SECONDS)
            if not done:
                logger.error("The parts of the server did not end in %d s", _END_SECONDS)
            for one in done:
                one.result()

    app = FastAPI(
        title=settings.title,
        version=version("openeo-nc"),
        description="openEO API",
        lifespan=lifespan,
        docs_url=None,  # its page fetches scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=failures.RESPONSES,
    )
    failures.install(app)
    page.install(app)
    for noun in (capabilities, collections, processes, formats, result, jobs, estimate, results,
                 process_graphs, files, services, account, assets, health):  # fmt: skip
        app.include_router(noun.router)
    app.include_router(results.canonical)
    if settings.metrics_token is not None:
        app.include_router(metrics.router)
    if settings.development:
        app.include_router(account.passwords)
    if settings.oidc:
        app.include_router(account.providers)
    # the last is the outermost
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(failures.Unexpected)
    app.add_middleware(Headers, settings=settings)
    app.add_middleware(Access)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
        max_age=_PREFLIGHT_SECONDS,
    )
    return app
