"""What jobs use: counted by the runner, by the scheduler, and by the tasks themselves.

Whatever adds to a `metrics.Total` within a task is in the usage of the task's job, under its name.
Energy and prices are not counted but assumed, and say from what (`economics.assumptions`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from openeo_nc import metrics
from openeo_nc.economics.assumptions import Assumptions
from openeo_nc.jobs.tables import JobRow, LogRow, UsageRow

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.jobs.claims import Claim
    from openeo_nc.jobs.database import Database

logger = logging.getLogger(__name__)

PEAK = "memory_peak"
"""Count of the most memory that a worker had; of attempts the largest counts, not the sum."""
PLANNED = "Planned: "
"""What the log entry of a job's plan begins with."""
_LOOK_SECONDS = 2.0
_NAMES = {
    metrics.SOURCE_BYTES_READ.name: "input",
    metrics.SOURCE_FILE_BYTES.name: "network",
    metrics.PIXELS_READ.name: "pixels",
    metrics.DEVICE_SECONDS.usage_name("cuda"): "gpu",
}
"""Names in openEO's usage of what has one there, or a plain one."""
_UNITS = {"bytes": "b", "seconds": "seconds"}


@contextmanager
def counted(client: Client, db: Database, claim: Claim, began: float) -> Iterator[None]:
    """Within it, tasks of this attempt are told apart; however it ends, what they used is kept.

    Parameters
    ----------
    began
        `time.monotonic()` when the attempt began.
    """
    from distributed import span

    name = f"{claim.job_id}-{claim.token}"
    ended = threading.Event()
    peak: list[int] = [0]
    looking = threading.Thread(target=_look, args=(client, peak, ended), daemon=True)
    looking.start()
    complete = False
    try:
        with span(name):
            yield
        complete = True
    finally:
        ended.set()
        counts = _counts(client, name, complete=complete)
        cpu_seconds = counts.pop("cpu_seconds", 0.0)
        looking.join()
        counts[PEAK] = peak[0]
        add(db, claim, seconds=time.monotonic() - began, cpu_seconds=cpu_seconds, counts=counts)


def add(
    db: Database, claim: Claim, *, seconds: float, cpu_seconds: float = 0.0,
    counts: Mapping[str, float] | None = None,
) -> None:  # fmt: skip
    """Keep what an attempt used, unless its job is gone; never less than is kept already."""
    with db.write() as session:
        if session.get(JobRow, claim.job_id) is None:
            return
        row = session.get(UsageRow, (claim.job_id, claim.token))
        before = UsageRow(seconds=0.0, cpu_seconds=0.0, counts=None) if row is None else row
        session.merge(
            UsageRow(
                job_id=claim.job_id,
                token=claim.token,
                seconds=max(seconds, before.seconds),
                cpu_seconds=max(cpu_seconds, before.cpu_seconds),
                counts=dict(counts or before.counts or {}),
            )
        )


def total(db: Database, job_id: str, *, stored: int | None = None) -> dict[str, Any]:
    """openEO's usage of a job: that of all its attempts."""
    with db.read() as session:
        rows = list(session.scalars(select(UsageRow).where(UsageRow.job_id == job_id)))
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update({name: n for name, n in (row.counts or {}).items() if name != PEAK})
    return document(
        counts,
        seconds=sum(row.seconds for row in rows),
        cpu_seconds=sum(row.cpu_seconds for row in rows),
        peak=max(((row.counts or {}).get(PEAK, 0) for row in rows), default=0),
        stored=stored,
    )


def experience(db: Database, codecs: Sequence[str], *, jobs: int = 20) -> list[float]:
    """CPU seconds that the last jobs of the same codecs used, as shares of what was planned."""
    last = (
        select(LogRow.data, UsageRow.cpu_seconds)
        .join(JobRow, JobRow.id == LogRow.job_id)
        .join(UsageRow, (UsageRow.job_id == LogRow.job_id) & (UsageRow.token == JobRow.token))
        .where(JobRow.status == "finished", LogRow.message.startswith(PLANNED))
        .order_by(LogRow.id.desc())
        .limit(20 * jobs)
    )
    with db.read() as session:
        found = [(plan, used) for plan, used in session.execute(last) if plan]
    return [
        used / plan["cpu_seconds"]["value"]
        for plan, used in found
        if plan["codecs"] == list(codecs) and plan["cpu_seconds"] and used > 0
    ][:jobs]


