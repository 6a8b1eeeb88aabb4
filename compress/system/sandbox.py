"""Deny this process writing files and reaching the network, on systems that support it (Linux).

Landlock (kernel 5.13, complete from 6.2) leaves one writable folder and denies access to other processes' memory. A
seccomp filter refuses every kind of socket or, for a runtime that is a browser, every connection. Neither needs a
privilege or a namespace, so both also work in containers. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Denied = Literal["filesystem", "network"]

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2

# linux/landlock.h; its system calls have the same numbers on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_WRITE_FILE, _REMOVE_DIR, _TRUNCATE = 1 << 1, 1 << 4, 1 << 14
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # and remove or make a file of any kind, or a folder
_SCOPE_SIGNAL = 1 << 1
_WHOLE_FROM = 3
"""Before this version of Landlock a process can still empty the user's files."""


@dataclass(frozen=True)
class _Calls:
    """Numbers of system calls: socket and socketpair; connect; ptrace, process_vm_writev and io_uring_setup."""

    sockets: tuple[int, int]
    connect: int
    others: tuple[int, int, int]


_CALLS = {
    "x86_64": (0xC000003E, _Calls((41, 53), 42, (101, 311, 425))),
    "aarch64": (0xC00000B7, _Calls((198, 199), 203, (117, 271, 425))),
}
"""Machine -> AUDIT_ARCH and system calls."""
_X32 = 0x40000000  # from here on, x86_64 has the same calls under other numbers
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # the latter with EPERM
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # where a filter finds them; the arguments' low halves
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF

_held: tuple[Denied, ...] = ()


def confine(own: Path, others: Sequence[Path] = (), *, own_sockets: bool = False) -> None:
    """Deny everything that can be denied, permanently, to this process and its children. Call it before threads start.

    Args:
        own: the folder in which files may still be made, changed and removed; it may be removed itself, and so may
            empty folders beside it.
        others: more such folders, and files that may be written, such as a GPU's device files; they stay.
        own_sockets: allow pairs of sockets, which connect this process with those that it starts, and unconnected
            stream sockets of the Unix domain; connecting one is refused.
    """
    global _held
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1) != 0:
        return
    denied: dict[Denied, bool] = {
        "filesystem": _only_write_in(libc, own, others),
        "network": _refuse_sockets(libc, own_sockets),
    }
    _held = tuple(each for each, holds in denied.items() if holds)


def inherit(denied: Sequence[str]) -> None:
    """Take over what was denied to this process before it became an emulator, which cannot tell itself."""
    global _held
    _held = tuple(each for each in get_args(Denied) if each in denied)


def held() -> tuple[Denied, ...]:
    """What this process is denied."""
    return _held


def _only_write_in(libc: ctypes.CDLL, own: Path, others: Sequence[Path]) -> bool:
    version = _syscall(libc, _CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    changes = _CHANGES | (1 << 13 if version >= 2 else 0) | (_TRUNCATE if version >= _WHOLE_FROM else 0)
    scoped = _SCOPE_SIGNAL if version >= 6 else 0
    attributes = struct.pack("QQQ", changes, 0, scoped)[: 24 if scoped else 8]
    rules = _syscall(libc, _CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for path in (own, *others):
            _allow(libc, rules, path, changes if path.is_dir() else changes & (_WRITE_FILE | _TRUNCATE))
        _allow(libc, rules, own.parent, _REMOVE_DIR)
        _allow(libc, rules, Path(os.devnull), changes & (_WRITE_FILE | _TRUNCATE))
        return _syscall(libc, _RESTRICT_SELF, rules, 0) == 0 and version >= _WHOLE_FROM
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    file = os.open(path, os.O_PATH)
    try:
        _syscall(libc, _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", access, file), 0)
    finally:
        os.close(file)


def _refuse_sockets(libc: ctypes.CDLL, but_own: bool) -> bool:
    machine = os.uname().machine
    if machine not in _CALLS or struct.calcsize("P") != 8:
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _filter(machine, but_own)))
    filter_program = struct.pack("HP", len(code) // 8, ctypes.addressof(code))
    return _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program) == 0


def _filter(machine: str, but_own: bool) -> list[tuple[int, int, int, int]]:
    """The instructions: operation, how many to skip if it holds, how many if it does not, value."""
    architecture, calls = _CALLS[machine]
    refused = [*calls.others, calls.connect] if but_own else [*calls.others, *calls.sockets]
    go_on, allow, refuse = range(3)
    steps = [
        (_LOAD, _ARCHITECTURE, go_on, go_on),
        (_EQUAL, architecture, go_on, refuse),
        (_LOAD, _NUMBER, go_on, go_on),
        (_AT_LEAST, _X32, refuse, go_on),
        *((_EQUAL, call, refuse, go_on) for call in refused),
    ]
    if but_own:
        # A stream socket of the Unix domain reaches nothing until it is connected.
        steps += [
            (_EQUAL, calls.sockets[0], go_on, allow),
            (_LOAD, _FIRST, go_on, go_on),
            (_EQUAL, _AF_UNIX, go_on, refuse),
            (_LOAD, _SECOND, go_on, go_on),
            (_AND, _SOCK_TYPES, go_on, go_on),
            (_EQUAL, _SOCK_STREAM, go_on, refuse),
        ]
    program = []
    for i, (operation, value, then, otherwise) in enumerate(steps):
        skip = {go_on: 0, allow: len(steps) - i - 1, refuse: len(steps) - i}  # counted from the next instruction
        program.append((operation, skip[then], skip[otherwise], value))
    return [*program, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]


def _prctl(libc: ctypes.CDLL, option: int, *values: int | bytes) -> int:
    return int(libc.prctl(option, *_words(values, 4)))


def _syscall(libc: ctypes.CDLL, number: int, *values: int | bytes | None) -> int:
    return int(libc.syscall(ctypes.c_long(number), *_words(values, 4)))


def _words(values: Sequence[int | bytes | None], count: int) -> list[ctypes.c_ulong | ctypes.c_char_p]:
    """Arguments of a C function that takes any number of them, all as wide as a pointer."""
    filled = [*values, *[0] * (count - len(values))]
    return [ctypes.c_ulong(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in filled]
