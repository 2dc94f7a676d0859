"""Models that are ONNX files, run by ONNX Runtime (extra `onnx`).

Options of the card: `input` and `output`, names in the file, by default the first of each; `order`,
dimensions of what the network gives (see `foreign.vectors`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import CardInvalidError, WeightsInvalidError
from openeo_nc.models.base import EmbeddingModel, ModelCard
from openeo_nc.models.files import file_of
from openeo_nc.models.foreign import in_batches, needed, prepared, vectors

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_THREADS = "OPENEO_NC_THREADS"


class OnnxModel(EmbeddingModel):
    """A session of ONNX Runtime."""

    def __init__(self, card: ModelCard, session: Any) -> None:
        self.card = card
        self._session = session
        inputs = {node.name: node for node in session.get_inputs()}
        outputs = [node.name for node in session.get_outputs()]
        self._input = str(card.options.get("input", next(iter(inputs))))
        self._output = str(card.options.get("output", outputs[0]))
        if self._input not in inputs or self._output not in outputs:
            raise CardInvalidError(
                f"'{card.model_id}' has the inputs {', '.join(inputs)} and the outputs "
                f"{', '.join(outputs)}; its card names {self._input} and {self._output}."
            )
        node = inputs[self._input]
        if node.type not in _DTYPES:
            raise CardInvalidError(f"'{card.model_id}' takes {node.type}; expected floats.")
        self._dtype = _DTYPES[node.type]
        self._batch = node.shape[0] if isinstance(node.shape[0], int) else None
        order = card.options.get("order")
        self._order = None if order is None else tuple(order)

    def embed(
        self,
        x: npt.NDArray[np.float32],
        *,
        times: Sequence[tuple[np.datetime64, ...] | None] | None = None,
        places: Sequence[tuple[float, float] | None] | None = None,
    ) -> npt.NDArray[np.float32]:
        given = in_batches(self._call, prepared(x, self.card), self._batch)
        return vectors(given, self.card, (x.shape[-2], x.shape[-1]), self._order)

    def _call(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        (found,) = self._session.run([self._output], {self._input: x.astype(self._dtype)})
        array: npt.NDArray[Any] = np.asarray(found)
        return array


def load(card: ModelCard, *, device: str | None = None) -> OnnxModel:
    """The model of a card, its file verified; weights beside the file are not read."""
    runtime = needed("onnxruntime", "onnx")
    return OnnxModel(card, _session(runtime, file_of(card), device or "cpu"))


def _session(runtime: Any, path: Path, device: str) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get(_THREADS, "0"))
    options.log_severity_level = 3
    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    try:
        # of bytes, not of a path: then a file cannot name others beside it
        return runtime.InferenceSession(path.read_bytes(), options, providers=providers)
    except Exception as error:
        raise WeightsInvalidError(f"{path} is no ONNX file that runs here: {error}") from error
