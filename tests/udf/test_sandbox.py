"""What code in a sandbox cannot do: each attempt is really made."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from openeo_nc.errors import (
    UDFFailedError,
    UDFMemoryError,
    UDFReplyError,
    UDFSandboxError,
    UDFTimeError,
)
from openeo_nc.udf import calls, confine, pool, sandbox
from openeo_nc.udf.limits import Limits, Rules
from openeo_nc.udf.script import Script

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="sandboxes isolate on Linux only"
)
SMALL = np.ones((2, 3), np.float32)


def attempt(rules, *lines, values=SMALL, context=None):
    """What a function with these lines gives, as a list; it ends with `result`, numbers."""
    body = "\n    ".join(lines)
    code = f"def apply_datacube(cube, context):\n    {body}\n    return cube * 0 + result"
    script = Script(code=code, context=json.dumps(context or {}), rules=rules)
    return calls.call(script, values, ("y", "x"), {}, epsg=None)[1].ravel().tolist()


@pytest.fixture(scope="module")
def layers(session):
    """Layers that hold here."""
    attempt(session, "result = 0")
    return pool._sandboxes[session.session].layers


def test_the_layers_of_this_machine_isolate(layers):
    if not confine.isolates(layers):
        pytest.skip(f"this machine gives sandboxes only {layers}")
    assert confine.SECCOMP in layers


def test_no_network(session, layers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        with pytest.raises(UDFFailedError, match="PermissionError"):
            attempt(session, "import socket",
                    "socket.create_connection(('127.0.0.1', context['port']))", "result = 1",
                    context={"port": listener.getsockname()[1]})  # fmt: skip
        with pytest.raises(TimeoutError):
            listener.accept()
    with pytest.raises(UDFFailedError, match="PermissionError"):
        attempt(session, "import socket", "socket.socket(socket.AF_UNIX)", "result = 1")


def test_no_secrets_in_the_environment(session, monkeypatch):
    monkeypatch.setenv("OPENEO_NC_SECRET", "hidden")
    pool.end(session.session)
    lines = ("import os", "print(sorted(os.environ))", "result = 'hidden' in str(os.environ)")
    assert set(attempt(session, *lines)) == {0}


def test_no_files(session, layers, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    secret.chmod(0o600)
    tmp_path.chmod(0o750)
    own = Path(pool._sandboxes[session.session]._folder)
    for path in (secret, "/etc/passwd", "/proc/1/environ", "/proc/self/environ", own.parent):
        with pytest.raises(UDFFailedError, match=r"PermissionError|FileNotFound|IsADirectory"):
            attempt(session, f"open({str(path)!r}).read()", "result = 1")
    with pytest.raises(UDFFailedError, match="PermissionError"):
        attempt(session, f"import os; os.listdir({str(tmp_path)!r})", "result = 1")
    for place in ("/tmp/from-udf", str(tmp_path / "from-udf"), "/dev/shm/from-udf"):
        with pytest.raises(UDFFailedError, match="PermissionError"):
            attempt(session, f"open({place!r}, 'w')", "result = 1")
        assert not Path(place).exists()


def test_a_working_folder_that_is_removed(limited):
    rules = limited(file_bytes=1 << 20)
    attempt(rules, "open('kept', 'w').write('x' * 1000)", "result = 1")
    assert set(attempt(rules, "result = len(open('kept').read())")) == {1000}
    with pytest.raises(UDFFailedError, match=r"OSError: \[Errno (27|28)\]"):
        attempt(rules, "open('large', 'wb').write(bytes(2 << 20))", "result = 1")
    folder = Path(pool._sandboxes[rules.session]._folder)
    pool.end(rules.session)
    assert not folder.exists()


def test_no_file_descriptors_of_the_worker(session, tmp_path):
    with (tmp_path / "open").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        pool.end(session.session)
        lines = (
            "import os", "found = []", "for fd in range(256):", "    try:",
            "        found.append(os.fstat(fd).st_ino)", "    except OSError:", "        pass",
            "result = context['inode'] in found",
        )  # fmt: skip
        inode = os.fstat(inherited.fileno()).st_ino
        assert set(attempt(session, *lines, context={"inode": inode})) == {0}


def test_no_processes_no_programs_and_few_threads(session, layers, limited):
    for line in (
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.execv('/bin/true', ['true'])",
        (
            "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
            "    if libc.unshare(0x10000000) or libc.ptrace(16, os.getppid(), 0, 0): "
            "raise PermissionError"
        ),
    ):
        with pytest.raises(UDFFailedError, match="PermissionError"):
            attempt(session, line, "result = 1")
    if confine.USER not in layers and confine.NAMESPACES not in layers:
        pytest.skip(f"threads are counted for the whole user with only {layers}")
    lines = (
        "import threading", "wait = threading.Event()", "n = 0", "try:",
        "    while n < 500:", "        threading.Thread(target=wait.wait, daemon=True).start()",
        "        n += 1", "except RuntimeError:", "    pass", "wait.set()", "result = n",
    )  # fmt: skip
    assert attempt(limited(threads=20), *lines)[0] < 20


def test_nobody_else_can_be_signalled(session):
    with pytest.raises(UDFFailedError, match=r"PermissionError|ProcessLookupError"):
        attempt(session, f"import os; os.kill({os.getpid()}, 15)", "result = 1")
    with pytest.raises(UDFFailedError, match=r"PermissionError|ProcessLookupError"):
        attempt(session, "import os; os.kill(-1, 9)", "result = 1")


def test_too_much_memory(limited):
    rules = limited(memory_bytes=256 << 20)
    with pytest.raises(UDFMemoryError) as failed:
        attempt(rules, "result = len(bytearray(1 << 30))")
    assert failed.value.code == "UDFMemoryExceeded"
    assert set(attempt(rules, "result = 1")) == {1}


def test_too_much_time(limited):
    rules = limited(seconds=20.0)  # a busy machine takes a while to start a sandbox
    attempt(rules, "result = 1")
    first, began = pool.running()[rules.session], time.monotonic()
    with pytest.raises(UDFTimeError, match="longer than 20 s"):
        attempt(rules, "while True: pass")
    assert time.monotonic() - began < 60
    assert not Path(f"/proc/{first}").exists()
    assert set(attempt(rules, "result = 1")) == {1}  # by another


def test_too_much_processor_time(limited):
    with pytest.raises(UDFFailedError, match="processor time ran out"):
        attempt(limited(cpu_seconds=3), "while True: pass")


def test_a_large_reply_is_refused(limited):
    rules = limited(reply_bytes=1000)
    with pytest.raises(UDFReplyError, match="1000 are allowed"):
        attempt(rules, "result = 1", values=np.ones((50, 50), np.float32))
    assert rules.session not in pool.running()


FORGED = {
    "a pickle": "b'\\x80\\x04cos\\nsystem\\n(S\\'touch {path}\\'\\ntR.'",
    "no header": "(5).to_bytes(4, 'big') + b'[[[[['",
    "a long header": "(1 << 31).to_bytes(4, 'big')",
    "objects": "frame({'id': 1, 'error': None, 'array': {'dtype': '|O', 'shape': [3]}})",
    "a wrong shape": "frame({'id': 1, 'error': None, 'array': {'dtype': '<f8', 'shape': [-1]}})",
    "a huge array": "frame({'id': 1, 'error': None, 'array': {'dtype': '<f8', 'shape': [1 << 50]}})",
    "another call": "frame({'id': 9, 'error': None, 'array': None})",
    "no array": "frame({'id': 1, 'error': None, 'array': None})",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_replies_are_refused(session, forged, tmp_path):
    pool.end(session.session)
    path = tmp_path / "made"
    lines = (
        "import json, os, stat",
        "def frame(header):",
        "    text = json.dumps(header).encode()",
        "    return len(text).to_bytes(4, 'big') + text",
        "pipes = [fd for fd in range(3, 64) if is_pipe(fd)]",
        f"os.write(pipes[-1], {forged.replace('{path}', str(path))})",
        "os._exit(0)",
    )
    body = "\n    ".join(lines)
    code = (
        "import os, stat\ndef is_pipe(fd):\n    try:\n        return stat.S_ISFIFO(os.fstat(fd).st_mode)"
        f"\n    except OSError:\n        return False\ndef apply_datacube(cube, context):\n    {body}"
    )
    with pytest.raises(UDFReplyError) as failed:
        calls.call(Script(code=code, context="{}", rules=session), SMALL, ("y", "x"), {}, epsg=None)
    assert failed.value.code == "UDFReplyInvalid"
    assert not path.exists()


def test_what_code_says_is_told(session, caplog):
    caplog.set_level("INFO", logger="openeo_nc.udf")
    attempt(session, "import logging, sys", "print('printed')", "logging.warning('%s', 'logged')",
            "sys.stderr.write('to stderr')", "print('x' * 10 ** 7)", "result = 1")  # fmt: skip
    told = [(record.levelname, record.message) for record in caplog.records]
    assert ("INFO", "UDF: printed") in told
    assert ("WARNING", "UDF: logged") in told
    assert ("WARNING", "UDF: to stderr") in told
    assert max(len(message) for _, message in told) < 3000


def test_a_killed_worker_ends_its_sandbox():
    code = (
        "import time, numpy as np\nfrom openeo_nc.udf import calls, pool\n"
        "from openeo_nc.udf.limits import Rules\nfrom openeo_nc.udf.script import Script\n"
        "def run(body):\n"
        "    code = f'def apply_datacube(cube, context):\\n    {body}\\n    return cube'\n"
        "    script = Script(code=code, context='{}', rules=Rules(session='s'))\n"
        "    calls.call(script, np.ones((1, 1)), ('y', 'x'), {}, epsg=None)\n"
        "run('pass')\nprint(pool.running()['s'], pool._sandboxes['s']._folder, flush=True)\n"
        "run('while True: pass')\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid, folder = worker.stdout.readline().split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert children
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    until = time.monotonic() + 20
    while time.monotonic() < until and any(Path(f"/proc/{one}").exists() for one in children):
        time.sleep(0.05)
    while time.monotonic() < until and Path(folder).exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{children[0]}").exists()
    assert not Path(folder).exists()


def test_a_killed_sandbox_is_told_and_replaced(limited):
    rules = limited()
    attempt(rules, "result = 1")
    os.kill(pool.running()[rules.session], signal.SIGKILL)
    time.sleep(0.2)
    assert set(attempt(rules, "result = 1")) == {1}
    with pytest.raises(UDFFailedError, match="ended with status 7"):
        attempt(rules, "import os; os._exit(7)", "result = 1")


def test_an_ended_session_stops_what_it_runs(limited):
    rules = limited()
    attempt(rules, "result = 1")
    threading.Timer(0.5, pool.end, [rules.session]).start()
    with pytest.raises(UDFFailedError):
        attempt(rules, "while True: pass")


def test_idle_sandboxes_end(limited, monkeypatch):
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.1)
    rules = limited(idle_seconds=0.2)
    attempt(rules, "result = 1")
    until = time.monotonic() + 20
    while rules.session in pool.running() and time.monotonic() < until:
        time.sleep(0.05)
    assert rules.session not in pool.running()


def test_a_sandbox_that_is_called_at_the_last_moment_does_not_end(limited):
    rules = limited(idle_seconds=0.0)
    attempt(rules, "result = 1")
    pid = pool.running()[rules.session]
    with pool._locks[rules.session]:  # as a call has it
        pool._close_idle(rules.session)
    assert pool.running()[rules.session] == pid
    pool._sandboxes[rules.session].used = time.monotonic() + 60
    pool._close_idle(rules.session)
    assert pool.running()[rules.session] == pid
    pool._sandboxes[rules.session].used = 0.0
    pool._close_idle(rules.session)
    assert rules.session not in pool.running()
    assert set(attempt(rules, "result = 2")) == {2}
    pool.end(rules.session)


def test_strict_rules_ask_for_isolation(monkeypatch):
    monkeypatch.setattr(sandbox, "isolates", lambda layers: False)
    rules = Rules(session="strict", strict=True, limits=Limits())
    with pytest.raises(UDFSandboxError, match="cannot keep network and files"):
        attempt(rules, "result = 1")
    assert "strict" not in pool.running()


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser becomes another user")
def test_as_another_user_with_nothing_else(tmp_path):
    """The same attempts where namespaces are not allowed, as in most containers."""
    code = (
        "import json, os, socket, sys\nfrom openeo_nc.udf import confine, linux\n"
        "def refuse(flags): raise PermissionError\nlinux.unshare = refuse\n"
        "limits = json.loads(sys.argv[2])\n"
        "cell = confine.separate(sys.argv[1], limits, None)\nconfine.confine(cell)\n"
        "assert os.geteuid() > 60000 and os.getgroups() == [], os.geteuid()\n"
        "for what in (lambda: socket.socket(), lambda: open('/etc/shadow'), os.fork):\n"
        "    try: what()\n    except PermissionError: continue\n    raise SystemExit(str(what))\n"
        "print(json.dumps(cell.layers))\n"
    )
    limits = {
        "cpu_seconds": 60, "file_bytes": 1 << 20, "open_files": 64, "memory_bytes": 1 << 30,
        "threads": 8,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(limits)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert confine.USER in json.loads(done.stdout)
    assert confine.NAMESPACES not in json.loads(done.stdout)


def test_as_no_superuser():
    """What a worker that is an ordinary user can have: namespaces if they are allowed, the rest."""
    if os.geteuid() != 0:
        pytest.skip("the other tests ran as an ordinary user already")
    home = Path(sys.base_prefix)
    if not all(one.stat().st_mode & 1 for one in (home, *home.parents)):
        pytest.skip(f"Python lies in {home}, where ordinary users cannot run it")
    code = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.chdir('/')\n"
        "import numpy as np\nfrom openeo_nc.udf import calls, pool\n"
        "from openeo_nc.udf.limits import Rules\nfrom openeo_nc.udf.script import Script\n"
        "code = 'def apply_datacube(cube, context):\\n    import socket; socket.socket()'\n"
        "try: calls.call(Script(code=code, context='{}', rules=Rules(session='s', strict=True)),\n"
        "                np.ones((1, 1)), ('y', 'x'), {}, epsg=None)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("UDFFailedError PermissionError"), done.stderr
