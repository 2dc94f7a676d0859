"""Measures how fast codecs encode and decode tiles, and where the time goes.

MPix/s counts pixels of all bands: a tile of 384 x 384 in 0.1 s is 1.47 MPix/s, however many bands it
has. Tiles are those of a split's evaluation places, mirrored at their edges to the grid's tiles.

Workers are processes started as Dask starts its own, with one thread for BLAS and torch. A round
measures every codec, operation and number of workers once, so that a busy moment hits all alike; a
figure is the median over rounds. `1 worker` codes the tiles one after the other, `2 threads` are two
Dask threads of one worker, `2 processes` are two workers, as `openeo-nc run` starts them on two cores. `a core` divides by the time that one
worker had a core instead of by the clock, which says more on a machine that others use.

Stages are measured apart, in one worker, since looking costs time: networks (torch alone), symbols
(grouping by table and ANS), contexts (the rest of packing and unpacking: which table codes what, side
data, mask, digests), and the rest (linear transforms, quantiser).
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.baselines import BASELINES
from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.stages import Stopwatch, stages_of
from openeo_nc.benchmarks.tiles import given
from openeo_nc.codecs.registry import get_card, list_codecs, open_codec
from openeo_nc.sentinel2 import BANDS

SIDE = 384
"""Pixels of a tile in y and x, as the grid's."""
TILES = 4
"""Tiles that one measurement codes; even, for two workers."""
_BASELINE_LEVEL = 63.0
"""PSNR target of a baseline that gives about what codecs give at quality 5."""
_CLASSICAL = ("jpeg2000", "jpegxl")
OPERATIONS = ("encode", "decode")
WORKERS = ("1 worker", "2 threads", "2 processes")

Report = dict[str, Any]


