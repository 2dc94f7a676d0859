"""A codec's networks with nothing around them: what benchmarks hold the whole path against."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openeo_nc.codecs.hyperprior_inference import Networks, full_precision, to_device, to_host
from openeo_nc.codecs.spectral import BLOCK
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.yardstick import (
    copied_bytes_a_second,
    operations_a_second,
    operations_of,
    timed,
)

if TYPE_CHECKING:
    from openeo_nc.codecs.base import Codec

Step = Literal["analyse", "synthesise"]
Array = npt.NDArray[Any]
_PRODUCT = {"cpu": 1024}
"""Side of the matrices that a device's arithmetic is measured with; elsewhere 8192."""


class BareNetwork:
    """The hyperprior's transforms on one device, for tiles of one size."""

    def __init__(self, codec: Codec, device: str, side: int) -> None:
        networks = getattr(codec, "_networks", None)
        if not isinstance(networks, Networks):
            raise InvalidParameterError(
                f"The codec '{codec.card.codec_id}' has not the networks that are measured; "
                "'s2l2a-hyperprior' has."
            )
        self._transform = networks.transform
        self._device = torch.device(device)
        self._pixels = side * side / 1e6
        self._quality = codec.card.quality[2]
        rows = side // BLOCK
        latents = len(self._transform.selected)
        rng = np.random.default_rng(0)
        components = len(codec.card.bands or ()) * BLOCK**2
        self._inputs: dict[str, Array] = {
            "analyse": rng.normal(0, 100, (components, rows, rows)).astype("f4"),
            "synthesise": rng.integers(-2, 3, (latents, rows, rows)).astype("f4"),
        }

    def run(self, step: Step, count: int, batch: int) -> None:
        """Tiles to the device, through the network, and back, in batches."""
        for start in range(0, count, batch):
            given = np.stack([self._inputs[step]] * min(batch, count - start))
            to_host(self._call(step, to_device(given, self._device)))

    def limits(self, step: Step, batch: int) -> dict[str, float]:
        """Seconds that copies of a batch, and its arithmetic, would take by themselves."""
        device = str(self._device)
        given = self._given(step, batch)
        copied = given.nbytes + self._call(step, given).nbytes
        product = _PRODUCT.get(self._device.type, 8192)
        operations = operations_of(lambda: self._call(step, given))
        return {
            "copies": copied / (copied_bytes_a_second(device) / 2) / 2,
            "arithmetic": operations / operations_a_second(device, product),
        }

    def variants(self, batch: int, *, compiled: bool) -> list[dict[str, Any]]:
        """Speed of the network alone in other ways, and how far pixels differ then."""
        found = []
        for step in ("analyse", "synthesise"):
            given = self._given(step, batch)
            exact = self._call(step, given)
            for name, call in self._ways(step, compiled=compiled):
                seconds = timed(partial(call, given), str(self._device))
                difference = float((call(given).float() - exact).abs().max())
                found.append({
                    "step": step, "variant": name, "difference": difference,
                    "mpix_s": batch * self._pixels / seconds,
                })  # fmt: skip
        return found

    def _ways(
        self, step: str, *, compiled: bool
    ) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        yield "float32", partial(self._call, step)
        for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
            yield name, partial(self._call, step, dtype=dtype)
        if compiled:
            call = torch.compile(getattr(self._transform, step), dynamic=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler, about itself
                yield "compiled", partial(self._call, step, function=call)

    @torch.inference_mode()
    def _call(
        self, step: str, given: Tensor, dtype: torch.dtype | None = None,
        function: Callable[..., Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        quality = torch.full((len(given),), self._quality, device=self._device)
        half: AbstractContextManager[Any] = (
            nullcontext() if dtype is None else torch.autocast(self._device.type, dtype)
        )
        with full_precision(), half:
            out: Tensor = (function or getattr(self._transform, step))(given, quality)
        return out

    def _given(self, step: str, batch: int) -> Tensor:
        return to_device(np.stack([self._inputs[step]] * batch), self._device)
