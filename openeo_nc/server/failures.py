"""Answers every failure with openEO's `{id, code, message, links}`; the log has the same id.

What goes wrong by the caller is an `OpenEONCError` with its own code and status; anything else is
`Internal`, and only the log says what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeo_nc.errors import (
    AuthenticationRequiredError,
    NotFoundError,
    OpenEONCError,
    ProcessGraphMissingError,
    RequestInvalidError,
    TooManyRequestsError,
)

logger = logging.getLogger(__name__)


class Failure(BaseModel):
    """openEO's error, for the description of the API."""

    id: str
    code: str
    message: str
    links: list[dict[str, Any]]


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failure, "description": "The request is wrong."},
    "5XX": {"model": Failure, "description": "The server failed."},
}
"""How failures of all routes are described."""

FAILED_DEPENDENCY = 424
"""Status with which the error of a failed job is told; openEO wants a log entry for it."""


def failure(code: str, status: int, message: str, headers: Mapping[str, str] | None = None,
            failure_id: str | None = None) -> JSONResponse:  # fmt: skip
    """The response that tells of a failure."""
    body: dict[str, Any] = {
        "id": failure_id or str(uuid4()), "code": code, "message": message, "links": [],
    }  # fmt: skip
    if status == FAILED_DEPENDENCY:
        body["level"] = "error"
    return JSONResponse(body, status_code=status, headers=headers)


def of(error: OpenEONCError) -> JSONResponse:
    """The response for an error of this package."""
    response = failure(error.code, error.http_status, error.message, _headers(error))
    if error.http_status >= 500:
        logger.error("%s: %s", error.code, error.message, exc_info=error)
    return response


def install(app: FastAPI) -> None:
    """Have an application answer its exceptions so."""

    @app.exception_handler(OpenEONCError)
    async def typed(request: Request, error: OpenEONCError) -> JSONResponse:
        return of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return of(_invalid(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, OpenEONCError):  # raised while a body was read
            return of(error.__cause__)
        if error.status_code == 404:
            return of(NotFoundError(f"There is nothing at {request.url.path}."))
        code = "FeatureUnsupported" if error.status_code == 405 else "RequestInvalid"
        return failure(code, error.status_code, str(error.detail), error.headers)


class Unexpected:
    """Middleware: answers what nobody expected with `Internal`, inside of the CORS headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except OpenEONCError as error:  # of middleware
            await of(error)(scope, receive, send)
        except Exception:
            failure_id = str(uuid4())
            logger.exception("failure %s", failure_id)
            if started:
                raise
            message = f"Server error; its log tells more under the id {failure_id}."
            response = failure("Internal", 500, message, failure_id=failure_id)
            await response(scope, receive, send)


def _headers(error: OpenEONCError) -> dict[str, str] | None:
    if isinstance(error, AuthenticationRequiredError):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": "60"} if isinstance(error, TooManyRequestsError) else None


def _invalid(error: RequestValidationError) -> OpenEONCError:
    """What is wrong with a request, by the first of its faults; values given are not repeated."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if place[-1:] in (["process"], ["process_graph"]):
        return ProcessGraphMissingError(
            f"The request has no process graph at {'.'.join(place[1:])}."
        )
    return RequestInvalidError(f"{'.'.join(place)}: {first['msg']}.")
