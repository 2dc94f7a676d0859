"""What is trained: transform and entropy model together, and the loss that trades bits for error."""

from __future__ import annotations

import torch
from torch import Tensor

from openeo_nc.codecs.hyperprior_rate import EntropyModel
from openeo_nc.codecs.hyperprior_transform import Transform, Widths, step
from openeo_nc.codecs.spectral import BLOCK

LAMBDA_STEP = 0.13
"""1 / lambda = LAMBDA_STEP * step^2, bits against squared error in card units: the trade-off at
which uniform quantisation with that step is optimal (H.264 uses the same constant)."""


class Model(torch.nn.Module):
    """Transform and entropy model, trained together."""

    def __init__(self, widths: Widths, selected: Tensor) -> None:
        super().__init__()
        self.transform = Transform(widths, selected)
        self.entropy = EntropyModel(widths)

    def forward(
        self, u: Tensor, quality: Tensor, *, noisy: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction, bits of y a sample, bits of z a sample, and rounded y."""
        y = self.transform.analyse(u, quality)
        y_hat = y + (y.detach().round() - y.detach())
        context = y_hat.detach()
        z = self.entropy.hyper_latent(context)
        z_hat = z + (z.detach().round() - z.detach())
        mean, index = self.entropy(context, z_hat, quality)
        if noisy:
            y_rated = y + torch.rand_like(y) - 0.5
            z_rated = z + torch.rand_like(z) - 0.5
        else:
            y_rated, z_rated = y_hat, z_hat
        bits_y = self.entropy.y_bits(y_rated, mean, index).sum(dim=(1, 2, 3))
        bits_z = self.entropy.z_bits(z_rated).sum(dim=(1, 2, 3))
        return self.transform.synthesise(y_hat, quality), bits_y, bits_z, y_hat


def loss_of(model: Model, u: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Mean over samples of (bits + lambda * squared error) a pixel, weighted to even out the rates."""
    u_hat, bits_y, bits_z, _ = model(u, quality, noisy=True)
    pixels = u.shape[-2] * u.shape[-1] * BLOCK**2
    error = ((u_hat - u) ** 2).sum(dim=(1, 2, 3)) / pixels
    rate = (bits_y + bits_z) / pixels
    weight = (12 * 0.05 * 1.55 ** (quality - 1)) ** -0.8
    loss = ((rate + error / (LAMBDA_STEP * step(quality) ** 2)) * weight).mean()
    return loss, {
        "rate": float(rate.detach().mean() / 12),
        "z": float(bits_z.detach().mean() / pixels / 12),
        "psnr": float((10 * torch.log10(1e8 / (error.detach() / 12))).mean()),
    }


@torch.no_grad()
def follow(average: Model, model: Model, decay: float) -> None:
    """One step of the moving average of the parameters."""
    for a, p in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(p, 1 - decay)
