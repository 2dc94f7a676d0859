"""What all routes share while a server lives: made from its settings, ended in reverse."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from openeo_nc.cluster import connect
from openeo_nc.cubes.places import Place, place_of
from openeo_nc.graphs.served import VARIABLE, Serving
from openeo_nc.jobs.database import Database
from openeo_nc.jobs.dispatcher import Dispatcher, Limits
from openeo_nc.server.accounts import Accounts
from openeo_nc.server.collections import Collections, demo_catalogue
from openeo_nc.server.evaluation import Evaluation
from openeo_nc.server.links import Links
from openeo_nc.server.scheduler import SchedulerConnection
from openeo_nc.server.settings import Settings
from openeo_nc.server.workspace import Workspaces
from openeo_nc.udf.limits import Limits as UDFLimits

logger = logging.getLogger(__name__)

_LEFT_SECONDS = 24 * 3600
"""Age of temporary results that nobody waits for any more."""
_SECRETS = tuple(f"OPENEO_NC_{name}" for name in ("SECRET", "USERS", "DATABASE", "METRICS_TOKEN"))
"""Settings that processes which run users' graphs do not get."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The parts of a running server."""

    settings: Settings
    """What it was told."""
    database: Database
    """Jobs, logs and users' processes."""
    scheduler: str
    """Address of the Dask scheduler."""
    catalogues: tuple[str, ...]
    """STAC catalogues of load_collection."""
    collections: Collections
    """What is in these."""
    accounts: Accounts
    """Users and their tokens."""
    links: Links
    """Links to results."""
    workspaces: Workspaces
    """Users' files."""
    evaluation: Evaluation
    """Synchronous results."""
    serving: Serving
    """What graphs of users may do."""
    temporary: Path
    """Folder for results of requests, gone with each."""
    results: Place
    """Folder of the results of jobs."""
    connection: SchedulerConnection
    """Connected to the Dask scheduler."""

    def failing(self) -> list[str]:
        """Parts that do not answer; an empty list if all is well."""
        answering = {
            "database": self.database.answers(),
            "scheduler": self.connection.answers(),
        }
        return [part for part, answers in answering.items() if not answers]


def forget_secrets() -> None:
    """Take secrets, once settings are read, out of the environment that other processes inherit."""
    for name in [name for name in os.environ if name.upper() in _SECRETS]:
        del os.environ[name]


@contextmanager
def open_backend(settings: Settings) -> Iterator[Backend]:
    """Start all parts, and end them."""
    temporary = settings.folder() / "sync"
    temporary.mkdir(exist_ok=True)
    _clear(temporary)
    secret = settings.secret_bytes()
    catalogues = settings.catalogues or (demo_catalogue(settings.data / "demo"),)
    with ExitStack() as stack:
        evaluation = Evaluation(settings.sync_at_once)
        database = Database.open(settings.database_url())
        stack.callback(database.close)
        client = stack.enter_context(
            connect(
                settings.scheduler,
                workers=settings.workers,
                certificates=settings.certificates(),
                default=False,
            )
        )
        connection = SchedulerConnection(client, settings.certificates())
        stack.callback(connection.close)
        scheduler = connection.address
        dispatcher = _dispatcher(settings, database, scheduler, catalogues)
        dispatcher.start()
        stack.callback(dispatcher.stop)
        yield Backend(
            settings=settings,
            database=database,
            scheduler=scheduler,
            catalogues=catalogues,
            collections=Collections(catalogues),
            accounts=Accounts(settings, secret),
            links=Links(secret, settings.link_seconds),
            workspaces=Workspaces(settings),
            evaluation=evaluation,
            serving=serving_of(settings),
            temporary=temporary,
            results=dispatcher.folder,
            connection=connection,
        )


def serving_of(settings: Settings) -> Serving:
    """What these settings let graphs of users do."""
    return Serving(
        udfs=settings.udfs,
        limits=UDFLimits(
            seconds=settings.udf_seconds,
            memory_bytes=settings.udf_memory_bytes,
            file_bytes=settings.udf_file_bytes,
        ),
        first_uid=settings.udf_uid,
        files=str(settings.data / "files"),
        hosts=settings.private_hosts,
        model_hosts=settings.model_hosts,
    )


def _clear(folder: Path) -> None:
    """Remove what servers that were killed left; others may be using the folder now."""
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - _LEFT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _results(settings: Settings) -> Place:
    return settings.data / "results" if settings.results is None else place_of(settings.results)


def _dispatcher(
    settings: Settings, database: Database, scheduler: str, catalogues: tuple[str, ...]
) -> Dispatcher:
    hidden = dict.fromkeys((name for name in _SECRETS if name in os.environ), "")
    return Dispatcher(
        db=database,
        limits=Limits(
            running=settings.running_jobs,
            running_per_user=settings.running_per_user,
            job_seconds=settings.job_seconds,
        ),
        scheduler_address=scheduler,
        folder=_results(settings),
        certificates=settings.certificates(),
        environment={
            "OPENEO_NC_CATALOGUES": ",".join(catalogues),
            "OPENEO_NC_DATA": str(settings.data),
            "OPENEO_NC_TILES": settings.tiles or "",
            "OPENEO_NC_TILES_BYTES": str(settings.tiles_bytes),
            VARIABLE: serving_of(settings).to_json(),
            **hidden,
        },
    )
