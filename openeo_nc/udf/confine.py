"""Closes a process in: what can be had of these layers on the system that it runs on.

        namespaces   no network devices, no other processes, a working folder of its own in memory
        uid          a user id that nothing else has
        landlock     of all files, Python's libraries are readable and the working folder is writable
        seccomp      no sockets, no programs, no other processes (`filters`)

and limits on time, memory, files and threads everywhere. Layers are tried, and what was reached is
told to the worker, which decides whether that is enough.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openeo_nc.udf import filters, linux

NAMESPACES, USER, LANDLOCK, SECCOMP = "namespaces", "uid", "landlock", "seccomp"
_RANGES = ((1_900_000_000, 1 << 22), (61_184, 4_336))
"""First user ids and how many: one a process id, or where ids are few systemd's dynamic ones."""
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share", "/etc/ld.so.cache",
    "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu",
)  # fmt: skip


@dataclass(kw_only=True)
class Cell:
    """What a process is closed into."""

    folder: str
    """Working folder."""
    limits: Mapping[str, Any]
    """As `limits.Limits` has them."""
    uid: int | None
    """User id to take; None keeps the one there is."""
    layers: list[str]
    """Layers that hold."""


def isolates(layers: list[str]) -> bool:
    """Whether layers keep network and files from code."""
    return bool({NAMESPACES, SECCOMP} & {*layers}) and bool({USER, LANDLOCK} & {*layers})


def separate(folder: str, limits: Mapping[str, Any], first_uid: int | None) -> Cell:
    """Take namespaces of its own for this process's children, and prepare their folder."""
    superuser = os.geteuid() == 0
    os.umask(0o022)
    cell = Cell(
        folder=folder, limits=limits, uid=_free_uid(first_uid) if superuser else None, layers=[]
    )
    owner = os.geteuid() if cell.uid is None else cell.uid
    if superuser:
        with suppress(OSError):
            os.chown(folder, owner, owner)
    if not sys.platform.startswith("linux"):
        return cell
    flags = linux.NEWNS | linux.NEWNET | linux.NEWPID | linux.NEWIPC | linux.NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    with suppress(OSError):
        linux.unshare(flags if superuser else flags | linux.NEWUSER)
        cell.layers.append(NAMESPACES)
        if not superuser:
            linux.map_own_user(uid, gid)
            owner = uid
        group = gid if cell.uid is None else owner
        linux.mount_working_folder(folder, int(limits["file_bytes"]), owner, group)
        if superuser:
            linux.uncover({sys.prefix, sys.base_prefix})
    return cell


def clear(folder: str) -> None:
    """Remove a working folder after the process that had it."""
    if sys.platform.startswith("linux"):
        linux.unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)


def confine(cell: Cell) -> None:
    """Close this process in, for good."""
    readable = list(_libraries())  # while Python can still find that out
    os.chdir(cell.folder)
    os.umask(0o077)
    _limit(cell)
    if cell.uid is not None:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(cell.uid, cell.uid, cell.uid)
            os.setresuid(cell.uid, cell.uid, cell.uid)
            cell.layers.append(USER)
    if not sys.platform.startswith("linux"):
        return
    linux.die_with_parent()  # after the change of user, which undoes it
    linux.never_gain_privileges()
    with suppress(OSError, KeyError):
        linux.drop_capabilities()
    with suppress(OSError):
        linux.restrict_files(readable, cell.folder)
        cell.layers.append(LANDLOCK)
    with suppress(OSError):
        filters.install()
        cell.layers.append(SECCOMP)


def _free_uid(first: int | None) -> int | None:
    """A user id that no other process of this machine has; None where none can be taken."""
    pid = os.getpid()
    ranges = _RANGES if first is None else ((first, _RANGES[0][1]), (first, 1))
    for start, count in ranges:
        uid = start + pid % count
        if any(low <= uid < low + length for low, length in _mapped()):
            return uid
    return None


def _mapped() -> list[tuple[int, int]]:
    """Ranges of user ids that exist here."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return [(0, 1 << 32)]
    return [(int(first), int(length)) for first, _, length in map(str.split, lines)]


def _limit(cell: Cell) -> None:
    limits = cell.limits
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(limits["cpu_seconds"]),
        resource.RLIMIT_FSIZE: int(limits["file_bytes"]),
        resource.RLIMIT_NOFILE: int(limits["open_files"]),
        resource.RLIMIT_AS: _address_space() + int(limits["memory_bytes"]),
    }
    if cell.uid is not None or NAMESPACES in cell.layers:  # else others of this user count too
        wanted[resource.RLIMIT_NPROC] = int(limits["threads"])
    for kind, value in wanted.items():
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            value = min(value, most)
        with suppress(OSError, ValueError):  # macOS takes no limit of address space
            resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    """Bytes that this process has now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _libraries() -> Iterator[str]:
    """What code may read: Python, its packages, the system's libraries and time zones."""
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield sysconfig.get_path(name)
    for prefix in {sys.prefix, sys.base_prefix}:
        for part in ("lib", "lib64", "share"):
            yield os.path.join(prefix, part)
    yield from _SYSTEM
