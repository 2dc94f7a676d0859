"""Sends requests that schemathesis makes of our OpenAPI description; none may be answered with 5xx.

    python -m tests.fuzz_api [--requests 5000] [--seed 1]

Every operation gets as many: bodies and parameters as described, and others. Half of them name jobs,
processes, collections and files that there are, and half of those with a process have one that runs,
so that requests get past the first check.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode

GRAPH = {"process_graph": {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2},
                                   "result": True}}}  # fmt: skip
NOT_BUILT = (501, 503)
"""What is not there, and what has no room: openEO's answers, no failures of the server."""


@dataclass(kw_only=True)
class Report:
    """What was asked, and what went wrong."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status."""
    failures: list[str] = field(default_factory=list)
    """Requests that were answered with 5xx, or not at all, as curl commands."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.statuses.total() + len(self.failures)


def fuzz(url: str, authorization: str, count: int, seed: int) -> Report:
    """Send about `count` requests, and at least as many, to all operations of the API at `url`."""
    session = requests.Session()
    session.headers["Authorization"] = authorization
    document = requests.get(f"{url}/openapi.json", timeout=60).json()
    operations = [o.ok() for o in schemathesis.openapi.from_dict(document).get_all_operations()]
    report, chance = Report(), random.Random(seed)
    began = time.monotonic()
    while report.requests < count:
        each = -(-(count - report.requests) // (2 * len(operations)))
        for operation in operations:
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                known = _known(url, session)
                _ask(operation, mode, each, seed + report.requests, url, session, known, chance,
                     report)  # fmt: skip
    report.seconds = time.monotonic() - began
    return report


def _ask(operation, mode, each, seed, url, session, known, chance, report) -> None:
    """Send requests of one kind to one operation."""
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except schemathesis.errors.SchemathesisError:  # nothing about it can be wrong
        return

    @seeded(seed)
    @settings(max_examples=each, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet)  # fmt: skip
    @given(case=strategy)
    def send(case) -> None:
        if chance.random() < 0.5:
            _name(case, known, chance)
        try:
            answer = case.call(base_url=url, session=session, timeout=120)
        except requests.RequestException as error:
            report.failures.append(f"{error!r}: {case.method} {case.path}")
            return
        report.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code not in NOT_BUILT:
            report.failures.append(case.as_curl_command())

    try:
        send()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__:
            raise


def _known(url, session) -> dict[str, list[str]]:
    """What there is; made again, as requests delete it."""
    session.put(f"{url}/process_graphs/known", json=GRAPH, timeout=60)
    session.put(f"{url}/files/known.txt", data=b"known", timeout=60)
    session.post(f"{url}/jobs", json={"process": GRAPH}, timeout=60)
    jobs = session.get(f"{url}/jobs?limit=5", timeout=60).json()["jobs"]
    collections = session.get(f"{url}/collections", timeout=60).json()["collections"]
    return {
        "job_id": [job["id"] for job in jobs],
        "process_graph_id": ["known"],
        "collection_id": [one["id"] for one in collections],
        "path": ["known.txt"],
    }


def _name(case, known, chance) -> None:
    """Have a request name what there is, and half of those with a process have one that runs."""
    for name in set(case.path_parameters or {}) & known.keys():
        if known[name]:
            case.path_parameters[name] = chance.choice(known[name])
    if isinstance(case.body, dict) and chance.random() < 0.5:
        if "process" in case.body:
            case.body["process"] = GRAPH
        elif "process_graph" in case.body:
            case.body["process_graph"] = GRAPH["process_graph"]


@contextmanager
def server(data: Path) -> Iterator[tuple[str, str]]:
    """A server on this machine with a user; gives its URL and the user's Authorization header."""
    from distributed import LocalCluster
    from live_server import USERS, serving

    from openeo_nc.server.settings import Settings

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
                      dashboard_address="127.0.0.1:0") as cluster:  # fmt: skip
        chosen = Settings(
            data=data, scheduler=cluster.scheduler_address, development=True, users=USERS,
            requests_per_minute=10**6, jobs_per_user=10**5, running_jobs=1, sync_seconds=60,
        )  # fmt: skip
        with serving(chosen) as url:
            user, password = next(iter(USERS.items()))
            given = requests.get(f"{url}/credentials/basic", auth=(user, password), timeout=60)
            yield url, f"Bearer basic//{given.json()['access_token']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    # The server's threads draw numbers, and set limits, while hypothesis does.
    for message in ("Do not use the `random` module", "The recursion limit will not be reset"):
        warnings.filterwarnings("ignore", message, category=Warning)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (url, authorization):
        report = fuzz(url, authorization, asked.requests, asked.seed)
    print(f"{report.requests} requests in {report.seconds:.0f} s, seed {asked.seed}")  # noqa: T201
    print(dict(sorted(report.statuses.items())))  # noqa: T201
    for failure in report.failures:
        print(failure)  # noqa: T201
    return int(bool(report.failures))


if __name__ == "__main__":
    sys.exit(main())
