"""The hyperprior codec's entropy model in torch: the float form of `hyperprior_entropy`, for training.

    y_hat --h_a--> z --round--> z_hat --h_s + contexts(y_hat decoded so far)--> mean, scale index

A mean-scale hyperprior (Minnen et al. 2018) with channel slices (Minnen and Singh 2020) and, for the
strongest slice, a spatial interlace. Rates are those of discretised logistic distributions. `h_a`
also runs when encoding: any z is valid, so it need not be exact.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openeo_nc.codecs.hyperprior_entropy import SCALES, coding_passes
from openeo_nc.codecs.hyperprior_transform import Widths, bias_of, normalised

ACTIVATION_MAX = 65535 / 256
"""Activations of the entropy model are clipped to the range of an integer one (16 bits at 2^-8)."""
SCALE_MIN, SCALE_STEP = 0.05, 0.22
"""Logistic scales of the tables: SCALE_MIN * exp(SCALE_STEP * i), i < SCALES."""
INDEX_GAIN = 8.0
"""Scale index = INDEX_GAIN * output of a head, so that heads learn it at the pace of the rest."""
HYPER_GAIN = 8.0
"""z = HYPER_GAIN * output of h_a, so that z carries something when training starts."""
LOG_SCALE_GAIN = 5.0
"""Likewise for the logarithm of z's scales."""
FLOOR = 2.0**-17
"""Least probability of a symbol in training; in the bitstream the escape symbol bounds the cost."""


def magnitude_features(y: Tensor) -> Tensor:
    """What the entropy model sees of decoded integers: clipped values and log magnitudes."""
    return torch.cat([y.clamp(-4, 4), torch.log2(1 + y.abs().clamp(max=1023))], dim=1)


