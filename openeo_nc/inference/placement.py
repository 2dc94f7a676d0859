"""Keeps tasks of networks on the workers that have the device, in clusters where not all have it.

A function whose task runs a network is marked (`on_device`). When a graph reaches the scheduler, a
plugin there (`scheduler_plugin`) looks at each new task, fused or not, and restricts the marked
ones to workers with the resource:

        dask worker ... --resources GPU=1                            workers with a GPU
        openeo-nc.resource in Dask's configuration of the client     what is wanted

Unset, the resource is `GPU` if any worker has it; without one, networks run wherever there is room.
The name of a resource demands it: nobody having it is an error at once, and not waiting for ever.
`none` lets networks run anywhere.

Annotations of layers would not do. They are lost when Dask fuses layers, and when `to_zarr` puts tasks
into others whatever the configuration says; and they cannot know which workers there are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import dask.config
from dask.utils import typename

from openeo_nc.errors import ResourceUnavailableError

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.inference.spec import CodecSpec

RESOURCE = "openeo-nc.resource"
"""Key of Dask's configuration: name of the resource that networks need, or `none`."""
USUAL = "GPU"
"""The resource that is used where workers have it and nothing is said."""
SHARE = 1 / 1024
"""Of the resource that a task takes: all threads of its worker are let in, to fill batches."""

_prepared: WeakSet[Client] = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The resource that tasks of networks want."""

    resource: str
    """Its name."""
    demanded: bool
    """Whether they may not run without it."""


class OnDevice(partial[Any]):
    """A function whose task belongs on a worker with the device."""

    wish: Wish
    needless: str | None = None
    """Name of a type: given such a value by the task before it, it runs no network and may run anywhere."""


def wish() -> Wish | None:
    """What Dask's configuration says; None if networks may run anywhere."""
    name = dask.config.get(RESOURCE, None)
    if name is None:
        return Wish(resource=USUAL, demanded=False)
    return None if str(name).lower() == "none" else Wish(resource=str(name), demanded=True)


def on_device(
    function: Callable[..., Any], spec: CodecSpec, needless: type | None = None
) -> Callable[..., Any]:
    """The function, marked if it runs the network of a codec and a resource is wanted."""
    from openeo_nc.codecs import registry

    if registry.get_card(spec.codec_id).bands is None:
        return function
    return placed(function, needless)


def placed(function: Callable[..., Any], needless: type | None = None) -> Callable[..., Any]:
    """A function that runs a network, marked if a resource is wanted.

    Parameters
    ----------
    needless
        Type of what the task before it gives where there is nothing left for a network to do.
    """
    wanted = wish()
    if wanted is None:
        return function
    marked = OnDevice(function)
    marked.wish = wanted
    if needless is not None:
        marked.needless = typename(needless)
    return marked


def prepare() -> None:
    """See that the scheduler of the current Dask client, if any, places tasks of networks.

    Called wherever such tasks are made and computed; costs a message to the scheduler, once.

    Raises
    ------
    ResourceUnavailableError
        A resource is demanded, and no worker has it.
    """
    client, wanted = _client(), wish()
    if client is None or wanted is None:
        return
    if client not in _prepared:
        from openeo_nc.inference.scheduler_plugin import Placement

        client.register_plugin(Placement())
        _prepared.add(client)
    if wanted.demanded:
        check(wanted, client.scheduler_info(n_workers=-1)["workers"])


def check(wanted: Wish, workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise unless one of the workers, as a scheduler describes them, has the resource."""
    if not any(worker["resources"].get(wanted.resource) for worker in workers.values()):
        raise missing(wanted, len(workers))


def missing(wanted: Wish, workers: int) -> ResourceUnavailableError:
    """The error of a resource that is demanded and that nobody has."""
    return ResourceUnavailableError(
        f"'{RESOURCE}' demands workers with the resource '{wanted.resource}'; none of the {workers} "
        f"workers has it. Start some with --resources {wanted.resource}=1, or set it to 'none'."
    )


def _client() -> Client | None:
    """The client that computes by default, where there is one that can be asked."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client: Client = distributed.default_client()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None
