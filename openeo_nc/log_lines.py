"""How processes log: lines for people or for machines, never with a secret of the settings in them."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

Form = Literal["text", "json"]
VARIABLE = "OPENEO_NC_LOG_FORMAT"
"""Environment variable with the form, for processes without settings of their own."""
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_HIDDEN = "***"
_SHORTEST = 4
"""Letters of a secret that is hidden; hiding shorter ones would garble lines and hide little."""
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
"""User and password of a URL."""


def configure(
    form: Form | None = None, *, level: int = logging.INFO, secrets: Iterable[str] = ()
) -> None:
    """Log to standard error; `form` is that of OPENEO_NC_LOG_FORMAT, or text, if none is given."""
    handler = logging.StreamHandler()
    handler.addFilter(_matters)
    machines = (form or os.environ.get(VARIABLE)) == "json"
    handler.setFormatter((JsonLines if machines else TextLines)(secrets))
    logging.basicConfig(level=level, handlers=[handler])


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_TEXT)
        # the longest first: one may be part of another
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        return self.hidden(super().format(record))

    def hidden(self, text: str) -> str:
        """A text without secrets, and without passwords in URLs."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _PASSWORD.sub(rf"\1:{_HIDDEN}@", text)


class JsonLines(TextLines):
    """One JSON object a line: time, level, logger, message, and `exception` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": self.hidden(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = self.hidden(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def _matters(record: logging.LogRecord) -> bool:
    """Not what Dask tells of every connection; its loggers have levels of their own."""
    return record.levelno >= logging.WARNING or not record.name.startswith("distributed.")
