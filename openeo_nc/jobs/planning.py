"""Refuses a job or request that cannot fit, once its graph is built and before it is computed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from openeo_nc.cubes.plan import Limits, Plan, check, text
from openeo_nc.jobs import logs
from openeo_nc.jobs.usage import PLANNED

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.cubes.places import Place
    from openeo_nc.jobs.database import Database

MAX_TASKS = 2_000_000
"""Tasks of one graph: a scheduler takes about 2 kB of memory for each."""


def limits(client: Client, folder: Place) -> Limits:
    """What a cluster and the place of results have."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    sizes = [(w["memory_limit"], w["nthreads"]) for w in workers if w["memory_limit"]]
    memory, threads = min(sizes, key=lambda size: size[0] / size[1], default=(None, 1))
    return Limits(
        tasks=MAX_TASKS, worker_bytes=memory, threads=threads, storage_bytes=_free(folder)
    )


def checked(client: Client, folder: Place, db: Database, job_id: str) -> Callable[[Plan], None]:
    """What notes the plan of a job in its log, and refuses it if it cannot fit.

    Of these it raises
    ------------------
    PlanTooLargeError, StorageQuotaExceededError
    """

    def planned(plan: Plan) -> None:
        logs.add(db, job_id, "info", f"{PLANNED}{text(plan)}.", data=plan.document())
        check(plan, limits(client, folder))

    return planned


def _free(folder: Place) -> int | None:
    """Bytes of free space where a folder is or will be; None of object storage."""
    if not isinstance(folder, Path):
        return None
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
