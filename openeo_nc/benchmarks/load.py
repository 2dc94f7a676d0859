"""How fast a server tells the status of jobs while many clients ask and many jobs wait and run.

A server of its own, with embedded defaults, over HTTP on this machine; its jobs are real ones that
read a corner of the first collection and save it, so their runners and workers want the same cores.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from openeo_nc.errors import ResourceUnavailableError
from openeo_nc.tables import table as as_table

USER = "load"
_START_SECONDS = 300
_TIMEOUT = 60
_DEGREES = 0.003


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the server has to bear."""

    clients: int = 50
    """Clients that ask for the status of jobs."""
    queued: int = 500
    """Jobs that wait when measuring begins."""
    running: int = 20
    """Jobs that run at a time."""
    pause: float = 1.0
    """Seconds that a client waits between an answer and its next request."""
    seconds: float = 60.0
    """Time to measure."""


@dataclass(frozen=True, kw_only=True)
class Polled:
    """What the clients saw."""

    requests: int
    """Status requests that were answered."""
    failed: int
    """Requests with an error, or without an answer."""
    median_ms: float
    """Time from request to answer that half of them took at most."""
    p95_ms: float
    """And 95 of a hundred."""
    slowest_ms: float
    """And all."""
    before: Mapping[str, int] = field(default_factory=dict)
    """Jobs by status when measuring began."""
    after: Mapping[str, int] = field(default_factory=dict)
    """And when it ended."""


def run(load: Load | None = None) -> dict[str, Any]:
    """Measure; the report as JSON takes it."""
    load = load or Load()
    with (
        TemporaryDirectory() as folder,
        _server(Path(folder), load) as (url, password),
        requests.Session() as one,
    ):
        _log_in(url, one, password)
        jobs = _jobs(url, one, load.queued + load.running)
        _wait_until(lambda: _counts(url, one).get("running", 0) >= load.running)
        before = _counts(url, one)
        times, failed = _poll(url, str(one.headers["Authorization"]), jobs, load)
        after = _counts(url, one)
    polled = Polled(
        requests=len(times),
        failed=failed,
        median_ms=round(statistics.median(times) * 1e3, 1) if times else 0.0,
        p95_ms=round(sorted(times)[int(len(times) * 0.95)] * 1e3, 1) if times else 0.0,
        slowest_ms=round(max(times, default=0.0) * 1e3, 1),
        before=before,
        after=after,
    )
    return {"cores": os.cpu_count(), "load": asdict(load), "polled": asdict(polled)}


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    load, polled = report["load"], report["polled"]
    head = [
        "clients",
        "queued",
        "running",
        "requests",
        "failed",
        "median ms",
        "95 % ms",
        "slowest ms",
    ]
    before = polled["before"]
    row = [load["clients"], before.get("queued", 0), before.get("running", 0), polled["requests"],
           polled["failed"], polled["median_ms"], polled["p95_ms"], polled["slowest_ms"]]  # fmt: skip
    return as_table(head, [row])


def _poll(url: str, authorization: str, jobs: Sequence[str], load: Load) -> tuple[list[float], int]:
    """Seconds of each request of all clients, and how many failed."""
    until = time.monotonic() + load.seconds
    start = threading.Barrier(load.clients)

    def client(number: int) -> tuple[list[float], int]:
        times: list[float] = []
        failed = 0
        with requests.Session() as session:
            session.headers["Authorization"] = authorization
            start.wait(_TIMEOUT)
            time.sleep(load.pause * number / load.clients)  # clients do not ask all at once
            for job in itertools.cycle(jobs[number :: load.clients]):
                if time.monotonic() > until:
                    return times, failed
                began = time.perf_counter()
                try:
                    session.get(f"{url}/jobs/{job}", timeout=_TIMEOUT).raise_for_status()
                    times.append(time.perf_counter() - began)
                except requests.RequestException:
                    failed += 1
                time.sleep(load.pause)
        return times, failed

    with ThreadPoolExecutor(load.clients) as pool:
        seen = list(pool.map(client, range(load.clients)))
    return [one for times, _ in seen for one in times], sum(failed for _, failed in seen)


# --- the server and its jobs ---------------------------------------------------------------------


@contextmanager
def _server(folder: Path, load: Load) -> Iterator[tuple[str, str]]:
    """`openeo-nc serve` with one user while the block lasts; gives its URL and the password."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    password = secrets.token_hex()
    settings = {
        "DATA": str(folder / "data"), "DEVELOPMENT": "true", "USERS": f'{{"{USER}": "{password}"}}',
        "RUNNING_JOBS": load.running, "RUNNING_PER_USER": load.running, "WORKERS": 1,
        "JOBS_PER_USER": load.queued + load.running, "REQUESTS_PER_MINUTE": 10**7,
    }  # fmt: skip
    own = {n: v for n, v in os.environ.items() if not n.startswith("OPENEO_NC_")}
    told = {f"OPENEO_NC_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "openeo_nc.cli", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=own | told, stdout=log, stderr=log)
        try:
            _wait_until(lambda: process.poll() is not None or _answers(url))
            if process.poll() is not None:
                last = (folder / "log").read_text(errors="replace")[-500:]
                raise ResourceUnavailableError(f"The server ended at once: {last}")
            yield url, password
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_TIMEOUT)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=_TIMEOUT).ok
    except requests.RequestException:
        return False


def _wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not done():
        if time.monotonic() > until:
            raise ResourceUnavailableError(f"The server was not ready within {_START_SECONDS} s.")
        time.sleep(0.2)


def _log_in(url: str, session: requests.Session, password: str) -> None:
    given = session.get(f"{url}/credentials/basic", auth=(USER, password), timeout=_TIMEOUT)
    session.headers["Authorization"] = f"Bearer basic//{given.json()['access_token']}"


def _jobs(url: str, session: requests.Session, count: int) -> list[str]:
    """Ids of jobs that are queued."""
    collection = session.get(f"{url}/collections", timeout=_TIMEOUT).json()["collections"][0]
    west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
    x, y = (west + east) / 2, (south + north) / 2
    box = {"west": x, "south": y, "east": x + _DEGREES, "north": y + _DEGREES}
    load = {"id": collection["id"], "spatial_extent": box, "bands": ["B04"],
            "temporal_extent": None}  # fmt: skip
    save = {"data": {"from_node": "load"}, "format": "NETCDF"}
    graph = {
        "load": {"process_id": "load_collection", "arguments": load},
        "save": {"process_id": "save_result", "arguments": save, "result": True},
    }
    jobs = []
    for _ in range(count):
        body: Any = {"process": {"process_graph": graph}}
        made = session.post(f"{url}/jobs", json=body, timeout=_TIMEOUT)
        made.raise_for_status()
        jobs.append(made.headers["OpenEO-Identifier"])
    for job in jobs:
        session.post(f"{url}/jobs/{job}/results", timeout=_TIMEOUT).raise_for_status()
    return jobs


def _counts(url: str, session: requests.Session) -> dict[str, int]:
    jobs = session.get(f"{url}/jobs", timeout=_TIMEOUT).json()["jobs"]
    return dict(Counter(job["status"] for job in jobs))
