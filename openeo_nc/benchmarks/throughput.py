"""Measures what coding a sample costs: seconds of a core or a GPU, bits, memory; for estimates.

A sample is one band of one pixel. Each codec is measured in a process of its own with one thread, so
that seconds are those of one core, whatever else the machine does, and memory is the codec's alone.
Estimates read the result from `openeo_nc/cubes/throughput.json`.

Every tile is coded once at each point, of bounds the first alone. Figures are means over tiles; `bits` comes with its extremes, since places differ far more than clocks do.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.speed import machine, whole
from openeo_nc.benchmarks.tiles import given
from openeo_nc.codecs.registry import get_card, list_codecs
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.yardstick import device_name
from openeo_nc.models.registry import get_model_card, list_models
from openeo_nc.sentinel2 import BANDS

Report = dict[str, Any]
Point = tuple[str, float]

QUALITIES = (1.0, 3.0, 5.0, 7.0)
TARGETS: tuple[Point, ...] = (("target_psnr", 45.0), ("target_ratio", 20.0))
BOUNDS: tuple[Point, ...] = tuple(("max_error", bound) for bound in (100.0, 10.0, 0.0))
"""Bounds in reflectance x 10000; they take minutes, so one tile stands for all."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What the process of a codec is to do."""

    codec: str
    """Its id."""
    device: str
    """torch's name of the device that its network runs on."""
    tiles: Sequence[npt.NDArray[Any]]
    """`(bands, y, x)` each."""


