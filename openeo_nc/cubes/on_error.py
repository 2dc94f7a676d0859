"""What becomes of pixels that cannot be read or coded: an error, or no data if that was asked for.

Asked for around the building of a graph, since tasks carry it to the workers:

        with nodata_on_error("job-7"):      what is read in it may fail
            cube = load(...)
        told(client, "job-7")               what failed, once it is computed
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import dask.config

from openeo_nc.errors import PoisonTaskError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

_TOPIC = "openeo-nc.nodata-on-error"
_withheld: ContextVar[bool] = ContextVar("withheld", default=False)


@contextmanager
def nodata_on_error(topic: str) -> Iterator[None]:
    """Within it, what is built to be read gives no data where it cannot be, and tells the topic."""
    with dask.config.set({_TOPIC: topic}):
        yield


def topic() -> str | None:
    """Whom to tell of what cannot be read; None where that is an error."""
    name = dask.config.get(_TOPIC, None)
    return None if name is None else str(name)


def withheld(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call what ended the workers that it ran on; within it `check` raises."""
    token = _withheld.set(True)
    try:
        return function(*arguments, **named)
    finally:
        _withheld.reset(token)


def check() -> None:
    """Raise where a worker could end again; called before what may fail and give no data.

    Raises
    ------
    PoisonTaskError
        The task that runs has ended workers before.
    """
    if _withheld.get():
        raise PoisonTaskError("the workers that tried it ended.")


def tell(topic: str, message: str) -> None:
    """Tell of something that could not be read."""
    from distributed import get_worker

    logger.warning("%s", message)
    try:
        worker = get_worker()
    except ValueError:  # on a scheduler without workers there is nobody to tell
        return
    worker.log_event(topic, message)


def this_tile(labels: Sequence[str] = (), number: int | None = None) -> str:
    """The tile that the running task is of, in words.

    Parameters
    ----------
    labels
        Those of dates, to say instead of their numbers.
    number
        Place of the date among them; default the first number of the task's key.
    """
    from distributed import get_worker

    try:
        key = get_worker().get_current_task()
    except ValueError:
        key = ""
    at: list[Any] = list(key[1:]) if isinstance(key, tuple) else []
    if number is not None:
        at[:1] = [number]
    if not at:
        return "A tile"
    if isinstance(at[0], int) and at[0] < len(labels):
        at[0] = labels[at[0]]
    names = ("date", "row", "column")
    return "Tile (" + ", ".join(f"{name} {n}" for name, n in zip(names, at, strict=False)) + ")"


def told(client: Client, topic: str) -> list[str]:
    """What the topic was told of, each once."""
    return list(dict.fromkeys(str(message) for _, message in client.get_events(topic)))