def hyper_analysis(widths: Widths) -> nn.Sequential:
    """h_a: features of y to z, at a quarter of its size."""
    m = widths.context
    return nn.Sequential(
        nn.Conv2d(2 * widths.latents, m, 1),
        nn.ReLU(),
        nn.Conv2d(m, m, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(m, widths.hyper, 5, stride=2, padding=2),
    )


def activate(v: Tensor) -> Tensor:
    """ReLU clipped to the integer range."""
    return v.clamp(0, ACTIVATION_MAX)


class BoundedIndex(torch.autograd.Function):
    """Clip to the tables' range; the gradient passes wherever it points back into the range."""

    @staticmethod
    def forward(ctx: Any, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return index.clamp(0, SCALES - 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        index: Tensor = ctx.saved_tensors[0]
        inwards = ((index >= 0) | (gradient < 0)) & ((index <= SCALES - 1) | (gradient > 0))
        return gradient * inwards


def bounded(index: Tensor) -> Tensor:
    """`BoundedIndex` as a function."""
    out: Tensor = BoundedIndex.apply(index)  # type: ignore[no-untyped-call]
    return out


class EntropyModel(nn.Module):
    """h_a, h_s and the contexts: logistic mean and scale index of every latent."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.widths = widths
        self.passes = coding_passes(widths.slices)
        m, k = widths.context, widths.hyper
        self.h_a = hyper_analysis(widths)
        self.z_mean = nn.Parameter(torch.zeros(k))
        self.z_log_scale = nn.Parameter(torch.zeros(k))
        self.h_s = nn.ModuleList(
            [
                nn.Conv2d(k, m, 3, padding=1),
                nn.Conv2d(m, m, 3, padding=1),
                nn.Conv2d(m, m, 3, padding=1),
            ]
        )
        self.by_quality = nn.Linear(2, m)
        self.contexts = nn.ModuleList(
            nn.Conv2d(2 * (p.stop - p.start), m, 3, padding=1, bias=False) for p in self.passes[:-1]
        )
        self.spatial = nn.ModuleList(nn.Conv2d(m, m, 3, padding=1) for _ in self.passes)
        heads = [nn.Conv2d(m, 2 * (p.stop - p.start), 1) for p in self.passes]
        self.heads = nn.ModuleList(heads)
        self.index_by_quality = nn.Parameter(torch.full((widths.latents,), 0.8))
        first = widths.slices[0]
        self.neighbours = nn.Parameter(torch.zeros(2, first, 1, 3, 3))
        with torch.no_grad():
            for head in heads:
                head.weight.mul_(0.1)
                nn.init.constant_(bias_of(head), 0)
            self.neighbours[0, :8, 0, ::2, ::2] = 0.2
            self.neighbours[1, :8, 0, [0, 1, 1, 2], [1, 0, 2, 1]] = 0.2

    def hyper_latent(self, y_hat: Tensor) -> Tensor:
        """z before rounding, `(b, hyper, y / 32, x / 32)` rounded up."""
        z: Tensor = self.h_a(magnitude_features(y_hat))
        return HYPER_GAIN * z.float()

    def z_scale(self) -> Tensor:
        """Logistic scale of every channel of z, `(hyper,)`."""
        return SCALE_MIN + torch.exp(LOG_SCALE_GAIN * self.z_log_scale)

    def z_bits(self, z: Tensor) -> Tensor:
        return logistic_bits(z, self.z_mean[:, None, None], self.z_scale()[:, None, None])

    def hyper_features(self, z_hat: Tensor, quality: Tensor, size: tuple[int, int]) -> Tensor:
        v = activate(self.h_s[0](z_hat))
        v = activate(self.h_s[1](F.interpolate(v, scale_factor=2.0, mode="nearest")))
        features: Tensor = self.h_s[2](F.interpolate(v, scale_factor=2.0, mode="nearest"))
        qn = normalised(quality)
        level: Tensor = self.by_quality(torch.stack([qn, qn**2], dim=1))
        return features[:, :, : size[0], : size[1]].float() + level[:, :, None, None]

    def forward(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale index (both real) of every latent, `(b, latents, h, w)` each."""
        h, w = y_hat.shape[-2:]
        total = self.hyper_features(z_hat, quality, (h, w))
        mean, index = torch.zeros_like(y_hat), torch.zeros_like(y_hat)
        known = torch.zeros_like(y_hat[:, : self.widths.slices[0]])
        for i, p in enumerate(self.passes):
            features = activate(self.spatial[i](activate(total)))
            part = slice(p.start, p.stop)
            m, s = self.heads[i](features).float().chunk(2, dim=1)
            s = (
                s
                + self.index_by_quality[part, None, None] * normalised(quality)[:, None, None, None]
            )
            mask = torch.from_numpy(p.positions(h, w)).to(y_hat.device)
            if p.phase in (1, 2):
                kernel = self.neighbours[p.phase - 1]
                m = m + F.conv2d(known, kernel, padding=1, groups=kernel.shape[0])
            mean[:, part] = torch.where(mask, m, mean[:, part])
            index[:, part] = torch.where(mask, s, index[:, part])
            decoded = torch.where(mask, y_hat[:, part], 0)
            if p.phase is not None:
                known = known + decoded
            if i < len(self.contexts):
                total = total + self.contexts[i](magnitude_features(decoded)).float()
        return mean, INDEX_GAIN * index

    def start_from(self, deviation: Tensor) -> None:
        """Set the heads to the scales of latents whose `(latents,)` deviation at mid quality this is."""
        index = torch.log((deviation / 1.8).clamp(min=SCALE_MIN) / SCALE_MIN) / SCALE_STEP
        with torch.no_grad():
            for p, head in zip(self.passes, self.heads, strict=True):
                bias_of(head)[p.stop - p.start :] = index[p.start : p.stop] / INDEX_GAIN

    def y_bits(self, y: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        scale = SCALE_MIN * torch.exp(SCALE_STEP * bounded(index))
        return logistic_bits(y, mean, scale)


def logistic_bits(value: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Bits of a value under a discretised logistic, bounded as the escape symbol bounds them."""
    distance = (value - mean).abs()
    p = torch.sigmoid((0.5 - distance) / scale) - torch.sigmoid((-0.5 - distance) / scale)
    return -torch.log2(p + FLOOR)
