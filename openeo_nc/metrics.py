"""What is counted while work is done: for Prometheus, and for the usage of the job it was done for.

A `Total` is a counter of this process, which `/metrics` of the API or of a Dask worker shows. Added to
within a Dask task, it also goes with that task to the scheduler, which keeps sums a span: whoever
runs tasks within `distributed.span(tag)` asks `of_span` for what they added up to, on all workers
and whatever else these did meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import REGISTRY, Collector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client
    from prometheus_client.core import Metric

PREFIX = "openeo_nc_"
"""What the names of all metrics begin with."""
_SPANS = "openeo-nc"
"""Marks the numbers of this package among those that Dask keeps of tasks."""


class Total:
    """A sum that only grows, in this process and in the span of the Dask task that adds to it."""

    def __init__(self, name: str, unit: str, title: str, *, label: str | None = None) -> None:
        self.name = name
        """Name in a job's usage; with PREFIX before and `_total` behind it, in Prometheus."""
        self.unit = unit
        """What is counted, e.g. `bytes`."""
        self.label = label
        """What parts are told apart by, if they are."""
        self._counter = Counter(PREFIX + name, title, (label,) if label else ())
        TOTALS.append(self)

    def add(self, amount: float = 1, part: str | None = None) -> None:
        """Add to it; `part` is the value of its label. For a job's sum, call it in the task's thread."""
        counter = self._counter if part is None else self._counter.labels(part)
        counter.inc(amount)
        if (meter := sys.modules.get("distributed.metrics")) is not None:
            # A unit of our own: Dask subtracts what is in seconds from the time of a task.
            meter.context_meter.digest_metric(self.usage_name(part), amount, _SPANS)

    def usage_name(self, part: str | None = None) -> str:
        """Name of a sum in a job's usage."""
        return self.name if part is None else f"{self.name}_{part}"

    def value(self, part: str | None = None) -> float:
        """The sum in this process."""
        labels = {} if self.label is None or part is None else {self.label: part}
        return REGISTRY.get_sample_value(f"{PREFIX}{self.name}_total", labels) or 0.0


TOTALS: list[Total] = []
"""All of them."""

# --- coding ------------------------------------------------------------------------------------

TILES_ENCODED = Total("tiles_encoded", "tiles", "Tiles that were encoded.")
TILES_DECODED = Total("tiles_decoded", "tiles", "Tiles that were decoded.")
PIXEL_BYTES_ENCODED = Total("pixel_bytes_encoded", "bytes", "Bytes of pixels that were encoded.")
PAYLOAD_BYTES_ENCODED = Total(
    "payload_bytes_encoded", "bytes", "Bytes of payloads that encoding gave."
)
PIXEL_BYTES_DECODED = Total("pixel_bytes_decoded", "bytes", "Bytes of pixels that decoding gave.")
PAYLOAD_BYTES_DECODED = Total(
    "payload_bytes_decoded", "bytes", "Bytes of payloads that were decoded."
)
SOURCE_BYTES_READ = Total("source_bytes_read", "bytes", "Bytes of pixels read from sources.")
SOURCE_FILE_BYTES = Total(
    "source_file_bytes", "bytes", "Bytes of these in their files, by the size that items state."
)
PIXELS_READ = Total("pixels_read", "pixels", "Pixels read from sources, each band counted.")
RESULT_BYTES_WRITTEN = Total("result_bytes_written", "bytes", "Bytes of results that were written.")

# --- networks ----------------------------------------------------------------------------------

DEVICE_SECONDS = Total(
    "device_seconds", "seconds", "Time that networks kept a device busy.", label="device"
)
"""Parts: the kind of device, `cpu` or `cuda`."""
BATCHES = Total("batches", "batches", "Batches of tiles that networks ran on.")
OUT_OF_MEMORY = Total("out_of_memory", "batches", "Batches halved since memory ran out.")
BATCH_SIZE = Histogram(
    f"{PREFIX}batch_size", "Tiles of a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_DEPTH = Gauge(
    f"{PREFIX}inference_queue_depth", "Tiles that wait for a network, or are in one."
)

# --- tile store --------------------------------------------------------------------------------

