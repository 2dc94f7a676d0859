"""What a server runs for its users: graphs that cannot reach behind it.

On one's own machine a graph may run any code and read any file. On a server `load_stac` reads what
public addresses and the server's own catalogues give, and code of users runs in sandboxes that
isolate it, or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import addresses, stac
from openeo_nc.cubes.encoders import is_address
from openeo_nc.errors import GeometryInvalidError, InvalidParameterError
from openeo_nc.graphs.registry import default_registry
from openeo_nc.ml import loading
from openeo_nc.search import opening
from openeo_nc.udf import pool
from openeo_nc.udf.limits import Limits, Rules, ruled

if TYPE_CHECKING:
    from distributed import Client
    from openeo_pg_parser_networkx import ProcessRegistry

RUN_UDF = "run_udf"
VARIABLE = "OPENEO_NC_SERVING"
"""Environment variable that tells processes of jobs what is served, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a server lets graphs of its users do."""

    udfs: bool = False
    """Whether code of users runs."""
    limits: Limits = field(default_factory=Limits)
    """What such code may use."""
    first_uid: int | None = None
    """First user id that sandboxes take; default is a range nobody has."""
    files: str | None = None
    """Folder with a folder for each user."""
    hosts: tuple[str, ...] = ()
    """Hosts of data, code of UDFs and saved models, whatever their addresses are."""
    model_hosts: tuple[str, ...] = ()
    """Hosts whose models may be named by the address of an Item: a network is a program."""

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Serving:
        """What `to_json` made."""
        told = json.loads(text)
        limits = Limits(**told.pop("limits"))
        hosts = {name: tuple(told[name]) for name in ("hosts", "model_hosts")}
        return cls(**{**told, "limits": limits, **hosts})

    @classmethod
    def of_environment(cls) -> Serving:
        """What the server that started this process has told it."""
        told = os.environ.get(VARIABLE)
        return cls() if told is None else cls.from_json(told)

    @contextmanager
    def running(
        self,
        client: Client,
        session: str,
        user: str | None,
        tell: Callable[[str, str], None] | None = None,
    ) -> Iterator[None]:
        """Within it, graphs of a user run; code has one sandbox a worker, gone afterwards.

        Parameters
        ----------
        client
            Of the cluster.
        session
            Id of the job or request.
        user
            Id of the user, whose files hold code; None has none.
        tell
            Gets level and text of what code has printed and logged, at the end.
        """
        topic = f"openeo-nc-udf-{session}"
        rules = Rules(
            session=session,
            limits=self.limits,
            strict=True,
            first_uid=self.first_uid,
            topic=topic,
            files=None if self.files is None else str(Path(self.files) / (user or ".nobody")),
            hosts=tuple(sorted(self._hosts())),
        )
        with ExitStack() as stack:
            stack.callback(_end, client, session, topic, tell)
            stack.enter_context(ruled(rules))
            yield

    def _hosts(self) -> frozenset[str]:
        own = (addresses.host_of(catalogue) for catalogue in stac.catalogues())
        return frozenset({*self.hosts, *filter(None, own)})

    def guarded(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """A process that loads from a URL, such that it reads what is on the web only."""

        @wraps(load)
        def checked(**arguments: Any) -> Any:
            url = str(arguments["url"])
            if not url.startswith(("https://", "http://")):
                raise InvalidParameterError("url is an http or https URL; files are not read here.")
            with addresses.public_only(self._hosts()):
                return load(**arguments)

        return checked

    def models_guarded(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """A process that may load a model from an address: of hosts that the operator names."""

        @wraps(load)
        def checked(*arguments: Any, **named: Any) -> Any:
            with addresses.public_only(frozenset(self.model_hosts)):
                return load(*arguments, **named)

        return checked

    def saved_models_guarded(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """`load_ml_model`, which reads saved models as others read data: they are no programs."""
        guarded = self.models_guarded(load)

        @wraps(load)
        def checked(*arguments: Any, **named: Any) -> Any:
            (name,) = (*arguments, *named.values())
            if is_address(name):
                with addresses.public_only(self._hosts() | {*self.model_hosts}):
                    if (saved := loading.load(name)) is not None:
                        return saved
            return guarded(*arguments, **named)

        return checked


def _known_by_id(find_similar: Callable[..., Any]) -> Callable[..., Any]:
    """`find_similar` that reads no index but those of the operator's folder."""

    @wraps(find_similar)
    def checked(*arguments: Any, **named: Any) -> Any:
        if isinstance(name := named.get("data"), str) and name not in opening.ids():
            raise InvalidParameterError(f"There is no index '{name[:200]}' here.")
        return find_similar(*arguments, **named)

    return checked


def _geometries_as_such(aggregate_spatial: Callable[..., Any]) -> Callable[..., Any]:
    """`aggregate_spatial` that opens no text, which openeo-processes-dask takes for an address.

    Validation refuses texts that stand in a graph; this is for those that other nodes make.
    """

    @wraps(aggregate_spatial)
    def checked(*arguments: Any, **named: Any) -> Any:
        if any(isinstance(value, str) for value in (*arguments[1:2], named.get("geometries"))):
            raise GeometryInvalidError("geometries are GeoJSON or a vector cube; given a text.")
        return aggregate_spatial(*arguments, **named)

    return checked


@cache
def served_registry(serving: Serving = Serving()) -> ProcessRegistry:
    """The registry of a server; `graphs.registry.default_registry` without what it may not do."""
    from openeo_pg_parser_networkx import ProcessRegistry
    from openeo_pg_parser_networkx.process_registry import Process

    registry = ProcessRegistry()
    for (namespace, process_id), process in default_registry().items():
        if process_id != RUN_UDF or serving.udfs:
            registry[namespace, process_id] = process
    find = registry["find_similar"]
    known = _known_by_id(find.implementation)
    registry["find_similar"] = Process(spec=find.spec, implementation=known)
    spatial = registry["aggregate_spatial"]
    checked = _geometries_as_such(spatial.implementation)
    registry["aggregate_spatial"] = Process(spec=spatial.spec, implementation=checked)
    for name in ("load_stac", "load_embeddings"):
        load = registry[name]
        guarded = serving.guarded(load.implementation)
        registry[name] = Process(spec=load.spec, implementation=guarded)
    load = registry["load_ml_model"]
    guarded = serving.saved_models_guarded(load.implementation)
    registry["load_ml_model"] = Process(spec=load.spec, implementation=guarded)
    for name in ("encode_embedding", "load_stac_ml"):
        load = registry[name]
        guarded = serving.models_guarded(load.implementation)
        registry[name] = Process(spec=load.spec, implementation=guarded)
    return registry


def _end(client: Client, session: str, topic: str, tell: Callable[[str, str], None] | None) -> None:
    """End a session's sandboxes, and pass on what was said in them."""
    if not pool.begun(session):
        return
    pool.end(session)
    with suppress(OSError, RuntimeError, ValueError):  # the cluster is gone, and they with it
        client.run(pool.end, session)
        for _, told in client.get_events(topic):
            if tell is not None:
                tell(str(told["level"]), f"UDF: {told['message']}")