def run(
    data: Path | None = None,
    split: str | Path = "s2l2a",
    codecs: Sequence[str] | None = None,
    *,
    tiles: Path | None = None,
    count: int = 4,
    device: str = "cpu",
    progress: bool = True,
) -> Report:
    """Measure and report.

    Parameters
    ----------
    data, split, tiles
        As those of `rate_distortion.run`.
    codecs
        Ids of codecs; default all that take Sentinel-2's twelve bands.
    count
        Tiles that each codec codes.
    device
        Device of networks, e.g. `cpu` or `cuda`.
    progress
        Show a progress bar on standard error.

    Raises
    ------
    InvalidParameterError, CodecNotFoundError, NoDataAvailableError
    """
    found, _ = given(data, split, tiles)
    chosen = found[:: max(1, len(found) // count)][:count]
    pixels = [whole(tile.pixels) for tile in chosen]
    names = codecs or [c.codec_id for c in list_codecs() if c.bands in (None, BANDS)]
    for name in names:
        get_card(name)
    measured = [
        _apart(measure, Task(codec=name, device=device, tiles=pixels))
        for name in tqdm(names, unit="codec", disable=not progress)
    ]
    embedded = [
        _apart(measure_model, Task(codec=card.model_id, device=device, tiles=pixels))
        for card in ([] if codecs else list_models())
        if card.weights is not None and card.bands == BANDS
    ]
    return {
        "machine": machine(),
        "device": device_name(device) or "cpu",
        "versions": versions(),
        "tiles": [tile.name for tile in chosen],
        "shape": list(pixels[0].shape),
        "codecs": {one.pop("codec"): one for one in measured},
        "models": {one.pop("model"): one for one in embedded},
    }


def _apart(function: Callable[[Task], Report], task: Task) -> Report:
    """Measure in a new process, whose libraries use one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, task).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def measure(task: Task) -> Report:
    """Points of one codec, and the memory that it takes in this process."""
    from openeo_nc.cubes.rates import fallbacks
    from openeo_nc.inference.cache import get_codec
    from openeo_nc.inference.spec import CodecSpec

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    card = get_card(task.codec)
    before = _resident()
    spec = CodecSpec.of(card, task.device if card.bands is not None else None)
    get_codec(spec)
    opened = _resident()
    others = tuple(CodecSpec.of(other) for other in fallbacks(card, task.tiles[0].dtype))
    points, codings = [], [("quality", q) for q in QUALITIES if card.quality[0] <= q]
    _point(spec, (), *codings[0], task.tiles[:1])  # warms up
    _forget_peak()
    for kind, value in [*codings, *TARGETS, *BOUNDS]:
        bounded = kind == "max_error"
        tiles = task.tiles[:1] if bounded else task.tiles
        point = _point(spec, others if bounded else (), kind, value, tiles)
        if point is not None:
            points.append(point)
    return {
        "codec": task.codec,
        "version": card.version,
        "weights_sha256": card.weights_sha256,
        "memory": {
            "process": before,
            "codec": max(0, opened - before),
            "tile": max(0, peak() - opened),
        },
        "points": [asdict(point) for point in points],
    }


def measure_model(task: Task) -> Report:
    """What vectors of tiles cost by one model, their halos mirrored, and the memory that it takes."""
    from openeo_nc.inference.embedding import Chip, ModelSpec, get_embedder
    from openeo_nc.models.layout import Layout

    card = get_model_card(task.codec)
    layout = Layout.of(card)
    before = _resident()
    embedder = get_embedder(ModelSpec.of(card, task.device))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    opened = _resident()
    rows = []
    for number, tile in enumerate([task.tiles[0], *task.tiles]):
        x = tile[:, : layout.tile, : layout.tile].astype(np.float32)
        short = [layout.tile - n for n in x.shape[1:]]
        sides = [(layout.halo, layout.halo + n) for n in short]
        chips = [Chip(x=chip) for chip in layout.chips(np.pad(x, [(0, 0), *sides], "symmetric"))]
        began = time.process_time(), time.perf_counter()
        embedder.vectors(chips)
        ended = time.process_time(), time.perf_counter()
        if number:  # the first warms up
            size = len(x) * layout.tile**2
            rows.append([(b - a) / size for a, b in zip(began, ended, strict=True)])
        else:
            _forget_peak()
    embed, clock = (float(mean(column)) for column in zip(*rows, strict=True))
    return {
        "model": task.codec,
        "version": card.version,
        "weights_sha256": card.weights_sha256,
        "memory": {
            "process": before,
            "codec": max(0, opened - before),
            "tile": max(0, peak() - opened),
        },
        "embed": embed,
        "embed_clock": clock,
    }


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One codec at one rate; seconds and bits are those of one sample."""

    kind: str
    """Field of `Rate`."""
    value: float
    """Its value, a bound in card units."""
    encode: float
    """Seconds of a core to encode."""
    decode: float
    """Seconds of a core to decode."""
    encode_clock: float
    """Seconds by the clock to encode, those of a device among them."""
    decode_clock: float
    """Seconds by the clock to decode."""
    bits: float
    """Bits of payload."""
    bits_low: float
    """Those of the tile that took fewest."""
    bits_high: float
    """Those of the tile that took most."""
    psnr: float | None
    """Mean PSNR in dB; None where pixels are exact."""


def _point(
    spec: Any, others: Sequence[Any], kind: str, value: float,
    tiles: Sequence[npt.NDArray[Any]],
) -> Measured | None:  # fmt: skip
    """None if the codec does not do that."""
    from openeo_nc.codecs.rate import Rate
    from openeo_nc.codecs.rate_control import encode_tile, psnr
    from openeo_nc.cubes.coding import decode
    from openeo_nc.inference.cache import get_codec

    codec, rest = get_codec(spec), [get_codec(other) for other in others]
    rate = Rate.of(**{kind: value}, bands=len(tiles[0]))
    rows, errors = [], []
    for x in tiles:
        began = time.process_time(), time.perf_counter()
        try:
            payload = encode_tile(codec, x, rate, others=rest)
        except InvalidParameterError:
            return None
        between = time.process_time(), time.perf_counter()
        restored = decode(payload, spec, tuple(others))
        ended = time.process_time(), time.perf_counter()
        spans = [b - a for pair in ((began, between), (between, ended)) for a, b in zip(*pair, strict=True)]  # fmt: skip
        rows.append([part / x.size for part in (*spans, 8.0 * len(payload))])
        errors.append(psnr(x, restored, codec.card, None))
    encode, encode_clock, decode_, decode_clock, bits = (
        float(mean(column)) for column in zip(*rows, strict=True)
    )
    return Measured(
        kind=kind, value=value, encode=encode, decode=decode_,
        encode_clock=encode_clock, decode_clock=decode_clock,
        bits=bits, bits_low=min(row[-1] for row in rows), bits_high=max(row[-1] for row in rows),
        psnr=None if not np.isfinite(errors).all() else float(mean(errors)),
    )  # fmt: skip


def _resident() -> int:
    """Bytes of memory that this process has now."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return peak()
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _forget_peak() -> None:
    """Have the peak start again from what there is now, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> int:
    """Most bytes of memory that this process had."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
