"""Linux's system calls that Python 3.11 lacks: namespaces, mounts, capabilities, Landlock.

Libraries for this are either alpha or need another library of the system that images often lack.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CAPSET = {"x86_64": 126, "aarch64": 91}
_READ = 1 << 2 | 1 << 3
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""Landlock's rights that a file may have: run, write, read, truncate, ioctl."""
_LAST_RIGHT = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of Landlock's rights to files by version of its interface; 16 from the fifth on."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def unshare(flags: int) -> None:
    """Give this process new namespaces; OSError if it may not."""
    _checked(_libc().unshare(flags))


def map_own_user(uid: int, gid: int) -> None:
    """In a new user namespace, be who one was."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def mount_working_folder(folder: str, size: int, uid: int, gid: int) -> None:
    """In a new mount namespace, put an empty file system of bounded size on a folder."""
    _checked(_libc().mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    options = f"size={size},nr_inodes=10000,mode=700,uid={uid},gid={gid}".encode()
    _checked(_libc().mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options))


def unmount(folder: str) -> None:
    """Take the file system off a folder, if there is one."""
    _libc().umount2(folder.encode(), _MNT_DETACH)


def uncover(folders: Iterable[str]) -> None:
    """In a new mount namespace, let everybody reach folders below one that only its owner enters.

    Such as Python in a home: there the home is empty then, but for these folders.
    """
    hidden = {folder: above for folder in folders if (above := _closed(folder)) is not None}
    opened = {folder: os.open(folder, os.O_PATH | os.O_CLOEXEC) for folder in hidden}
    for above in sorted(set(hidden.values())):
        _checked(_libc().mount(b"tmpfs", above.encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=755"))
    for folder, fd in opened.items():
        os.makedirs(folder, exist_ok=True)
        source, bind = f"/proc/self/fd/{fd}".encode(), ctypes.c_ulong(_MS_BIND)
        _checked(_libc().mount(source, folder.encode(), None, bind, None))
        os.close(fd)


def _closed(folder: str) -> str | None:
    """The first folder on the way to one that others may not go through."""
    path = Path(folder)
    above = [*reversed(path.parents), path]
    return next((str(one) for one in above if not one.stat().st_mode & 1), None)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    _checked(_libc().prctl(_PDEATHSIG, 9, 0, 0, 0))


def never_gain_privileges() -> None:
    """No program that is run later has more rights; nobody of the same user looks into this one."""
    _checked(_libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc().prctl(_DUMPABLE, 0, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up all rights of a superuser, also those within an own user namespace."""
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(_libc().syscall(_CAPSET[os.uname().machine], header, bytes(24)))


def restrict_files(readable: Iterable[str], writable: str) -> None:
    """Landlock: only these paths may be read, only one folder written to, and no TCP used.

    Raises
    ------
    OSError
        The kernel has no Landlock, or it is off.
    """
    libc = _libc()
    version = _checked(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    every = (1 << _LAST_RIGHT.get(version, 16)) - 1
    attributes = struct.pack("QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    try:
        for path in readable:
            with suppress(FileNotFoundError, PermissionError):
                _allow(libc, rules, path, _READ & every)
        _allow(libc, rules, "/dev/null", (_READ | 2) & every)
        _allow(libc, rules, writable, every & ~1)
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        _checked(libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, opened), 0))
    finally:
        os.close(opened)
