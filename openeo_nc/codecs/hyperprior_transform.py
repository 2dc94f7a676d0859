"""The transforms of the hyperprior codec in torch: analysis and synthesis beside the linear transform.

Dataflow of one tile (K D = `spectral`: block DCT and a KLT of bands a zone, orthonormal, in NumPy):

    x --K D--> c --(1 + g_a)--> y --round--> y_hat --(1 + g_s)--> c_hat --(K D)'--> x_hat

Both transforms start as the linear codec: `g_a` and `g_s` are residual convolutional paths beside it
whose last layers start near zero, so training begins at the rate of the linear codec. They work in
units of the quantiser step, which `quality` sets, and are told the quality (feature-wise scale), so
that one model serves every rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.spectral import BLOCK


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Sizes of the network."""

    bands: int = 12
    """Spectral components, as many as bands."""
    latents: int = 512
    """Coefficients of the bands * 64 that are coded, the strongest first."""
    transform: int = 192
    """Channels of the residual paths."""
    analysis_blocks: int = 2
    synthesis_blocks: int = 5
    hyper: int = 16
    """Channels of z."""
    context: int = 96
    """Channels of the entropy model."""
    slices: tuple[int, ...] = (16, 32, 64, 112, 288)
    """Channels of each slice of y, in coding order."""

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Widths:
        """From numbers and lists, as JSON and weight files hold them."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else int(v) for k, v in sizes.items()
        }
        return cls(**values)


def step(quality: Tensor) -> Tensor:
    """`quality_step` of every sample."""
    return torch.tensor([quality_step(float(q)) for q in quality], device=quality.device)


def normalised(quality: Tensor) -> Tensor:
    """Quality 1 to 8 as -1 to 1."""
    return (quality - 4.5) / 3.5


def bias_of(layer: nn.Module) -> Tensor:
    """The bias of a convolution that has one."""
    bias: Tensor = layer.get_parameter("bias")
    return bias


class ResidualBlock(nn.Module):
    """Bottleneck 1x1 - 3x3 - 1x1 with scale and bias by quality."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 2, 1)
        self.spatial = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.expand = nn.Conv2d(width // 2, width, 1)
        self.film = nn.Linear(3, width)
        nn.init.zeros_(self.film.weight)
        nn.init.ones_(self.film.bias)
        with torch.no_grad():
            self.expand.weight.mul_(0.3)

    def forward(self, v: Tensor, q: Tensor) -> Tensor:
        gain = self.film(q)[:, :, None, None]
        t = F.gelu(self.reduce(v * gain))
        out: Tensor = v + self.expand(F.gelu(self.spatial(t)))
        return out


class ResidualPath(nn.Module):
    """Convolutional path at the stride of the latents; the last layer starts near zero."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(inputs, width, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.tail = nn.Conv2d(width, outputs, 1)
        with torch.no_grad():
            self.tail.weight.mul_(0.02)
        nn.init.constant_(bias_of(self.tail), 0)

    def forward(self, v: Tensor, qn: Tensor) -> Tensor:
        q = torch.stack([qn, qn**2, qn**3], dim=1)
        v = self.head(v)
        for block in self.blocks:
            v = block(v, q)
        out: Tensor = self.tail(v)
        return out


class Transform(nn.Module):
    """Analysis and synthesis between spectral components and latents, in quantiser units."""

    selected: Tensor

    def __init__(self, widths: Widths, selected: Tensor) -> None:
        super().__init__()
        n = widths.bands * BLOCK**2
        self.register_buffer("selected", selected.to(torch.int64))
        self.log_gain = nn.Parameter(torch.zeros(2, widths.latents))
        self.g_a = ResidualPath(n, widths.latents, widths.transform, widths.analysis_blocks)
        self.g_s = ResidualPath(widths.latents, n, widths.transform, widths.synthesis_blocks)

    def gain(self, quality: Tensor) -> Tensor:
        """`(b, latents, 1, 1)`: factor from card units to quantiser units."""
        qn = normalised(quality)
        log = self.log_gain[0] + self.log_gain[1] * qn[:, None]
        factor: Tensor = torch.exp(log) / step(quality)[:, None]
        return factor[:, :, None, None]

    def analyse(self, c: Tensor, quality: Tensor) -> Tensor:
        """Components `(b, bands * 64, h, w)` to unrounded latents `(b, latents, h, w)`."""
        linear = c[:, self.selected] * self.gain(quality)
        units = torch.asinh(c / step(quality)[:, None, None, None])
        correction: Tensor = self.g_a(units, normalised(quality))
        return linear + correction.float()

    def synthesise(self, y: Tensor, quality: Tensor) -> Tensor:
        """Rounded latents to components."""
        linear = y / self.gain(quality)
        delta: Tensor = self.g_s(torch.asinh(y), normalised(quality)).float()
        c = delta * step(quality)[:, None, None, None]
        return c.index_add(1, self.selected, linear)
