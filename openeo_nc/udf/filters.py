"""A seccomp filter: system calls that code in a sandbox has no use for fail.

It needs no privilege, so it holds where namespaces are not allowed, as in most containers. Code can
make no socket, start no program or process (threads it can), signal and look into no other process,
and use none of the calls that are for mounting, tracing, loading and the like.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CLONE = {"x86_64": 56, "aarch64": 220}
_SIGNALS = {"x86_64": (62, 234), "aarch64": (129, 131)}
"""kill and tgkill, allowed to the process itself: `abort` needs that."""
_CLONE3 = 435
_DENIED = {
    "x86_64": {
        "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288,
        "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "fork": 57, "vfork": 58,
        "execve": 59, "execveat": 322, "tkill": 200, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "personality": 135, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165,
        "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "init_module": 175,
        "delete_module": 176, "finit_module": 313, "quotactl": 179, "kexec_load": 246,
        "kexec_file_load": 320, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "setns": 308, "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304,
        "bpf": 321, "userfaultfd": 323, "memfd_create": 319,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "accept": 202, "bind": 200, "listen": 201, "accept4": 242,
        "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "execve": 221,
        "execveat": 281, "tkill": 130, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "personality": 92,
        "pivot_root": 41, "chroot": 51, "acct": 89, "mount": 40, "umount2": 39, "swapon": 224,
        "swapoff": 225, "reboot": 142, "init_module": 105, "delete_module": 106,
        "finit_module": 273, "quotactl": 60, "kexec_load": 104, "kexec_file_load": 294,
        "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97, "setns": 268,
        "perf_event_open": 241, "name_to_handle_at": 264, "open_by_handle_at": 265, "bpf": 280,
        "userfaultfd": 282, "memfd_create": 279,
    },
}  # fmt: skip
_DENIED_EVERYWHERE = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
_THREAD = 0x00010000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000
_SET_FILTER, _ALL_THREADS = 1, 1


def install() -> None:
    """Put the filter on all threads of this process; it has promised to gain no privileges.

    Raises
    ------
    OSError
        The kernel takes no filters, or the processor is one whose calls are not known here.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    program = _program(machine, os.getpid())
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SECCOMP[machine], _SET_FILTER, _ALL_THREADS, described) != 0:
        raise OSError(ctypes.get_errno(), "no seccomp filter")


def _program(machine: str, pid: int) -> bytes:
    """The filter in the kernel's classic BPF; jumps count the instructions to skip."""
    refuse = _FAIL | errno.EPERM
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, refuse),
        (_EQUAL, 0, 1, _CLONE3),  # it has its flags in memory; the C library then uses clone
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        (_EQUAL, 0, 4, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, refuse),
    ]
    for number in _SIGNALS[machine]:
        program += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_EQUAL, 0, 1, pid),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, refuse),
        ]
    for number in sorted({*_DENIED[machine].values(), *_DENIED_EVERYWHERE.values()}):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
