"""The network of the restoration codec in torch, and its shipped weights on one device.

    v = values / step - mean of the band
    features = asinh(v / 2), asinh(4 * (v - box mean of v)), nearness of block edges
    correction = unshuffle(network(shuffle(features)))          in steps, (bands, y, x)

Cells of CELL x CELL pixels are the network's pixels, so that it costs little at full resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openeo_nc.codecs.hyperprior_inference import full_precision, to_device, to_host
from openeo_nc.codecs.hyperprior_transform import ResidualPath, normalised
from openeo_nc.codecs.klt_dct_context import N
from openeo_nc.codecs.networks import Network, run

CELL = 4
"""Pixels of a cell's side."""
BOX = 9
"""Side of the window of the local mean."""
PREFIX = "restoration."
"""Of the network's arrays in the weights file."""


class Restoration(nn.Module):
    """What quantisation took away, predicted from what it left."""

    def __init__(self, bands: int, width: int, blocks: int) -> None:
        super().__init__()
        channels = bands * CELL**2
        self.path = ResidualPath(2 * channels + 3, channels, width, blocks)

    def forward(self, v: Tensor, quality: Tensor) -> Tensor:
        """Correction of `(b, bands, y, x)`, whole cells, from a block's corner; quality `(b,)`."""
        half = BOX // 2
        around = F.avg_pool2d(F.pad(v, (half, half, half, half), mode="replicate"), BOX, 1)
        features = torch.cat(
            [
                F.pixel_unshuffle(torch.asinh(v / 2), CELL),
                F.pixel_unshuffle(torch.asinh(4 * (v - around)), CELL),
                edges(v),
            ],
            dim=1,
        )
        out: Tensor = F.pixel_shuffle(self.path(features, normalised(quality)), CELL)
        return out


def edges(v: Tensor) -> Tensor:
    """`(b, 3, y, x)` of cells: 1 beside an edge of a coded block, 0 within; rows, columns, both."""
    near = []
    for size in v.shape[-2:]:
        middle = torch.arange(CELL / 2, size, CELL, device=v.device) % N
        near.append(torch.exp(-torch.minimum(middle, N - middle) / 2))
    both = torch.maximum(near[0][:, None], near[1][None, :])
    rows, columns = near[0][:, None].expand_as(both), near[1][None, :].expand_as(both)
    return torch.stack([rows, columns, both]).expand(len(v), -1, -1, -1)


class Restorer:
    """The network ready to run; thread-safe."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], device: str | None) -> None:
        state = {
            name.removeprefix(PREFIX): torch.from_numpy(array.astype("f4"))
            for name, array in arrays.items()
            if name.startswith(PREFIX)
        }
        bands, width, blocks = arrays["restoration_sizes"].tolist()
        self.device = torch.device(device or "cpu")
        self.network = Restoration(bands, width, blocks)
        self.network.load_state_dict(state)
        self.network.to(self.device).eval()

        self._network = Network(
            name="restoration",
            device=str(self.device),
            shape=lambda tile: np.shape(tile[0]),
            forward=self._forward,
        )

    def corrections(
        self, tiles: Sequence[tuple[npt.NDArray[np.float32], float]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Corrections of `(bands, y, x)` values in steps and their quality, in steps, in order."""
        return (correction.astype(np.float64) for correction in run(self._network, tiles))

    @torch.inference_mode()
    def _forward(
        self, batch: Sequence[tuple[npt.NDArray[np.float32], float]]
    ) -> npt.NDArray[np.float32]:
        v = to_device(np.stack([v for v, _ in batch]), self.device)
        quality = torch.tensor([q for _, q in batch], dtype=torch.float32, device=self.device)
        height, width = v.shape[-2:]
        v = F.pad(v, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        with full_precision():
            out: Tensor = self.network(v, quality)
        return to_host(out[..., :height, :width])
