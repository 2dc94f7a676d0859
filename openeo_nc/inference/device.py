"""The device that a codec's network runs on, decided on the worker and not where graphs are built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.models.base import ModelCard

VARIABLE = "OPENEO_NC_DEVICE"
"""Environment variable that sets a worker's device, e.g. `cpu`, `cuda:1`."""


def choose(card: CodecCard | ModelCard, device: str | None = None) -> str:
    """Device name for a codec or model: as asked, else as `OPENEO_NC_DEVICE` says, else CUDA if there is one.

    torch is imported only for a codec that is learned: one whose card names its bands.

    Raises
    ------
    InvalidParameterError
        A CUDA device is asked for and there is none.
    """
    wanted = device or os.environ.get(VARIABLE)
    if wanted == "cpu" or card.bands is None:
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if wanted is None:
        return "cuda" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise InvalidParameterError(
            f"The device '{wanted}' is asked for, but there is no CUDA here."
        )
    return wanted