CACHE_HITS = Total("cache_hits", "tiles", "Tiles that the tile store had.")
CACHE_MISSES = Total("cache_misses", "tiles", "Tiles that the tile store did not have.")
CACHE_EVICTIONS = Total("cache_evictions", "tiles", "Tiles that left the tile store for others.")
CACHE_DAMAGED = Total("cache_damaged", "tiles", "Tiles of the tile store found damaged.")
CACHE_BYTES_READ = Total("cache_bytes_read", "bytes", "Bytes of payloads from the tile store.")
CACHE_BYTES_WRITTEN = Total("cache_bytes_written", "bytes", "Bytes of payloads to the tile store.")

# --- server and jobs ---------------------------------------------------------------------------

REQUESTS = Counter(
    f"{PREFIX}requests", "Requests by route and status.", ("method", "route", "status")
)
REQUEST_SECONDS = Histogram(
    f"{PREFIX}request_seconds", "Time that requests took, by route.", ("route",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip
RUNNERS_STARTED = Counter(f"{PREFIX}runners_started", "Runners of jobs, one an attempt.")
RUNNERS_ENDED = Counter(
    f"{PREFIX}runners_ended", "Runners that ended, by what came of their claim.", ("outcome",)
)
"""Outcomes: `ended` (results or an error), `fenced` (the claim was lost), `again`, `lost`."""


def encoded(pixels: int, payload: int, tiles: int = 1) -> None:
    """Count tiles of so many bytes of pixels that became so many bytes of payload."""
    TILES_ENCODED.add(tiles)
    PIXEL_BYTES_ENCODED.add(pixels)
    PAYLOAD_BYTES_ENCODED.add(payload)


def decoded(payload: int, pixels: int, tiles: int = 1) -> None:
    """Count tiles whose payloads of so many bytes became so many bytes of pixels."""
    TILES_DECODED.add(tiles)
    PAYLOAD_BYTES_DECODED.add(payload)
    PIXEL_BYTES_DECODED.add(pixels)


@contextmanager
def waiting(tiles: int) -> Iterator[None]:
    """Count tiles as waiting for a network while the block lasts."""
    QUEUE_DEPTH.inc(tiles)
    try:
        yield
    finally:
        QUEUE_DEPTH.dec(tiles)


@contextmanager
def busy(device: str) -> Iterator[None]:
    """Count the time of the block as a device's, e.g. `cuda:0`; it must wait for the device."""
    began = time.perf_counter()
    try:
        yield
    finally:
        DEVICE_SECONDS.add(time.perf_counter() - began, device.split(":")[0])


def of_span(client: Client, tag: str, *, ask: bool = True) -> dict[str, float]:
    """What the tasks within `distributed.span(tag)` added to each `Total`, by name in a usage.

    Sums that are nought are left out. Tasks that a killed worker had not told of are not in it.
    """
    if ask:  # workers tell with their heartbeats; those of the last second are asked for
        client.run(_beat, on_error="ignore")
    found: dict[str, float] = client.run_on_scheduler(_sums, tag=tag)
    return found


async def _beat(dask_worker: Any) -> None:
    await dask_worker.heartbeat()


def _sums(dask_scheduler: Any, tag: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    spans: Sequence[Any] = dask_scheduler.extensions["spans"].spans_search_by_tag[tag]
    for span in spans:
        for key, amount in span.cumulative_worker_metrics.items():
            if key[-1] == _SPANS:
                sums[key[-2]] = sums.get(key[-2], 0.0) + float(amount)
    return sums


class _DeviceMemory(Collector):
    """Memory of CUDA devices, in processes that use them; never what brings CUDA up."""

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        memory = GaugeMetricFamily(
            f"{PREFIX}device_memory_bytes", "Memory of a CUDA device.", labels=("device", "kind")
        )
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            for index in range(torch.cuda.device_count()):
                free, total = torch.cuda.mem_get_info(index)
                kinds = {
                    "allocated": torch.cuda.memory_allocated(index),
                    "peak": torch.cuda.max_memory_allocated(index),
                    "used": total - free,
                    "total": total,
                }
                for kind, amount in kinds.items():
                    memory.add_metric((f"cuda:{index}", kind), amount)
        yield memory


REGISTRY.register(_DeviceMemory())