def default_codecs() -> tuple[str, ...]:
    """What codes Sentinel-2 here, JPEG 2000 and JPEG XL, and KLT + JPEG 2000."""
    ours = [c.codec_id for c in list_codecs() if c.codec_id == "klt-dct" or c.bands == BANDS]
    known = {c.codec_id for c in list_codecs()}
    return (*ours, *(name for name in _CLASSICAL if name in known), "klt-jpeg2000-joint")


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] | None = None,
    *,
    tiles: Path | None = None,
    quality: float = 5.0,
    rounds: int = 5,
    progress: bool = True,
) -> Report:
    """Measure and report; `speed_output.table` prints the report.

    Parameters
    ----------
    data, split, tiles
        As those of `rate_distortion.run`.
    codecs
        Ids of registered codecs and names of baselines; default `default_codecs`.
    quality
        Of registered codecs.
    rounds
        Times that everything is measured.
    progress
        Show a progress bar on standard error.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, NoDataAvailableError
    """
    found, _ = given(data, split, tiles)
    chosen = found[:: max(1, len(found) // TILES)][:TILES]
    pixels = [whole(tile.pixels) for tile in chosen]
    names = tuple(codecs or default_codecs())
    for name in names:
        if name not in BASELINES:
            get_card(name)
    task = Task(codecs=names, quality=quality, tiles=pixels)
    speeds, stages = measure(task, rounds, progress=progress)
    return {
        "machine": machine(),
        "versions": versions(),
        "quality": quality,
        "rounds": rounds,
        "tiles": [tile.name for tile in chosen],
        "shape": list(pixels[0].shape),
        "speeds": speeds,
        "stages": stages,
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What workers are to code."""

    codecs: tuple[str, ...]
    """Codec ids and names of baselines."""
    quality: float
    """Of registered codecs."""
    tiles: Sequence[npt.NDArray[Any]]
    """`(bands, SIDE, SIDE)` each."""


def measure(
    task: Task, rounds: int, *, progress: bool = False
) -> tuple[list[Report], list[Report]]:
    """Speeds of every codec, operation and kind of workers, and the stages of each operation."""
    runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    with _workers(task) as workers, tqdm(total=rounds, unit="round", disable=not progress) as bar:
        for _ in range(rounds):
            for kind, codec, operation in product(WORKERS, task.codecs, OPERATIONS):
                seconds = _timed(workers, kind, codec, operation)
                runs.setdefault((codec, operation, kind), []).append(seconds)
            bar.update()
        stages = [
            {"codec": codec, "operation": operation, **share}
            for codec in task.codecs
            for operation in OPERATIONS
            for share in workers[0].submit(_stages, codec, operation).result()
        ]
    pixels = len(task.tiles) * task.tiles[0][0].size / 1e6
    speeds = [
        {
            "codec": codec,
            "operation": operation,
            "workers": kind,
            "mpix_s": median(pixels / wall for wall, _ in seconds),
            "mpix_core_s": median(pixels / cpu for _, cpu in seconds),
            "rounds": [pixels / wall for wall, _ in seconds],
        }
        for (codec, operation, kind), seconds in runs.items()
    ]
    return speeds, stages


def whole(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`(bands, SIDE, SIDE)` of a tile: cut, and mirrored where it is smaller."""
    pixels = pixels[:, :SIDE, :SIDE]
    pads = [(0, 0), *((0, SIDE - n) for n in pixels.shape[1:])]
    return np.pad(pixels, pads, mode="symmetric")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(terse=True)}


@contextmanager
def _workers(task: Task) -> Iterator[list[ProcessPoolExecutor]]:
    """Two processes that have the codecs open and every tile coded once."""
    context = multiprocessing.get_context("spawn")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    with ExitStack() as stack:
        os.environ.update(threads)  # what a process inherits
        try:
            pools = [
                stack.enter_context(ProcessPoolExecutor(1, context, _open, (task,)))
                for _ in range(2)
            ]
            for ready in [pool.submit(len, ()) for pool in pools]:
                ready.result()
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
        yield pools


@dataclass(frozen=True, kw_only=True, eq=False)
class _Coder:
    """One codec in a worker process, and what it made of the tiles."""

    encode: Callable[[npt.NDArray[Any]], bytes]
    decode: Callable[[bytes], npt.NDArray[Any]]
    tiles: Sequence[npt.NDArray[Any]]
    payloads: Sequence[bytes]

    @classmethod
    def of(cls, name: str, task: Task) -> _Coder:
        """The codec, opened, every tile coded once."""
        if name in BASELINES:
            baseline = BASELINES[name]
            encode, decode = partial(baseline.encode, quality=_BASELINE_LEVEL), baseline.decode
        else:
            codec = open_codec(name)
            encode, decode = partial(codec.encode, quality=task.quality), codec.decode
        payloads = [encode(x) for x in task.tiles]
        decode(payloads[0])
        return cls(encode=encode, decode=decode, tiles=task.tiles, payloads=payloads)

    def jobs(self, operation: str) -> list[Callable[[], Any]]:
        """One call a tile."""
        if operation == "encode":
            return [partial(self.encode, x) for x in self.tiles]
        return [partial(self.decode, p) for p in self.payloads]


_coders: dict[str, _Coder] = {}


def _open(task: Task) -> None:
    _coders.update({name: _Coder.of(name, task) for name in task.codecs})


@dataclass(frozen=True, kw_only=True)
class _Span:
    """When a worker coded, on the clock that all processes share, and how much of a core it had."""

    start: float
    end: float
    cpu: float


def _span(codec: str, operation: str, threads: int, part: slice) -> _Span:
    """A worker codes a part of the tiles."""
    jobs = _coders[codec].jobs(operation)[part]
    with ThreadPoolExecutor(threads) as pool:
        cpu, start = time.process_time(), time.perf_counter()
        for done in [pool.submit(job) for job in jobs]:
            done.result()
        return _Span(start=start, end=time.perf_counter(), cpu=time.process_time() - cpu)


def _timed(
    workers: Sequence[ProcessPoolExecutor], kind: str, codec: str, operation: str
) -> tuple[float, float]:
    """Seconds by the clock and of cores that all tiles took."""
    threads = 2 if kind == "2 threads" else 1
    used = workers if kind == "2 processes" else workers[:1]
    parts = [slice(i, None, len(used)) for i in range(len(used))]
    running = [
        worker.submit(_span, codec, operation, threads, part)
        for worker, part in zip(used, parts, strict=True)
    ]
    spans = [job.result() for job in running]
    wall = max(s.end for s in spans) - min(s.start for s in spans)
    return wall, sum(s.cpu for s in spans)


def _stages(codec: str, operation: str) -> list[Report]:
    """Seconds and share of each stage of an operation over all tiles, the rest last."""
    watch = Stopwatch()
    with watch.on(stages_of(codec)):
        start = time.perf_counter()
        for job in _coders[codec].jobs(operation):
            job()
        total = time.perf_counter() - start
    named = watch.exclusive()
    rows = {**named, "rest": total - sum(named.values())}
    return [{"stage": name, "seconds": s, "share": s / total} for name, s in rows.items()]
