"""What Prometheus reads, `/metrics`: there only where a token for it was set, since it tells of jobs."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from openeo_nc.errors import AuthenticationRequiredError, TokenInvalidError
from openeo_nc.jobs import census
from openeo_nc.metrics import PREFIX
from openeo_nc.server.requests import Served

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from openeo_nc.jobs.census import Census
    from openeo_nc.server.settings import Settings

router = APIRouter(tags=["Operations"], include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request, backend: Served) -> Response:
    """Counters of this process, and the jobs of the database as they are now."""
    _check(request.headers.get("authorization"), backend.settings)
    jobs = CollectorRegistry()
    jobs.register(_Jobs(census.take(backend.database)))
    page = generate_latest(REGISTRY) + generate_latest(jobs)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


def _check(given: str | None, settings: Settings) -> None:
    """Refuse a request without the token of the settings."""
    if given is None or settings.metrics_token is None:
        raise AuthenticationRequiredError("Metrics need the token that the server was given.")
    expected = f"Bearer {settings.metrics_token.get_secret_value()}"
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise TokenInvalidError("This is not the token for metrics.")


class _Jobs(Collector):
    def __init__(self, found: Census) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        counts = GaugeMetricFamily(f"{PREFIX}jobs", "Jobs by status.", labels=("status",))
        for status, count in self._found.jobs.items():
            counts.add_metric((status,), count)
        yield counts
        yield GaugeMetricFamily(
            f"{PREFIX}queue_age_seconds",
            "How long the first job of the queue has waited.",
            value=self._found.waiting_seconds,
        )
        yield GaugeMetricFamily(
            f"{PREFIX}jobs_silent",
            "Running jobs whose runner has not been heard of for a lease.",
            value=self._found.silent,
        )
