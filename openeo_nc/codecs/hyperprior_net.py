"""The networks of the hyperprior codec in torch: analysis, synthesis, and the entropy model's float form.

Dataflow of one tile (K = spectral KLT, D = 8 x 8 block DCT; both fixed, orthonormal):

    x --K--> u --D--> c --(1 + g_a)--> y --round--> y_hat --(1 + g_s)--> c_hat --D'--K'--> x_hat
                                       |                ^
                                      h_a --> z_hat --> h_s + contexts --> table index, mean of y_hat

Both transforms start as the linear codec: `g_a` and `g_s` are residual convolutional paths beside it
whose last layers start near zero, so training begins at the rate of KLT + DCT. They work in units of
the quantiser step, which `quality` sets, and are told the quality (feature-wise scale and bias), so
that one model serves every rate.

The entropy model is a mean-scale hyperprior (Minnen et al. 2018) with channel slices (Minnen and Singh
2020) and, for the strongest slice, a spatial interlace. In the bitstream it runs as integers
(`integer_net`); here is the float form of the same arithmetic, which training uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.hyperprior_entropy import SCALES, coding_passes

T = TypeVar("T")
BLOCK = 8
"""Side of the block DCT and stride of the latents."""
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


def dct_matrix(n: int = BLOCK) -> Tensor:
    """Orthonormal DCT-II, `(frequency, sample)`."""
    k, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    basis = torch.cos(math.pi * (x + 0.5) * k / n) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


class BlockDCT(nn.Module):
    """8 x 8 block DCT of every component: `(b, bands, y, x)` <-> `(b, bands * 64, y / 8, x / 8)`."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        d = dct_matrix()
        self.register_buffer("basis", torch.kron(d, d), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        v = F.pixel_unshuffle(u, BLOCK)
        b, c, h, w = v.shape
        v = v.view(b, c // 64, 64, h * w)
        return torch.matmul(self.basis, v).view(b, c, h, w)

    def inverse(self, c: Tensor) -> Tensor:
        b, n, h, w = c.shape
        v = torch.matmul(self.basis.T, c.view(b, n // 64, 64, h * w)).view(b, n, h, w)
        return F.pixel_shuffle(v, BLOCK)


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
        self.coefficients = n
        self.dct = BlockDCT()
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

    def analyse(self, u: Tensor, quality: Tensor) -> Tensor:
        """Components `(b, bands, y, x)` to unrounded latents `(b, latents, y / 8, x / 8)`."""
        c: Tensor = self.dct(u)
        linear = c[:, self.selected] * self.gain(quality)
        units = torch.asinh(c / step(quality)[:, None, None, None])
        correction: Tensor = self.g_a(units, normalised(quality))
        return linear + correction.float()

    def synthesise(self, y: Tensor, quality: Tensor) -> Tensor:
        """Rounded latents to components."""
        linear = y / self.gain(quality)
        delta = self.g_s(torch.asinh(y), normalised(quality)).float()
        c = delta * step(quality)[:, None, None, None]
        u: Tensor = self.dct.inverse(c.index_add(1, self.selected, linear))
        return u


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


class Networks:
    """The shipped float networks on one device: NumPy in, NumPy out."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], device: str | None) -> None:
        sizes = {k.removeprefix("widths."): v for k, v in arrays.items() if k.startswith("widths.")}
        widths = Widths.of({k: v.tolist() if v.size > 1 else v.item() for k, v in sizes.items()})
        state = {
            k: torch.from_numpy(v.astype("f4") if v.dtype.kind == "f" else v)
            for k, v in arrays.items()
        }
        self.device = torch.device(device or "cpu")
        self.transform = Transform(widths, state["transform.selected"])
        self.hyper_analysis = hyper_analysis(widths)
        for module, prefix in ((self.transform, "transform."), (self.hyper_analysis, "h_a.")):
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            module.load_state_dict(part)
            module.to(self.device).eval()

    @torch.inference_mode()
    def analyse(
        self, tiles: Sequence[npt.NDArray[np.float32]], quality: float
    ) -> Iterator[npt.NDArray[np.int32]]:
        """Rounded latents of component tiles `(bands, y, x)`, in order; equal shapes share a call."""

        def run(batch: list[npt.NDArray[np.float32]]) -> Tensor:
            u = torch.from_numpy(np.stack(batch)).to(self.device)
            return self.transform.analyse(u, torch.full((len(batch),), quality, device=u.device))

        rounded = by_shape(tiles, lambda t: t.shape, run)
        return (np.rint(y).astype(np.int32) for y in rounded)

    @torch.inference_mode()
    def synthesise(
        self, coded: Sequence[tuple[npt.NDArray[np.int32], float]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Component tiles of (latents, quality) pairs, in order."""

        def run(batch: list[tuple[npt.NDArray[np.int32], float]]) -> Tensor:
            y = torch.from_numpy(np.stack([b[0] for b in batch]).astype("f4")).to(self.device)
            quality = torch.tensor([b[1] for b in batch], device=y.device)
            return self.transform.synthesise(y, quality)

        return (u.astype(np.float64) for u in by_shape(coded, lambda c: c[0].shape, run))

    @torch.inference_mode()
    def hyper_latent(self, y: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """z of one tile's latents, rounded."""
        features = magnitude_features(torch.from_numpy(y.astype("f4"))[None].to(self.device))
        z = HYPER_GAIN * self.hyper_analysis(features)[0].cpu().numpy()
        return np.asarray(np.rint(z), dtype=np.int32)


def by_shape(
    items: Sequence[T], shape: Callable[[T], tuple[int, ...]], run: Callable[[list[T]], Tensor]
) -> Iterator[npt.NDArray[np.float32]]:
    """Results of `run` for every item in order, run once for all items of a shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(shape(item), []).append(i)
    out: dict[int, npt.NDArray[np.float32]] = {}
    for members in groups.values():
        results = run([items[i] for i in members]).cpu().numpy()
        out.update(zip(members, results, strict=True))
    return (out[i] for i in range(len(items)))
