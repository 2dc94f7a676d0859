"""What a job will take and cost, and whether its budget is enough for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING
from uuid import uuid4

from openeo_nc.cubes.plan import Plan, Range
from openeo_nc.economics.assumptions import Assumptions
from openeo_nc.errors import BillingPlanError, BudgetError, EstimateComplexityError
from openeo_nc.graphs.called import called_processes
from openeo_nc.jobs.process_graphs import OwnProcesses
from openeo_nc.jobs.usage import experience
from openeo_nc.server import evaluation

if TYPE_CHECKING:
    from openeo_nc.jobs.job import Job
    from openeo_nc.server.backend import Backend
    from openeo_nc.server.requests import Json

_ENOUGH = 3
"""Earlier jobs that say more than the machine which the figures were measured on."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job takes on the cluster as it is now."""

    plan: Plan
    """What it takes."""
    threads: int
    """Threads of all workers."""


def estimated(backend: Backend, job: Job) -> Estimate:
    """The plan of a job, its graph built in a process of its own; nothing is computed.

    Raises
    ------
    EstimateComplexityError
        A codec that nobody measured is part of it.
    OpenEONCError
        From the graph, its processes, or the process that builds it.
    """
    process = dict(job.process)
    reply = backend.evaluation.run(
        evaluation.Request(
            process=process,
            user_processes=called_processes(process, OwnProcesses(backend.database, job.user_id)),
            folder=backend.temporary / str(uuid4()),
            scheduler=backend.scheduler,
            certificates=backend.settings.certificates(),
            catalogues=backend.catalogues,
            tiles=backend.settings.tile_store(),
            seconds=backend.settings.sync_seconds,
            serving=backend.serving,
            user=job.user_id,
            estimate=True,
        )
    )
    if reply.plan is None or reply.plan.cpu_seconds is None:
        raise EstimateComplexityError("The job has a codec whose speed was never measured.")
    ratios = experience(backend.database, reply.plan.codecs)
    return Estimate(plan=_experienced(reply.plan, ratios), threads=max(1, reply.threads))


def document(backend: Backend, estimate: Estimate) -> Json:
    """openEO's estimate, with the plan that it comes from."""
    plan, assumed = estimate.plan, Assumptions()
    seconds = plan.cpu_seconds
    found: Json = {"size": round(plan.output_bytes.value), "plan": plan.document()}
    if backend.settings.currency is not None:
        found["costs"] = costs(backend, plan)
    if seconds is not None:
        found["duration"] = _duration(seconds.value / estimate.threads)
        found["energy"] = {
            "value": assumed.compute_kwh(cpu_seconds=seconds.value),
            "unit": "kWh",
            "assumption": assumed.compute_text(),
        }
    return found


def costs(backend: Backend, plan: Plan) -> float:
    """What a job costs, in the server's currency; nothing where it has none."""
    settings = backend.settings
    if settings.currency is None or plan.cpu_seconds is None:
        return 0.0
    hours, size = plan.cpu_seconds.value / 3600, plan.output_bytes.value / 1e9
    return float(f"{hours * settings.price_core_hour + size * settings.price_gb:.4g}")


def check_budget(backend: Backend, job: Job) -> None:
    """Refuse a job that costs more than its user wants to spend.

    Raises
    ------
    BudgetError, OpenEONCError
    """
    if job.budget is None or backend.settings.currency is None:
        return
    needed = costs(backend, estimated(backend, job).plan)
    if needed > job.budget:
        raise BudgetError(
            f"The job is estimated to cost {needed:g} {backend.settings.currency}; its budget is "
            f"{job.budget:g}."
        )


def check_billing_plan(backend: Backend, name: object) -> None:
    """Raise BillingPlanError unless there is such a plan, or none was named."""
    if name not in (None, known := _billing_plan(backend)):
        raise BillingPlanError(f"There is no billing plan {name!r}; there is '{known}'.")


def billing(backend: Backend) -> Json:
    """openEO's description of what is billed."""
    paid = backend.settings.currency is not None
    settings = backend.settings
    what = f"{settings.price_core_hour:g} a core and hour, {settings.price_gb:g} a GB of results"
    return {
        "currency": backend.settings.currency,
        "default_plan": _billing_plan(backend),
        "plans": [
            {
                "name": _billing_plan(backend),
                "description": f"What jobs use: {what}." if paid else "Nothing is billed.",
                "paid": paid,
            }
        ],
    }


def _billing_plan(backend: Backend) -> str:
    """The one there is."""
    return "free" if backend.settings.currency is None else "usage"


def _experienced(plan: Plan, ratios: list[float]) -> Plan:
    """The plan with its seconds as earlier jobs here had them, if there were enough."""
    if plan.cpu_seconds is None or len(ratios) < _ENOUGH:
        return plan
    seconds = plan.cpu_seconds.value
    return replace(
        plan,
        cpu_seconds=Range(
            value=seconds * median(ratios),
            low=seconds * min(ratios),
            high=seconds * max(ratios),
        ),
        basis=f"{plan.basis}; scaled by what {len(ratios)} earlier jobs of the same codecs used here",
    )


def _duration(seconds: float) -> str:
    """A time as ISO 8601 has it."""
    whole = max(1, round(seconds))
    days, rest = divmod(whole, 24 * 3600)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    date = f"{days}D" if days else ""
    parts = ((hours, "H"), (minutes, "M"), (rest, "S"))
    time = "".join(f"{count}{unit}" for count, unit in parts if count)
    return f"P{date}" + (f"T{time}" if time else "")
