"""Opens each codec once a process, and refuses other weights than the graph was built for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from openeo_nc.errors import WeightsNotFoundError
from openeo_nc.inference import engine
from openeo_nc.inference.device import choose

if TYPE_CHECKING:
    from openeo_nc.codecs.base import Codec
    from openeo_nc.inference.spec import CodecSpec

_codecs: dict[CodecSpec, Codec] = {}
_lock = threading.Lock()


def get_codec(spec: CodecSpec) -> Codec:
    """The codec of a spec, loaded on first use and shared by all threads of the process.

    Raises
    ------
    CodecNotFoundError
        This process knows no codec of that id.
    WeightsNotFoundError
        Its card here names other weights than the graph was built for, or they are not at hand.
    """
    codec = _codecs.get(spec)
    if codec is None:
        with _lock:
            codec = _codecs.get(spec)
            if codec is None:
                codec = _codecs[spec] = _open(spec)
    return codec


def _open(spec: CodecSpec) -> Codec:
    from openeo_nc.codecs import registry

    engine.install()
    card = registry.get_card(spec.codec_id)
    if card.weights_sha256 != spec.weights_sha256:
        raise WeightsNotFoundError(
            f"The graph needs '{spec.codec_id}' with weights {spec.weights_sha256}; "
            f"here its card names {card.weights_sha256}. Install the same release on all workers."
        )
    return registry.open_codec(spec.codec_id, device=choose(card, spec.device))
