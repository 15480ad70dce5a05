"""Enters namespaces of its own, builds a root file system of mounts, and becomes a program in it.

Run as a script with one argument, a file that holds a JSON object and is removed once it is read:
`mounts` (see mounts.py), `devices`, `argv`, `env`, `cwd`, `user` and `group` (numbers that the
program has inside), `users` (whether by a user namespace; without one it takes root), `network`
(whether it has the machine's), `masked` and `read_only` (paths of /proc and /sys). Needs nothing
but the standard library. Exit 125: not possible here.

Root's program has the number of an unprivileged user outside as well. So that it can write to
the folders of root that it is given, these are mounted with their owner mapped to that number
(idmapped mounts, mount_setattr(2), Linux 5.12). Everybody else's program has an unprivileged
number inside, and is the caller outside.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

NOT_POSSIBLE = 125
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 1 << 27, 1 << 28, 1 << 29, 1 << 30
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # mount(2)
_REMOUNT, _BIND, _REC, _PRIVATE = 32, 4096, 16384, 1 << 18
_KEPT = {_NOSUID: os.ST_NOSUID, _NODEV: 4, _NOEXEC: 8, 1024: 1024, 2048: 2048}
_DETACH = 2  # umount2(2)
_PDEATHSIG, _DROP_BOUNDING, _NO_NEW_PRIVILEGES = 1, 24, 38  # prctl(2)
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_CLONE, _RECURSIVE, _EMPTY_PATH, _FROM_EMPTY_PATH, _IDMAP = 1, 0x8000, 0x1000, 4, 0x100000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)
_OLD, _NEW = "/old", "/new"
_BASE = "/tmp"  # any folder that is there
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # a blank, say, is written as \040
_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    """Set everything up, and run the program as process 1 of a process namespace."""
    with open(sys.argv[1]) as file:  # noqa: PTH123
        spec: dict[str, Any] = json.load(file)
    os.unlink(sys.argv[1])  # noqa: PTH108 - it holds values of variables
    alive, held = os.pipe()
    try:
        mapping = {} if spec["users"] else _user_namespaces(spec)
        enter(spec)
        pid = os.fork()
        if pid == 0:
            os.close(held)
            build_root(spec, mapping)
            _drop(spec)
            _die_with_parent(alive)
            os.chdir(spec["cwd"])
            os.execve(spec["argv"][0], spec["argv"], spec["env"])
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
    """Namespaces for mounts, processes and their messages; for the network and users if asked."""
    user, group = os.geteuid(), os.getegid()
    further = (_NEWUSER if spec["users"] else 0) | (0 if spec["network"] else _NEWNET)
    _call("unshare", _NEWNS | _NEWPID | _NEWIPC | further)
    if spec["users"]:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{spec['user']} {user} 1")
        _write("/proc/self/gid_map", f"{spec['group']} {group} 1")
    if not spec["network"]:
        _loopback()
    # Nothing that is mounted here may be seen outside.
    _mount("none", "/", None, _REC | _PRIVATE)


def _loopback() -> None:
    """A network namespace begins with its loopback interface down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _drop(spec: dict[str, Any]) -> None:
    """Keep no privilege, and gain none by any program: not even what root may do inside."""
    last = int(open("/proc/sys/kernel/cap_last_cap").read())  # noqa: PTH123, SIM115
    for capability in range(last + 1):
        _call("prctl", _DROP_BOUNDING, capability, 0, 0, 0)
    if not spec["users"]:
        os.setgroups([])
        os.setresgid(*[spec["group"]] * 3)
        os.setresuid(*[spec["user"]] * 3)
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _die_with_parent(alive: int) -> None:
    """After the change of users, which forgets it. `alive` hangs up where there is no parent."""
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    gone = select.poll()
    gone.register(alive, 0)
    if gone.poll(0):
        os._exit(NOT_POSSIBLE)
    os.close(alive)


def build_root(spec: dict[str, Any], mapping: dict[tuple[int, int], int]) -> None:
    """Make the mounts below a new root, and have nothing but that.

    The old root has to be out of the way first: the new one is made on a folder of it, which a
    bind of that folder's surroundings must not show.
    """
    umask = os.umask(0o022)  # whoever runs the program has to find its way
    _mount("tmpfs", _BASE, "tmpfs", _NOSUID | _NODEV, "mode=755")
    os.chdir(_BASE)
    os.mkdir(_BASE + _OLD)  # noqa: PTH102
    os.mkdir(_BASE + _NEW)  # noqa: PTH102
    _call("pivot_root", _BASE.encode(), (_BASE + _OLD).encode())
    os.chdir("/")
    _mount("tmpfs", _NEW, "tmpfs", _NOSUID | _NODEV, "mode=755")
    for mount in spec["mounts"]:
        _make(mount, mapping)
    _processes()
    _devices(spec["devices"])
    _protect(spec)
    os.chdir(_NEW)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")
    os.umask(umask)


def _make(mount: dict[str, Any], mapping: dict[tuple[int, int], int]) -> None:
    path = _NEW + mount["path"]
    place = _OLD + mount["place"] if mount["place"] else path
    if mount["kind"] == "link":
        os.symlink(mount["source"], path)  # noqa: PTH211
        return
    if mount["is_directory"]:
        os.makedirs(place, exist_ok=True)  # noqa: PTH103
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
    if mount["kind"] == "bind" and mapping and mount["mapped"]:
        found = os.stat(_OLD + mount["source"])  # noqa: PTH116
        _bind_mapped(_OLD + mount["source"], path, mapping[found.st_uid, found.st_gid])
    elif mount["kind"] == "bind":
        _mount(_OLD + mount["source"], path, None, _BIND | _REC)


