"""What routes ask of a request: the backend, its user, the URLs of answers, documents in its body."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from openeo_nc.server.accounts import User
from openeo_nc.server.backend import Backend

Json = dict[str, Any]

_DEEPEST = 200
"""Levels of a document; what comes after it calls itself for each."""
_LARGEST = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that PostgreSQL, or UTF-8, does not hold."""


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


Served = Annotated[Backend, Depends(_backend)]
"""The backend."""


def _user(request: Request, backend: Served) -> User:
    return backend.accounts.user(request.headers.get("authorization"))


def _maybe_user(request: Request, backend: Served) -> User | None:
    given = request.headers.get("authorization")
    return None if given is None else backend.accounts.user(given)


SignedIn = Annotated[User, Depends(_user)]
"""The user; requests without one are refused."""
Anybody = Annotated[User | None, Depends(_maybe_user)]
"""The user, if there is one; a token that is wrong is refused."""
Limit = Annotated[int | None, Query(ge=1, le=10_000)]
"""Entries of a page."""
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]
"""Entries before a page; part of links to the next page only."""


def _strict(document: Any) -> Any:
    """A document, if it is JSON that any parser and database takes."""
    _check(document, _DEEPEST)
    return document


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        for name, member in value.items():
            _check(name, depth)
            _check(member, depth - 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinity are not JSON")
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("an integer of more than 64 bits")
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        raise ValueError("a text with null characters or half characters")


Document = Annotated[Json, BeforeValidator(_strict)]
"""An object in a body."""


class Process(BaseModel):
    """A process with its graph; what else it has is kept."""

    model_config = ConfigDict(extra="allow")

    process_graph: Json

    strict = model_validator(mode="before")(_strict)


class ProcessRequest(BaseModel):
    """A request that has a process; what else it has is kept."""

    model_config = ConfigDict(extra="allow")

    process: Process

    strict = model_validator(mode="before")(_strict)


def base(request: Request, backend: Backend) -> str:
    """The public URL of the API, without a slash at its end."""
    return backend.settings.url or str(request.base_url).rstrip("/")


def link(rel: str, href: str, **more: str) -> Json:
    """A link, with `type` and `title` if they are given."""
    return {"rel": rel, "href": href, **more}


def pages(
    request: Request, backend: Backend, count: int, limit: int | None, offset: int
) -> list[Json]:
    """Links to the pages around one that starts at `offset` and has `count` entries."""
    if limit is None:
        return []
    here = f"{base(request, backend)}{request.url.path}"
    links = []
    if count == limit:
        links.append(link("next", f"{here}?limit={limit}&offset={offset + limit}"))
    if offset:
        links.append(link("prev", f"{here}?limit={limit}&offset={max(offset - limit, 0)}"))
        links.append(link("first", f"{here}?limit={limit}"))
    return links


def moment(when: datetime) -> str:
    """A time as openEO has it, RFC 3339 in UTC."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
