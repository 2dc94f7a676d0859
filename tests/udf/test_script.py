"""Where code comes from: inline, from URLs that are not the server's own, from a user's folder."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from openeo_nc.errors import (
    AddressRefusedError,
    InvalidParameterError,
    UDFDependencyError,
    UDFRuntimeError,
    UDFSourceError,
    UDFVersionError,
    WorkspaceFileNotFoundError,
)
from openeo_nc.udf import runtimes
from openeo_nc.udf.limits import Rules, ruled, rules
from openeo_nc.udf.script import CODE_BYTES, script

CODE = "def apply_datacube(cube, context):\n    return cube\n"


@contextmanager
def serving(body):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/udf.py"
        server.shutdown()
        thread.join()


def test_inline():
    made = script(CODE.replace("\n", "\r\n"), "python", None, {"b": 1, "a": [2]})
    assert (made.code, made.context) == (CODE, '{"a": [2], "b": 1}')
    assert made.rules == rules()
    with pytest.raises(UDFSourceError, match="at most"):
        script("#\n" * CODE_BYTES, "Python", None, None)
    with pytest.raises(InvalidParameterError, match="JSON"):
        script(CODE, "Python", None, {"array": np.ones(2)})


def test_urls():
    with serving(CODE.encode()) as url:
        assert script(url, "Python", None, None).code == CODE
        for hosts in ((), ("elsewhere.example",)):
            with ruled(Rules(session="s", hosts=hosts)), pytest.raises(AddressRefusedError):
                script(url, "Python", None, None)
        with ruled(Rules(session="s", hosts=("127.0.0.1",))):
            assert script(url, "Python", None, None).code == CODE
    with serving(b"#" * (CODE_BYTES + 1)) as url, pytest.raises(UDFSourceError, match="more than"):
        script(url, "Python", None, None)
    with serving(b"\xff\n") as url, pytest.raises(UDFSourceError, match="UTF-8"):
        script(url, "Python", None, None)


def test_files_of_the_user(tmp_path):
    mine, other = tmp_path / "ada", tmp_path / "grace"
    for folder in (mine, other):
        (folder / "udfs").mkdir(parents=True)
        (folder / "udfs" / "one.py").write_text(CODE + f"# {folder.name}\n")
    (mine / "link.py").symlink_to(other / "udfs" / "one.py")
    with ruled(replace(rules(), files=str(mine))):
        for path in ("udfs/one.py", "/udfs/one.py", "./udfs/one.py"):
            assert "# ada" in script(path, "Python", None, None).code
        for path in ("../grace/udfs/one.py", "link.py", "/etc/passwd", "udfs", "none.py", "\0"):
            with pytest.raises(WorkspaceFileNotFoundError):
                script(path, "Python", None, None)


def test_runtimes():
    (found,) = runtimes.runtimes().values()
    assert found["default"] in found["versions"]
    assert found["versions"][found["default"]]["libraries"]["numpy"]["version"] == np.__version__
    with pytest.raises(UDFRuntimeError):
        script(CODE, "R", None, None)
    with pytest.raises(UDFVersionError):
        script(CODE, "Python", "2.7", None)
    assert script(CODE, "Python", runtimes.VERSION, None)


@pytest.mark.parametrize("wanted", ["nowhere-to-be-found", "numpy<1", "numpy ==="])
def test_dependencies_that_are_missing(wanted):
    block = f'# /// script\n# dependencies = ["{wanted}"]\n# ///\n'
    with pytest.raises(UDFDependencyError) as failed:
        script(block + CODE, "Python", None, None)
    assert failed.value.code == "UDFDependencyMissing"
    if "===" not in wanted:
        assert f"numpy {np.__version__}" in failed.value.message


def test_dependencies_that_are_there():
    block = "# /// script\n# dependencies = [\n#   \"numpy>=2\",\n#   'xarray',\n# ]\n# ///\n"
    assert script(block + CODE, "Python", None, None)
