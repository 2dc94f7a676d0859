"""What benchmarks hold inference against: an encoder of random weights, and limits of a device.

The encoder is a plain vision transformer of about 100 million parameters, the size of today's
foundation models of Earth observation. Its embeddings mean nothing; its work is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openeo_nc.codecs.hyperprior_inference import to_device, to_host
from openeo_nc.codecs.networks import Network, run
from openeo_nc.errors import DeviceUnavailableError
from openeo_nc.inference import engine

PATCH = 16
"""Pixels of a patch's side."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of an encoder; the default has 101 million parameters."""

    bands: int = 12
    side: int = 256
    """Pixels of a tile's side."""
    width: int = 768
    depth: int = 14
    heads: int = 12


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside an identity."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, v: Tensor) -> Tensor:
        b, n, width = v.shape
        parts = self.qkv(self.norms[0](v)).reshape(b, n, 3, self.heads, width // self.heads)
        q, k, values = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, values)
        v = v + self.out(seen.transpose(1, 2).reshape(b, n, width))
        out: Tensor = v + self.perceptron(self.norms[1](v))
        return out


class Encoder(nn.Module):
    """`(b, bands, y, x)` reflectance x 10000 to embeddings `(b, width, y / 16, x / 16)`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patches = nn.Conv2d(sizes.bands, sizes.width, PATCH, PATCH)
        self.places = nn.Parameter(torch.zeros(1, (sizes.side // PATCH) ** 2, sizes.width))
        self.blocks = nn.Sequential(*(Block(sizes) for _ in range(sizes.depth)))

    def forward(self, x: Tensor) -> Tensor:
        v = self.patches(x / 10000)
        tokens = self.blocks(v.flatten(2).transpose(1, 2) + self.places)
        out: Tensor = tokens.transpose(1, 2).reshape(v.shape)
        return out


def make(path: Path, sizes: Sizes) -> int:
    """Write an encoder of random weights; gives how many there are."""
    torch.manual_seed(0)
    encoder = Encoder(sizes)
    torch.save({"sizes": asdict(sizes), "weights": encoder.state_dict()}, path)
    return sum(p.numel() for p in encoder.parameters())


def load(path: str, device: str = "cpu") -> Encoder:
    """Read an encoder, as a script would that runs it."""
    given = torch.load(path, map_location=device, weights_only=True)
    encoder = Encoder(Sizes(**given["sizes"]))
    encoder.load_state_dict(given["weights"])
    return encoder.to(device).eval()


@torch.inference_mode()
def embed(encoder: Encoder, tiles: npt.NDArray[Any], device: str = "cpu") -> npt.NDArray[Any]:
    """Embeddings of tiles `(b, bands, y, x)`."""
    x = to_device(tiles.astype(np.float32), torch.device(device))
    return to_host(encoder(x))


@cache
def shared(path: str, device: str = "cpu") -> Network[npt.NDArray[Any]]:
    """An encoder that is loaded once a process, and run by its engine."""
    engine.install()
    encoder = load(path, device)
    return Network(
        name="encoder", device=device, shape=np.shape,
        forward=lambda tiles: embed(encoder, np.stack(tiles), device),
    )  # fmt: skip


def embed_shared(tile: npt.NDArray[Any], path: str) -> npt.NDArray[Any]:
    """The embedding of one tile `(bands, y, x)`, as tasks of this package take a model."""
    return next(run(shared(path), [tile]))


# --- limits of a device ----------------------------------------------------------------------------


def device_name(device: str) -> str | None:
    """What a CUDA device calls itself; None for the CPU.

    Raises
    ------
    DeviceUnavailableError
        There is no such device here.
    """
    if device == "cpu":
        return None
    try:
        return torch.cuda.get_device_name(device)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise DeviceUnavailableError(
            f"There is no device '{device}' here ({error}); --device cpu runs without."
        ) from error


def timed(call: Callable[[], Any], device: str, seconds: float = 0.5) -> float:
    """Seconds of one call, the median of as many as fit into a time, at least three."""
    call()
    found: list[float] = []
    while len(found) < 3 or (sum(found) < seconds and len(found) < 1000):
        wait(device)
        began = time.perf_counter()
        call()
        wait(device)
        found.append(time.perf_counter() - began)
    return float(np.median(found))


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def copied_bytes_a_second(device: str, size: int = 1 << 26) -> float:
    """Bytes that go to a device and back in a second, from and to pinned memory on CUDA."""
    there = torch.zeros(size // 4)
    if device.startswith("cuda"):
        there = there.pin_memory()
    back = torch.empty_like(there)

    def both() -> None:
        back.copy_(there.to(device, non_blocking=True, copy=True), non_blocking=True)

    return 2 * size / timed(both, device)


def operations_a_second(device: str, side: int) -> float:
    """Floating-point operations of a large float32 matrix product."""
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return 2.0 * side**3 / timed(lambda: a @ b, device)


def operations_of(call: Callable[[], Any]) -> float:
    """Floating-point operations of what a call does with torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
