"""Runs the server until it is told to end."""

from __future__ import annotations

import os

import uvicorn
from pydantic import ValidationError

from openeo_nc import log_lines
from openeo_nc.errors import InvalidParameterError
from openeo_nc.server.app import create_app
from openeo_nc.server.backend import forget_secrets
from openeo_nc.server.settings import Settings

_ENDING_SECONDS = 10
"""How long requests that are under way may take when the server ends."""


def settings_of_environment() -> Settings:
    """The settings in the environment; InvalidParameterError that names those that are wrong.

    Those that are not there are looked for in the folder OPENEO_NC_SECRETS_DIR, in files named as
    the variables but in small letters: secrets of containers come so.
    """
    folder = os.environ.get("OPENEO_NC_SECRETS_DIR")
    if folder is not None and not os.path.isdir(folder):
        raise InvalidParameterError(f"OPENEO_NC_SECRETS_DIR is no folder: {folder}")
    try:
        return Settings(_secrets_dir=folder)  # type: ignore[call-arg]  # of pydantic-settings
    except ValidationError as error:
        faults = (
            f"OPENEO_NC_{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            if one["loc"]
            else one["msg"]
            for one in error.errors(include_input=False, include_url=False)
        )
        raise InvalidParameterError("; ".join(faults)) from None


def serve(host: str, port: int) -> None:
    """Serve the API at an address, with the settings in the environment."""
    settings = settings_of_environment()
    forget_secrets()
    log_lines.configure(settings.log_format, secrets=settings.secrets())
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        access_log=False,  # it would show signatures; see access.py
        server_header=False,
        timeout_graceful_shutdown=_ENDING_SECONDS,
    )
