"""What a computation will take, before it starts: tasks, tiles, bytes, memory, seconds.

        outputs --Dask's optimiser--> tasks --plan_work--> tiles, windows read
                                                 x throughput.json --> Plan --check--> Limits

Building a graph computes nothing, and neither does its plan. Seconds and bytes of results come from
measured throughput; the plan says how far they may be off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import collections_to_expr

from openeo_nc.cubes.plan_work import Step, Work, rate_of, work_of
from openeo_nc.cubes.planned import Planned
from openeo_nc.cubes.throughput import Throughput, measured
from openeo_nc.errors import PlanTooLargeError, StorageQuotaExceededError

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.cubes.outputs import Outputs
    from openeo_nc.cubes.payloads import Payloads

TASK_SECONDS = 0.002
"""Seconds of a core that any task costs: the scheduler, the worker, moving its result."""
READ_SECONDS = 2e-8
"""Seconds of a core to read, unpack and scale a sample of a source."""
SPREAD = 2.0
"""Seconds may be this many times less or more: machines differ, and other places code slower."""
_WAITING = 2
"""Blocks beside the one that a thread works on that wait in a worker's memory."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number that is not known exactly."""

    value: float
    """What is expected."""
    low: float
    """What it is at least, in all likelihood."""
    high: float
    """What it is at most, in all likelihood."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a computation takes."""

    tasks: int
    """Tasks that the scheduler gets."""
    tiles: int
    """Tiles that are coded or embedded."""
    kept_tiles: int
    """Tiles that are taken from the tile store instead."""
    samples: int
    """Bands of pixels that are coded or else read."""
    source_bytes: int
    """Bytes of the sources' own numbers, uncompressed."""
    read_bytes: int | None
    """Bytes of these as their files hold them; None where no item states `file:size`."""
    cube_bytes: int
    """Bytes of the results, uncompressed."""
    output_bytes: Range
    """Bytes of the results as they are stored."""
    cpu_seconds: Range | None
    """Seconds of all cores; None if a codec was not measured."""
    memory_bytes: int
    """Most bytes of a worker with one thread."""
    thread_bytes: int
    """Bytes of each further thread."""
    codecs: tuple[str, ...]
    """Codecs and models that tiles go through."""
    basis: str
    """Where seconds, bytes and memory come from."""

    def worker_bytes(self, threads: int) -> int:
        """Most bytes of a worker."""
        return self.memory_bytes + (threads - 1) * self.thread_bytes

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What there is; None is not known, or without end."""

    tasks: int | None = None
    """Tasks that a scheduler is given at most."""
    worker_bytes: int | None = None
    """Memory of the smallest worker."""
    threads: int = 1
    """Threads of it."""
    storage_bytes: int | None = None
    """Space for results."""


def plan_outputs(outputs: Outputs, throughput: Throughput | None = None) -> Plan:
    """The plan of all that is to be saved."""
    return plan_of([*outputs.plans, *outputs.objects], outputs.planned, throughput)


def plan_cube(cube: xr.DataArray, throughput: Throughput | None = None) -> Plan:
    """The plan of computing a lazy cube into memory."""
    return plan_of([cube], [Planned.of("memory", cube)], throughput)


def plan_of(
    collections: Sequence[Any], planned: Sequence[Planned], throughput: Throughput | None = None
) -> Plan:
    """The plan of Dask collections, and of the results that they give."""
    graph = collections_to_expr(collections).optimize().__dask_graph__()
    known = throughput or measured()
    work = work_of(graph)
    sizes = [_size(one, known) for one in planned]
    blocks = max((one.block_bytes for one in planned), default=0)
    memory = known.memory(_heaviest(work, known))
    thread = round(memory.tile * work.largest / known.samples) + _WAITING * max(
        blocks, 4 * work.largest
    )
    return Plan(
        tasks=work.tasks,
        tiles=work.tiles,
        kept_tiles=work.kept,
        samples=max([samples for _, samples in work.steps.values()], default=work.samples_read),
        source_bytes=work.source_bytes,
        read_bytes=work.read_bytes,
        cube_bytes=sum(one.cube_bytes for one in planned),
        output_bytes=Range(
            value=sum(one.value for one in sizes),
            low=sum(one.low for one in sizes),
            high=sum(one.high for one in sizes),
        ),
        cpu_seconds=_seconds(work, known),
        memory_bytes=memory.process + memory.codec + thread,
        thread_bytes=thread,
        codecs=tuple(sorted({step.codec_id for step in work.steps})),
        basis=f"measured on {known.machine}; seconds within a factor of {SPREAD:g}",
    )


def check(plan: Plan, limits: Limits) -> None:
    """Refuse a plan that cannot fit.

    Raises
    ------
    PlanTooLargeError
        It has too many tasks, or a worker has too little memory for it.
    StorageQuotaExceededError
        There is too little space for its results, however well they compress.
    """
    if limits.tasks is not None and plan.tasks > limits.tasks:
        raise PlanTooLargeError(
            f"This needs {plan.tasks:,} tasks; {limits.tasks:,} are allowed. Take a smaller extent, "
            "fewer dates or fewer bands, or split it into several jobs."
        )
    needed = plan.worker_bytes(limits.threads)
    if limits.worker_bytes is not None and needed > limits.worker_bytes:
        raise PlanTooLargeError(
            f"A worker of {limits.threads} threads needs about {_size_text(needed)} of memory for "
            f"this; there are {_size_text(limits.worker_bytes)}. Results in files of their own "
            "dates, or as ZARR, need the least."
        )
    least = plan.output_bytes.low
    if limits.storage_bytes is not None and least > limits.storage_bytes:
        raise StorageQuotaExceededError(
            f"The results take {_size_text(plan.output_bytes.value)}, at least "
            f"{_size_text(least)}; there is space for {_size_text(limits.storage_bytes)}."
        )


def _seconds(work: Work, known: Throughput) -> Range | None:
    total = work.tasks * TASK_SECONDS + work.samples_read * READ_SECONDS
    for step, (_, samples) in work.steps.items():
        cost = _cost(step, known)
        if cost is None:
            return None
        total += samples * cost
    return Range(value=total, low=total / SPREAD, high=total * SPREAD)


def _cost(step: Step, known: Throughput) -> float | None:
    """Seconds of a core that a step takes of a sample."""
    if step.operation == "embed":
        return known.embedding(step.codec_id)
    cost = known.cost(step.codec_id, step.rate)
    return None if cost is None else getattr(cost, step.operation)


def _heaviest(work: Work, known: Throughput) -> str | None:
    """The codec that takes most memory."""
    names = {step.codec_id for step in work.steps}
    return max(names, key=lambda name: known.memory(name).tile, default=None)


def _size(one: Planned, known: Throughput) -> Range:
    """Bytes of a result as it is stored; lossless formats may save nothing."""
    if one.payloads is None:
        return Range(value=one.cube_bytes, low=0.0, high=one.cube_bytes)
    cost = known.cost(one.payloads.card.codec_id, rate_of(one.payloads.coding))
    samples = _samples(one.payloads)
    if cost is None:
        return Range(value=one.cube_bytes, low=0.0, high=one.cube_bytes)
    value, low, high = (samples * bits / 8 for bits in (cost.bits, cost.bits_low, cost.bits_high))
    return Range(value=value, low=low / SPREAD, high=high * SPREAD)


def _samples(payloads: Payloads) -> int:
    form = payloads.coding.form
    return int(np.prod(payloads.blocks.shape)) * form.bands * form.tile**2


def _size_text(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} PB"


def text(plan: Plan) -> str:
    """A plan in one line, for logs."""
    seconds = "unknown" if plan.cpu_seconds is None else f"about {plan.cpu_seconds.value:.0f}"
    return (
        f"{plan.tasks:,} tasks, {plan.tiles:,} tiles, {_size_text(plan.source_bytes)} to read, "
        f"about {_size_text(plan.output_bytes.value)} to write, {seconds} CPU seconds, "
        f"{_size_text(plan.memory_bytes)} of memory a worker"
    )
