"""A cgroup of its own with little memory, as a pod has one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mfbuild.runtime.cgroups import folders


@dataclass(frozen=True)
class Memory:
    """A cgroup with a limit of memory; `folder` is where the kernel shows it."""

    folder: Path

    def enter(self) -> None:
        """Move the calling process into it."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int:
        """The most bytes that were in use at once."""
        names = ("memory.peak", "memory.max_usage_in_bytes")
        return int(next(f for n in names if (f := self.folder / n).exists()).read_text())


@contextmanager
def memory(name: str, limit: int) -> Iterator[Memory]:
    """Make a cgroup of `limit` bytes below this process's own; OSError where that cannot be.

    At the end, what is left in it is killed, as what is left in a container.
    """
    seen = (folder for folder in folders("memory", Path("/")) if folder.is_dir())
    folder = next(seen, Path("/sys/fs/cgroup")) / name
    folder.mkdir()
    try:
        version_2 = (folder / "cgroup.controllers").exists()
        file = folder / ("memory.max" if version_2 else "memory.limit_in_bytes")
        file.write_text(str(limit))
        yield Memory(folder)
    finally:
        _empty(folder)
        folder.rmdir()


def _empty(folder: Path) -> None:
    while left := (folder / "cgroup.procs").read_text().split():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
