"""A worker's end of one sandbox: starts it, sends calls, and ends it when it does not behave."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from openeo_nc.errors import (
    UDFFailedError,
    UDFMemoryError,
    UDFReplyError,
    UDFSandboxError,
    UDFTimeError,
)
from openeo_nc.udf.confine import isolates
from openeo_nc.udf.frames import Abandoned, Array, Channel, FrameError, Late
from openeo_nc.udf.limits import Rules

_START_SECONDS = 120.0
_END_SECONDS = 10.0
_LEVELS = ("info", "warning", "error")
_LINES, _CHARACTERS = 200, 2000
"""Lines of what code says that are passed on of a call, and characters of each."""
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""All that a sandbox has of an environment; one thread also because Landlock holds for one."""


class Sandbox:
    """One process that runs code; calls are made one after the other."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.layers: list[str] = []
        self.used = time.monotonic()
        self._cpu = 0.0
        self._calls = 0
        self._folder = tempfile.mkdtemp(prefix="openeo-nc-udf-")
        try:
            self._process, self._channel, self._writing, self._reading = self._started()
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise UDFSandboxError(f"No sandbox could be started: {error}.") from error
        try:
            self._greeted()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Process id of the sandbox's first process."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it can be called."""
        return self._process.poll() is None

    def spent(self) -> bool:
        """Whether it has used so much processor time that it may not last another call."""
        limits = self.rules.limits
        return self._cpu > max(limits.cpu_seconds - limits.seconds, limits.cpu_seconds / 2)

    def call(
        self,
        header: Mapping[str, Any],
        array: Array,
        tell: Callable[[str, str], None],
        abandoned: Callable[[], bool] | None = None,
    ) -> tuple[dict[str, Any], Array]:
        """Run code on a chunk: what is said of the result, and the result.

        `tell` gets level and text of each line that the code printed or logged.

        Raises
        ------
        UDFFailedError, UDFMemoryError, UDFTimeError, UDFReplyError
        Abandoned
            Nobody waits for it; the sandbox has ended.
        """
        limits = self.rules.limits
        until = time.monotonic() + limits.seconds
        self._calls += 1
        try:
            self._channel.send({**header, "id": self._calls}, array, until, abandoned)
            reply, result = self._channel.receive(until, limits.reply_bytes, abandoned)
            if reply.get("id") != self._calls:
                raise FrameError("an answer to another call")
        except Late as error:
            self.end()
            raise UDFTimeError(
                f"The UDF took longer than {limits.seconds:g} s for one chunk."
            ) from error
        except FrameError as error:
            self.end()
            raise UDFReplyError(f"The UDF's process sent {error}.") from error
        except (EOFError, OSError) as error:
            raise self._lost() from error
        except Abandoned:
            self.end()
            raise
        finally:
            self.used = time.monotonic()
        cpu = reply.get("cpu")
        self._cpu = float(cpu) if isinstance(cpu, int | float) else self._cpu
        _pass_on(reply.get("told"), tell)
        if fault := reply.get("error"):
            raise _error(fault)
        if result is None:
            self.end()
            raise UDFReplyError("The UDF's process sent no array.")
        return reply, result

    def kill(self) -> None:
        """Stop it while another thread calls it: that call fails, and cleans up."""
        self._process.kill()

    def end(self) -> None:
        """Stop it and remove its folder."""
        for fd in (self._writing, self._reading):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._writing = self._reading = -1
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _started(self) -> tuple[subprocess.Popen[bytes], Channel, int, int]:
        to_read, writing = os.pipe()
        reading, to_write = os.pipe()
        orders = {
            "reading": to_read,
            "writing": to_write,
            "folder": self._folder,
            "limits": asdict(self.rules.limits),
            "first_uid": self.rules.first_uid,
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-m", "openeo_nc.udf.guest", json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd=self._folder,
                pass_fds=(to_read, to_write),
                start_new_session=True,
            )
        except OSError:
            os.close(writing)
            os.close(reading)
            raise
        finally:
            os.close(to_read)
            os.close(to_write)
        _widen(writing)
        _widen(reading)
        return process, Channel(reading, writing), writing, reading

    def _greeted(self) -> None:
        try:
            hello, _ = self._channel.receive(time.monotonic() + _START_SECONDS, 0)
        except (Late, FrameError, EOFError, OSError) as error:
            raise UDFSandboxError("The sandbox of UDFs did not start.") from error
        self.layers = list(hello["layers"])
        if self.rules.strict and not isolates(self.layers):
            raise UDFSandboxError(
                "UDFs are not run here: this machine cannot keep network and files from them. It "
                f"has of namespaces, uid, landlock and seccomp: {', '.join(self.layers) or 'none'}."
            )

    def _lost(self) -> UDFFailedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        status = self._process.returncode
        self.end()
        ended = f"with signal {status - 128}" if (status or 0) > 128 else f"with status {status}"
        why = " (memory or processor time ran out)" if status in (137, 152) else ""
        return UDFFailedError(f"The UDF's process ended {ended}{why}.")


def _pass_on(told: Any, tell: Callable[[str, str], None]) -> None:
    """Tell what a sandbox says that its code said, as far as it looks like that."""
    for entry in told[:_LINES] if isinstance(told, list) else ():
        if isinstance(entry, list) and len(entry) == 2 and entry[0] in _LEVELS:
            tell(entry[0], str(entry[1])[:_CHARACTERS])


def _widen(fd: int) -> None:
    """Let a pipe hold a megabyte, so that arrays change hands less often."""
    if sys.platform.startswith("linux"):
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)


def _error(fault: Any) -> UDFFailedError:
    """The error for what a sandbox says of an exception."""
    given = fault if isinstance(fault, Mapping) else {}
    kind, message = str(given.get("type", "")), str(given.get("message", ""))
    lines = given.get("lines")
    places = [str(line) for line in lines[:20]] if isinstance(lines, list) else []
    text = "\n".join([f"{kind}: {message}" if kind else message, *places])[:8000]
    return UDFMemoryError(text) if kind == "MemoryError" else UDFFailedError(text)