def document(
    counts: Mapping[str, float], *, seconds: float, cpu_seconds: float, peak: float,
    stored: int | None, assumed: Assumptions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Counts as openEO's usage metrics, with energy, and what a transfer would have cost."""
    assumed = assumed or Assumptions()
    gpu_seconds = counts.get(metrics.DEVICE_SECONDS.usage_name("cuda"), 0.0)
    usage = {
        "duration": _metric(seconds, "seconds"),
        "cpu": _metric(cpu_seconds, "cpu-seconds"),
        "energy": _metric(
            assumed.compute_kwh(cpu_seconds=cpu_seconds, gpu_seconds=gpu_seconds), "kWh",
            assumption=assumed.compute_text(),
        ),
    }  # fmt: skip
    if peak:
        usage["memory"] = _metric(peak, "b")
    for name, unit in _known(counts):
        usage[_NAMES.get(name, name)] = _metric(counts[name], unit)
    if stored is not None:
        usage["storage"] = _metric(stored, "b")
    pixels = counts.get(metrics.PIXEL_BYTES_ENCODED.name)
    if pixels:
        note = {"assumption": assumed.transfer_text()}
        sizes = {"uncompressed": pixels}
        if (payload := counts.get(metrics.PAYLOAD_BYTES_ENCODED.name)) is not None:
            sizes["compressed"] = payload
        for form, size in sizes.items():
            usage[f"transfer_{form}"] = _metric(size, "b")
            usage[f"transfer_{form}_energy"] = _metric(assumed.transfer_kwh(size), "kWh", **note)
            usage[f"transfer_{form}_price"] = _metric(assumed.egress_usd(size), "USD", **note)
    return usage


def _metric(value: float, unit: str, **more: str) -> dict[str, Any]:
    exact = unit in ("b", "tiles", "pixels", "batches")
    return {"value": round(value) if exact else float(f"{value:.6g}"), "unit": unit, **more}


def _known(counts: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Names of counts that are there, with their units."""
    for one in metrics.TOTALS:
        for name in sorted(counts):
            if name == one.name or (one.label and name.startswith(f"{one.name}_")):
                yield name, _UNITS.get(one.unit, one.unit)


def _counts(client: Client, name: str, *, complete: bool) -> dict[str, float]:
    """What tasks of a span counted; of an attempt that failed, what the scheduler knows by now."""
    try:
        counts = metrics.of_span(client, name, ask=complete)
        counts["cpu_seconds"] = float(client.run_on_scheduler(_cpu_seconds, name=name))
    except Exception:  # whatever became of the cluster, it is not what the attempt ends with
        logger.warning("What %s used could not be counted", name, exc_info=True)
        return {}
    return counts


def _look(client: Client, peak: list[int], ended: threading.Event) -> None:
    """Follow the memory of workers until the attempt has ended."""
    while not ended.wait(_LOOK_SECONDS):
        try:
            peak[0] = max(peak[0], client.run_on_scheduler(_memory))
        except Exception:  # noqa: BLE001  the cluster is gone, which others see
            return


def _memory(dask_scheduler: Any) -> int:
    """Memory of the worker that has most."""
    return max(
        (int(w.metrics.get("memory", 0)) for w in dask_scheduler.workers.values()), default=0
    )


def _cpu_seconds(dask_scheduler: Any, name: str) -> float:
    """CPU seconds of the tasks of a span."""
    spans = dask_scheduler.extensions["spans"].spans_search_by_tag[name]
    used: float = sum(
        value
        for span in spans
        for key, value in span.cumulative_worker_metrics.items()
        if key[0] == "execute" and key[-2:] == ("thread-cpu", "seconds")
    )
    return used
