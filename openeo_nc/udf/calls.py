"""Calls a script on one array, in the sandbox of this process, and tells what it says."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import UDFFailedError
from openeo_nc.udf import pool
from openeo_nc.udf.frames import Abandoned
from openeo_nc.udf.script import Script

logger = logging.getLogger(__name__)

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
Array = npt.NDArray[Any]


def call(
    script: Script,
    values: Array,
    dims: Sequence[str],
    labels: Mapping[str, Any],
    *,
    epsg: int | None,
    order: Sequence[str] | None = None,
    trial: bool = False,
) -> tuple[dict[str, Any], Array]:
    """What a script says of its result, and the result.

    Parameters
    ----------
    script
        What to run.
    values, dims, labels
        The chunk, its dimensions, and their labels as `labels.to_json` gives them.
    epsg
        Code of the chunk's CRS.
    order
        Dimensions in the order wanted, if the result has just these.
    trial
        Whether the names of bands are asked for too.

    Raises
    ------
    UDFFailedError, UDFSandboxError
    """
    header = {
        "code": script.code,
        "context": json.loads(script.context),
        "epsg": epsg,
        "attrs": {} if epsg is None else {"crs": f"EPSG:{epsg}"},
        "dims": list(dims),
        "labels": dict(labels),
        "order": None if order is None else list(order),
        "trial": trial,
    }
    native = np.dtype(values.dtype).newbyteorder("=")
    tell, gone = _teller(script.rules.topic), _gone()
    try:
        return pool.call(script.rules, header, values.astype(native, copy=False), tell, gone)
    except Abandoned as error:
        raise UDFFailedError("The task was cancelled while its UDF ran.") from error


def _teller(topic: str | None) -> Callable[[str, str], None]:
    """Whom to tell what code says: a job's log where there is one."""
    worker = _worker()
    if topic is None or worker is None:
        return lambda level, message: logger.log(_LEVELS[level], "UDF: %s", message)
    return lambda level, message: worker.log_event(topic, {"level": level, "message": message})


def _worker() -> Any:
    """The Dask worker that this task runs on; None outside of one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def _gone() -> Callable[[], bool] | None:
    """Tells whether Dask has cancelled this task; None outside of one."""
    worker = _worker()
    if worker is None:
        return None
    from distributed.worker import thread_state  # type: ignore[attr-defined]

    key = getattr(thread_state, "key", None)

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return None if key is None else cancelled
