"""The hyperprior codec's shipped float networks on one device: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.hyperprior_rate import HYPER_GAIN, hyper_analysis, magnitude_features
from openeo_nc.codecs.hyperprior_transform import Transform, Widths
from openeo_nc.codecs.spectral import BLOCK

T = TypeVar("T")


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

    @torch.inference_mode()
    def analyse(
        self, tiles: Sequence[npt.NDArray[np.float32]], quality: float
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Unrounded latents of component tiles `(bands, 64, h, w)`, in order; equal shapes share a call."""

        def run(batch: list[npt.NDArray[np.float32]]) -> Tensor:
            c = torch.from_numpy(np.stack(batch)).flatten(1, 2).to(self.device)
            with full_precision():
                return self.transform.analyse(
                    c, torch.full((len(batch),), quality, device=c.device)
                )

        return (y.astype(np.float64) for y in by_shape(tiles, lambda t: t.shape, run))

    @torch.inference_mode()
    def gain(self, quality: float) -> npt.NDArray[np.float64]:
        """Quantiser units of each latent a quantiser step, `(latents,)`."""
        factor = self.transform.gain(torch.tensor([quality], device=self.device))
        return factor.reshape(-1).cpu().numpy().astype(np.float64) * quality_step(quality)

    @torch.inference_mode()
    def synthesise(
        self, coded: Sequence[tuple[npt.NDArray[np.int32], float]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Component tiles of (latents, quality) pairs, in order."""

        def run(batch: list[tuple[npt.NDArray[np.int32], float]]) -> Tensor:
            y = torch.from_numpy(np.stack([b[0] for b in batch]).astype("f4")).to(self.device)
            quality = torch.tensor([b[1] for b in batch], device=y.device)
            with full_precision():
                c = self.transform.synthesise(y, quality)
            return c.reshape(len(batch), -1, BLOCK**2, *c.shape[2:])

        return (c.astype(np.float64) for c in by_shape(coded, lambda c: c[0].shape, run))

    @torch.inference_mode()
    def hyper_latent(self, y: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """z of one tile's latents, rounded."""
        features = magnitude_features(torch.from_numpy(y.astype("f4"))[None].to(self.device))
        z = HYPER_GAIN * self.hyper_analysis(features)[0].cpu().numpy()
        return np.asarray(np.rint(z), dtype=np.int32)


def full_precision() -> AbstractContextManager[None]:
    """Within it, CUDA convolutions do not round to TF32, which could exceed the decode tolerance."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


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
