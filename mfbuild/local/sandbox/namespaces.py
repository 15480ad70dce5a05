"""Enters namespaces of its own, builds a root file system of mounts, and becomes a program in it.

Run as a script with one argument, a file that holds a JSON object: `mounts` (see mounts.py),
`argv`, `cwd`, `user` and `group` (numbers that the caller has inside), `users` (whether a user
namespace is to be had; without one it takes root). Needs nothing but the standard library. Exit
125: not possible here.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, NoReturn

NOT_POSSIBLE = 125
_NEWNS, _NEWUSER, _NEWPID = 0x20000, 0x10000000, 0x20000000  # unshare(2)
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # mount(2)
_REMOUNT, _BIND, _REC, _PRIVATE = 32, 4096, 16384, 1 << 18
_KEPT = {_NOSUID: os.ST_NOSUID, _NODEV: 4, _NOEXEC: 8, 1024: 1024, 2048: 2048}
_DETACH = 2  # umount2(2)
_PDEATHSIG, _NO_NEW_PRIVILEGES = 1, 38  # prctl(2)
_OLD, _NEW = "/old", "/new"
_BASE = "/tmp"  # any folder that is there

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    """Set everything up, and run the program as process 1 of a process namespace."""
    with open(sys.argv[1]) as file:  # noqa: PTH123
        spec: dict[str, Any] = json.load(file)
    try:
        enter(spec)
        pid = os.fork()
        if pid == 0:
            _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            build_root(spec["mounts"])
            _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            os.chdir(spec["cwd"])
            os.execv(spec["argv"][0], spec["argv"])
    except OSError as error:
        os.write(2, f"{error.strerror}{f': {error.filename}' if error.filename else ''}\n".encode())
        os._exit(NOT_POSSIBLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    os._exit(_code(os.waitpid(pid, 0)[1]))


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def enter(spec: dict[str, Any]) -> None:
    """Namespaces for mounts and processes, and for users, in which the caller is `user`."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEWNS | _NEWPID | (_NEWUSER if spec["users"] else 0))
    if spec["users"]:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{spec['user']} {user} 1")
        _write("/proc/self/gid_map", f"{spec['group']} {group} 1")
    _mount("none", "/", None, _REC | _PRIVATE)


def build_root(mounts: list[dict[str, Any]]) -> None:
    """Make the mounts below a new root, and have nothing but that.

    The old root has to be out of the way first: the new one is made on a folder of it, which a
    bind of that folder's surroundings must not show.
    """
    _mount("tmpfs", _BASE, "tmpfs", _NOSUID | _NODEV, "mode=755")
    os.chdir(_BASE)
    os.mkdir(_BASE + _OLD)  # noqa: PTH102
    os.mkdir(_BASE + _NEW)  # noqa: PTH102
    _call("pivot_root", _BASE.encode(), (_BASE + _OLD).encode())
    os.chdir("/")
    _mount("tmpfs", _NEW, "tmpfs", _NOSUID | _NODEV, "mode=755")
    for mount in mounts:
        _make(mount)
    _processes()
    os.chdir(_NEW)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")


def _make(mount: dict[str, Any]) -> None:
    path = _NEW + mount["path"]
    if mount["kind"] == "directory":
        os.mkdir(path)  # noqa: PTH102
    elif mount["kind"] == "link":
        os.symlink(mount["source"], path)  # noqa: PTH211
    else:
        if mount["is_directory"]:
            os.mkdir(path)  # noqa: PTH102
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        _mount(_OLD + mount["source"], path, None, _BIND | _REC)
        if not mount["writable"]:
            _make_read_only(path)


def _make_read_only(path: str) -> None:
    """The flags that the mount has already may not be dropped in a user namespace."""
    found = os.statvfs(path).f_flag
    kept = sum(flag for flag, seen in _KEPT.items() if found & seen)
    _mount("none", path, None, _BIND | _REMOUNT | _RDONLY | kept)


def _processes() -> None:
    """/proc of the new process namespace; where the kernel grants none, the machine's own."""
    os.mkdir(f"{_NEW}/proc")  # noqa: PTH102
    try:
        _mount("proc", f"{_NEW}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        _mount(f"{_OLD}/proc", f"{_NEW}/proc", None, _BIND | _REC)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [text.encode() if text else None for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), data.encode() if data else None, what=target)


def _call(name: str, *arguments: Any, what: str | None = None) -> None:
    """A function of libc that returns 0; OSError if it does not."""
    ctypes.set_errno(0)
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", what)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


if __name__ == "__main__":
    main()
