"""Times the stages of a codec from outside: methods are wrapped while a measurement lasts."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest import mock

from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.registry import open_codec


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Methods of a class whose time is one stage's."""

    name: str
    """`networks`, `symbols` or `contexts`."""
    owner: str
    """`module:class`, as it is imported."""
    methods: tuple[str, ...]
    """Names of the methods."""


SYMBOLS = (
    Stage(name="symbols", owner="openeo_nc.codecs.entropy:Encoder", methods=("push", "finish")),
    Stage(name="symbols", owner="openeo_nc.codecs.entropy:Decoder", methods=("pull", "finish")),
)
PACKING = Stage(
    name="contexts", owner="openeo_nc.codecs.framing:FramedCodec", methods=("pack", "unpack")
)
NETWORKS = {
    "hyperprior": Stage(
        name="networks",
        owner="openeo_nc.codecs.hyperprior_inference:Networks",
        methods=("analyse", "synthesise", "hyper_latent"),
    ),
    "restoration": Stage(
        name="networks",
        owner="openeo_nc.codecs.restoration_network:Restorer",
        methods=("corrections",),
    ),
}
"""By architecture."""


def stages_of(codec: str) -> tuple[Stage, ...]:
    """The stages of a registered codec that has latents; none of any other."""
    from openeo_nc.benchmarks.baselines import BASELINES

    if codec in BASELINES or not isinstance(opened := open_codec(codec), LatentCodec):
        return ()
    networks = NETWORKS.get(opened.card.architecture)
    return (PACKING, *SYMBOLS, *([] if networks is None else [networks]))


class Stopwatch:
    """Seconds of each stage, less those of the stages inside it; for one thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._inside: list[float] = []

    @contextmanager
    def on(self, stages: Sequence[Stage]) -> Iterator[None]:
        """Time these stages while the block lasts."""
        with ExitStack() as stack:
            for stage in stages:
                self._seconds.setdefault(stage.name, 0.0)
                module, _, name = stage.owner.partition(":")
                owner = getattr(importlib.import_module(module), name)
                for method in stage.methods:
                    timed = self._timed(getattr(owner, method), stage.name)
                    stack.enter_context(mock.patch.object(owner, method, timed))
            yield

    def exclusive(self) -> dict[str, float]:
        """Seconds by stage."""
        return dict(self._seconds)

    def _timed(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self._seconds[name] += seconds - self._inside.pop()
                if self._inside:
                    self._inside[-1] += seconds

        return call
