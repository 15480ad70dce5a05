"""What the container may use, by the limits of its cgroups, and whether its memory ran out.

Versions 1 and 2 as the kernel documents them (admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 1 << 60
"""Bytes; version 1 has no word for no limit, and says the most that it can count."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What all processes of the container may use together; None where nothing limits it.

    memory in bytes, cpus in cores.
    """

    memory: int | None = None
    cpus: float | None = None


def limits(root: Path = Path("/")) -> Limits:
    """The limits that hold for this process: the least of its own cgroup's and of all above it.

    `root` holds the folders `proc` and `sys`.
    """
    memory = [_memory(folder) for folder in folders("memory", root)]
    cpus = [_cpus(folder) for folder in folders("cpu", root)]
    return Limits(
        min((found for found in memory if found is not None), default=None),
        min((found for found in cpus if found is not None), default=None),
    )


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes of this process's cgroup the kernel has killed for want of memory."""
    for folder in folders("memory", root):
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                lines = (folder / name).read_text(encoding="ascii").splitlines()
                return int(dict(line.split() for line in lines).get("oom_kill", 0))
    return 0


def folders(controller: str, root: Path) -> Iterator[Path]:
    """Where the process's cgroup of a controller may be seen, and those above it, up to the mount.

    A container may see its own cgroup in place of the mount's root, whatever its path is said to
    be; a path with `..` leads to one outside of the container's namespace.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = [".", "unified"]
        elif controller in controllers.split(","):
            mounts = [controllers, controller]
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts[1:] if part != ".."]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield root.joinpath("sys/fs/cgroup", mount, *parts[:depth])


def _memory(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # there is none, or it is `max`
            amount = int((folder / name).read_text(encoding="ascii"))
            return amount if amount < _UNLIMITED else None
    return None


def _cpus(folder: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii")
            for name in ("quota", "period")
        )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
