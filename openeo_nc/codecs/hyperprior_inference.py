"""The hyperprior codec's shipped float networks on one device: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.hyperprior_rate import HYPER_GAIN, hyper_analysis, magnitude_features
from openeo_nc.codecs.hyperprior_transform import Transform, Widths
from openeo_nc.codecs.networks import Network, run
from openeo_nc.codecs.spectral import BLOCK


class Networks:
    """The transforms and h_a, ready to run; thread-safe."""

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

        device_name = str(self.device)
        self._analysis = Network(
            name="analysis", device=device_name, shape=_first_shape, forward=self._analyse
        )
        self._synthesis = Network(
            name="synthesis", device=device_name, shape=_first_shape, forward=self._synthesise
        )
        self._hyper_analysis: Network[npt.NDArray[np.int32]] = Network(
            name="hyper-analysis", device=device_name, shape=np.shape, forward=self._hyper_latents
        )

    def analyse(
        self, tiles: Sequence[npt.NDArray[np.float32]], quality: float
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Unrounded latents of component tiles `(bands, 64, h, w)`, in order."""
        found = run(self._analysis, [(tile, quality) for tile in tiles])
        return (y.astype(np.float64) for y in found)

    @torch.inference_mode()
    def gain(self, quality: float) -> npt.NDArray[np.float64]:
        """Quantiser units of each latent a quantiser step, `(latents,)`."""
        factor = self.transform.gain(torch.tensor([quality], device=self.device))
        return factor.reshape(-1).cpu().numpy().astype(np.float64) * quality_step(quality)

    def synthesise(
        self, coded: Sequence[tuple[npt.NDArray[np.int32], float]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Component tiles of (latents, quality) pairs, in order."""
        return (c.astype(np.float64) for c in run(self._synthesis, coded))

    def hyper_latent(self, y: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """z of one tile's latents, rounded."""
        return np.asarray(next(run(self._hyper_analysis, [y])), dtype=np.int32)

    @torch.inference_mode()
    def _analyse(self, batch: Sequence[tuple[Any, float]]) -> npt.NDArray[np.float32]:
        c = to_device(np.stack([tile for tile, _ in batch]), self.device).flatten(1, 2)
        quality = torch.tensor([q for _, q in batch], dtype=torch.float32, device=self.device)
        with full_precision():
            return to_host(self.transform.analyse(c, quality))

    @torch.inference_mode()
    def _synthesise(self, batch: Sequence[tuple[Any, float]]) -> npt.NDArray[np.float32]:
        y = to_device(np.stack([latents for latents, _ in batch]).astype("f4"), self.device)
        quality = torch.tensor([q for _, q in batch], dtype=torch.float32, device=self.device)
        with full_precision():
            c = self.transform.synthesise(y, quality)
        return to_host(c.reshape(len(batch), -1, BLOCK**2, *c.shape[2:]))

    @torch.inference_mode()
    def _hyper_latents(self, batch: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        y = to_device(np.stack(batch).astype("f4"), self.device)
        z = HYPER_GAIN * to_host(self.hyper_analysis(magnitude_features(y)))
        return np.asarray(np.rint(z), dtype=np.float32)


def full_precision() -> AbstractContextManager[None]:
    """Within it, CUDA convolutions do not round to TF32, which could exceed the decode tolerance."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """The array as a tensor there; on CUDA by way of pinned memory, which copies beside the work."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> npt.NDArray[Any]:
    """The tensor as an array; waits for what its stream does, and for no other stream."""
    if tensor.device.type != "cuda":
        return tensor.cpu().numpy()
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return pinned.numpy()


def _first_shape(item: tuple[npt.NDArray[Any], float]) -> tuple[int, ...]:
    return item[0].shape
