"""The network of `s2-embed-small` in torch: what a patch of 8 x 8 pixels is, and what is around it.

    x (b, bands, y, x) in card units, NaN is no data
    pixels   = mlp(normalised, log reflectance, which bands there are)           a pixel by itself
    context  = three strided stages, a residual block at the second              stride 2, 4, 8
    patch    = mean and deviation of its pixels that have data; bands = the same of its bands
    vector   = head(blocks(context, patch), patch, bands)                        (b, dim, y/8, x/8)

Logarithms make a ratio of bands, which light and shade leave as it is, a linear thing. Every layer
sees a finite surrounding (`MARGIN`), so a vector does not depend on how a scene is cut.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""Pixels of a patch side."""
MARGIN = 48
"""Pixels beyond a patch that its vector depends on, rounded up to whole patches."""
_DARK = 300.0
"""Added to reflectance x 10000 before the logarithm, which noise of dark water would rule."""


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, v: Tensor) -> Tensor:
        out: Tensor = v + self.second(F.gelu(self.first(F.gelu(v))))
        return out


class _Mixing(nn.Module):
    """A block of ConvNeXt (Liu et al. 2022): depthwise 5 x 5, then an MLP a patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.reduce = nn.Conv2d(2 * width, width, 1)
        with torch.no_grad():
            self.reduce.weight.mul_(0.2)

    def forward(self, v: Tensor) -> Tensor:
        t = over_channels(self.depthwise(v))
        out: Tensor = v + self.reduce(F.gelu(self.expand(t)))
        return out


def logarithm(x: Tensor) -> Tensor:
    """Logarithm of reflectance x 10000, about linear in the dark."""
    return torch.log1p(torch.clamp(x, min=-_DARK / 2) / _DARK)


def moments(v: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of what is known of `(b, channels, y, x)` in patches of STRIDE x STRIDE.

    `known` is 1 or 0, of as many channels or one. Where nothing is known both are as of zeros.
    """
    share = F.avg_pool2d(known, STRIDE).clamp(min=1 / STRIDE**2)
    mean = F.avg_pool2d(v * known, STRIDE) / share
    square = F.avg_pool2d(v**2 * known, STRIDE) / share
    return mean, (square - mean**2).clamp(min=1e-6).sqrt()


def over_channels(v: Tensor) -> Tensor:
    """Each cell's channels less their mean, by their deviation: no cell depends on others."""
    centred = v - v.mean(dim=1, keepdim=True)
    return centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-5).sqrt()


class Encoder(nn.Module):
    """A vector a patch of STRIDE x STRIDE pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, bands: int, dim: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))
        self.pixel = nn.Sequential(
            nn.Conv2d(3 * bands, width, 1), nn.GELU(), nn.Conv2d(width, width, 1)
        )
        widths = (width, width * 3 // 2, width * 2, width * 3)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.residual = _Residual(widths[2])
        self.join = nn.Conv2d(widths[3] + 2 * width, widths[3], 1)
        self.mixing = nn.ModuleList(_Mixing(widths[3]) for _ in range(2))
        self.head = nn.Conv2d(widths[3] + 2 * width + 3 * bands, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, bands, y, x)`, y and x multiples of STRIDE, to `(b, dim, y / 8, x / 8)`."""
        out: Tensor = self.head(self.features(x))
        return out

    def features(self, x: Tensor) -> Tensor:
        """As `forward`, before the head, which is linear: `(b, features, y / 8, x / 8)`."""
        there = ~torch.isnan(x)
        mean, std = self.mean[:, None, None], self.std[:, None, None]
        linear = torch.where(there, (x - mean) / std, 0)
        dark = torch.where(there, logarithm(x) - logarithm(mean), 0)
        known = there.to(x.dtype)
        pixels = self.pixel(torch.cat([linear, dark, known], dim=1))
        half, quarter, eighth = self.down
        v = eighth(self.residual(quarter(F.gelu(half(pixels)))))
        patch = torch.cat(moments(pixels, known.amax(dim=1, keepdim=True)), dim=1)
        bands = torch.cat([moments(linear, known)[0], *moments(dark, known)], dim=1)
        v = self.join(torch.cat([F.gelu(v), patch], dim=1))
        for block in self.mixing:
            v = block(v)
        return torch.cat([v, patch, bands], dim=1)
