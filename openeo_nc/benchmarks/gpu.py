"""Measures encoding and decoding on one device, beside its bare network and its own limits.

- bare network: batches of tiles to the device, through the network, and back, nothing else;
- codec: `encode` and `decode` of tiles by as many threads as the CPU has cores, whose networks the
  engine joins; entropy coding and linear transforms are the CPU's;
- end to end: a cube in a local Zarr store through Dask's threads to payloads;
- limits: what copying the network's inputs and outputs, and its arithmetic, would take alone.

Variants of the bare network (half precision, torch.compile) stand with their speed and with how far
results then differ from float32. Components are pixels in an orthonormal basis; what they may differ
by is less than the card's `decode_tolerance`.
Needs no Dask cluster. `--device cpu` runs all of it without a GPU.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.speed import SIDE, machine
from openeo_nc.benchmarks.workloads import CODEC, Payloads, cube_of, scene, write_cube
from openeo_nc.codecs import registry
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.device import VARIABLE
from openeo_nc.inference.spec import CodecSpec
from openeo_nc.tables import table as columns

Array = npt.NDArray[Any]
Report = dict[str, Any]


def run(
    device: str = "cuda", *, codec: str = CODEC, tiles: int = 64, side: int = SIDE, batch: int = 16,
    rounds: int = 5, compiled: bool = True,
) -> Report:  # fmt: skip
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    device
        torch device name.
    codec
        A codec with the hyperprior's networks.
    tiles, side
        How many tiles, and pixels of their side.
    batch
        Tiles of a batch of the bare network.
    rounds
        Times that everything is measured.
    compiled
        Measure torch.compile too, which needs a C++ compiler.

    Raises
    ------
    DeviceUnavailableError
        There is no such device here.
    """
    from openeo_nc.inference.yardstick import device_name

    name = device_name(device) or machine()["cpu"]
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = device
    try:
        return {
            "device": name,
            "machine": machine(),
            "versions": versions(),
            "codec": codec,
            "tiles": tiles,
            "side": side,
            "batch": batch,
            "rounds": rounds,
            **_measured(device, codec, tiles, side, batch, rounds, compiled),
        }
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def _measured(
    device: str, codec_id: str, count: int, side: int, batch: int, rounds: int, compiled: bool
) -> Report:
    from openeo_nc.inference.bare import BareNetwork

    codec = get_codec(CodecSpec.of(registry.get_card(codec_id)))
    size = max(4, min(count, 16))
    pixels = scene(side, side * size)
    tiles = [np.ascontiguousarray(t) for t in np.split(pixels, size, axis=2)] * (-(-count // size))
    tiles = tiles[:count]
    payloads = [codec.encode(tile) for tile in tiles[:size]] * (-(-count // size))
    bare = BareNetwork(codec, device, side)
    with tempfile.TemporaryDirectory() as folder:
        path = write_cube(Path(folder), side, side * size)
        work = Payloads(side=side)
        ways: dict[str, Callable[[], Any]] = {
            "bare analysis": lambda: bare.run("analyse", count, batch),
            "bare synthesis": lambda: bare.run("synthesise", count, batch),
            "encode": lambda: _each(codec.encode, tiles),
            "decode": lambda: _each(codec.decode, payloads[:count]),
        }
        if side == codec.card.tile:
            ways["end to end"] = lambda: work.ours(cube_of(path, side)).compute(scheduler="threads")
        seconds = _interleaved(ways, rounds)
    covered = dict.fromkeys(seconds, count * side * side / 1e6)
    covered["end to end"] = size * side * side / 1e6
    speeds = {name: covered[name] / s for name, s in seconds.items()}
    limits = {
        step: {
            limit: side * side * batch / 1e6 / s for limit, s in bare.limits(step, batch).items()
        }
        for step in ("analyse", "synthesise")
    }
    variants = bare.variants(batch, compiled=compiled)
    return {"mpix_s": speeds, "limits_mpix_s": limits, "variants": variants}


def _each(call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(call, items))


def _interleaved(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = perf_counter()
            way()
            if number:  # the first warms up
                found[name].append(perf_counter() - began)
    return {name: median(times) for name, times in found.items()}


_PARTS = {
    "bare analysis": "bare analysis", "encode": "bare analysis", "end to end": "bare analysis",
    "bare synthesis": "bare synthesis", "decode": "bare synthesis",
}  # fmt: skip
"""What each way is a share of."""


def table(report: Report) -> str:
    """Speeds and shares, then variants of the network."""
    speeds, rows = report["mpix_s"], []
    for name, part in _PARTS.items():
        if name not in speeds:
            continue
        step = "analyse" if part == "bare analysis" else "synthesise"
        limits = report["limits_mpix_s"][step]
        rows.append((
            name, f"{speeds[name]:.2f}", f"{100 * speeds[name] / speeds[part]:.0f}%",
            *(f"{100 * speeds[name] / limits[limit]:.1f}%" for limit in ("copies", "arithmetic")),
        ))  # fmt: skip
    variants = [
        (v["step"], v["variant"], f"{v['mpix_s']:.2f}", f"{v['difference']:.3f}")
        for v in report["variants"]
    ]
    legend = (
        f"{report['device']}; {report['codec']}, {report['tiles']} tiles of {report['side']}, batches "
        f"of {report['batch']}, median of {report['rounds']} interleaved rounds.\n"
        "of copies, of arithmetic: share of what copying, or float32 arithmetic, allows by itself.\n"
        "differs: the largest difference from float32, of latents in steps (analyse), of components in "
        "card units (synthesise)."
    )
    head = ("way", "MPix/s", "of bare network", "of copies", "of arithmetic")
    first, second = columns(head, rows), columns(("step", "variant", "MPix/s", "differs"), variants)
    return f"{legend}\n\n{first}\n\n{second}"