def _bind_mapped(source: str, target: str, namespace: int) -> None:
    """A bind in which owners are as `namespace`, a user namespace, maps them."""
    tree = _system(_OPEN_TREE, -100, source.encode(), _CLONE | _RECURSIVE, what=source)
    attributes = struct.pack("QQQQ", _IDMAP, 0, 0, namespace)
    _system(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH | _RECURSIVE, attributes, 32, what=source)
    _system(_MOVE_MOUNT, tree, b"", -100, target.encode(), _FROM_EMPTY_PATH, what=target)
    os.close(tree)


def _user_namespaces(spec: dict[str, Any]) -> dict[tuple[int, int], int]:
    """For each owner of what is to be mapped, a user namespace that maps it to the program's."""
    sources = [m["source"] for m in spec["mounts"] if m["kind"] == "bind" and m["mapped"]]
    owners = {(found.st_uid, found.st_gid) for found in map(os.stat, sources)}
    return {owner: _user_namespace(*owner, spec) for owner in owners}


def _user_namespace(user: int, group: int, spec: dict[str, Any]) -> int:
    """A namespace in which `user` and `group` stand for the program's ones."""
    ready, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _call("unshare", _NEWUSER)
            os.write(begun, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(begun)
    try:
        if not os.read(ready, 1):
            raise OSError(1, "there are no user namespaces")
        _write(f"/proc/{pid}/uid_map", f"{user} {spec['user']} 1")
        _write(f"/proc/{pid}/gid_map", f"{group} {spec['group']} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _processes() -> None:
    """/proc of the new process namespace; where the kernel grants none, the machine's own."""
    os.mkdir(f"{_NEW}/proc")  # noqa: PTH102
    try:
        _mount("proc", f"{_NEW}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        _mount(f"{_OLD}/proc", f"{_NEW}/proc", None, _BIND | _REC)


def _devices(names: list[str]) -> None:
    """/dev as the runtime-spec has it, with devices of the machine; nobody may make another."""
    dev = f"{_NEW}/dev"
    os.mkdir(dev)  # noqa: PTH102
    _mount("tmpfs", dev, "tmpfs", _NOSUID, "mode=755")
    for name in names:
        if os.path.isdir(_OLD + name):  # noqa: PTH112
            os.makedirs(_NEW + name)  # noqa: PTH103
        else:
            os.close(os.open(_NEW + name, os.O_CREAT | os.O_WRONLY))
        _mount(_OLD + name, _NEW + name, None, _BIND | _REC)
    for name, target in _LINKS.items():
        os.symlink(f"/proc/self/fd{target}", f"{dev}/{name}")  # noqa: PTH211
    os.symlink("pts/ptmx", f"{dev}/ptmx")  # noqa: PTH211
    for name, kind, options in (
        ("shm", "tmpfs", "mode=1777"),
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
        ("mqueue", "mqueue", None),
    ):
        os.mkdir(f"{dev}/{name}")  # noqa: PTH102
        _mount(kind, f"{dev}/{name}", kind, _NOSUID | _NOEXEC, options)
    _make_read_only(dev)


def _protect(spec: dict[str, Any]) -> None:
    """Hide what tells of the machine or changes it; make read-only what is not to be written."""
    for path in spec["masked"]:
        if os.path.isdir(_NEW + path):  # noqa: PTH112
            _mount("tmpfs", _NEW + path, "tmpfs", _RDONLY)
        elif os.path.exists(_NEW + path):  # noqa: PTH110
            _mount(f"{_OLD}/dev/null", _NEW + path, None, _BIND)
    for path in spec["read_only"]:
        if os.path.exists(_NEW + path):  # noqa: PTH110
            _mount(_NEW + path, _NEW + path, None, _BIND | _REC)
            _make_read_only(_NEW + path)
    binds = {_NEW + m["path"]: m["writable"] for m in spec["mounts"] if m["kind"] == "bind"}
    for point in _mount_points():
        over = [path for path in binds if f"{point}/".startswith(f"{path}/")]
        if over and not binds[max(over, key=len)]:
            _make_read_only(point)
    _make_read_only(_NEW)


def _mount_points() -> list[str]:
    """Where something is mounted, what came with a recursive bind included (proc(5), mountinfo)."""
    with open(f"{_NEW}/proc/self/mountinfo", "rb") as file:  # noqa: PTH123
        fields = [line.split(b" ")[4] for line in file]
    return [os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), f)) for f in fields]


def _make_read_only(path: str) -> None:
    """The flags that the mount has already may not be dropped in a user namespace."""
    found = os.statvfs(path).f_flag
    kept = sum(flag for flag, seen in _KEPT.items() if found & seen)
    _mount("none", path, None, _BIND | _REMOUNT | _RDONLY | kept)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [text.encode() if text else None for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), data.encode() if data else None, what=target)


def _call(name: str, *arguments: Any, what: str | None = None) -> None:
    """A function of libc that returns 0; OSError if it does not."""
    ctypes.set_errno(0)
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", what)


def _system(number: int, *arguments: Any, what: str) -> int:
    """A system call that libc has no function for; OSError where it fails."""
    ctypes.set_errno(0)
    found: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return found


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


if __name__ == "__main__":
    main()
