"""Who is at a run: a lock that the kernel drops with the process that has it, and that one's pid.

Whoever takes, passes on or asks for the lock `<run>/lock` stands in the gate meanwhile, a lock on
the run's folder: so nobody who asks can be mistaken for somebody who runs, and a pid is never that
of a process before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mfbuild.errors import RunError
from mfbuild.files import write_atomically

LOCK, CANCEL = "lock", "cancel"
_NOT_YET = ""


def take(folder: Path, *, for_child: bool = False) -> int | None:
    """Lock a run and begin anew, for this process or for a child that will `adopt` the lock.

    The lock is free again when every copy of the descriptor is closed. None if another process has
    it; OSError.
    """
    with _gate(folder):
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / CANCEL).unlink(missing_ok=True)
            _write(lock, _NOT_YET if for_child else _name_of(os.getpid()))
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
    return lock


def adopt(folder: Path, lock: int) -> None:
    """Say that this process is at the run from now on, whose lock was taken for it; OSError."""
    with _gate(folder):
        _write(lock, _name_of(os.getpid()))


def is_held(folder: Path) -> bool:
    """Whether a process is at the run, or is about to be."""
    with _gate(folder):
        return _holder(folder) is not None


def cause_of(folder: Path) -> str | None:
    """Why the run is to end; None if nobody has asked for it."""
    try:
        return (folder / CANCEL).read_text()
    except FileNotFoundError:
        return None


def end(folder: Path, cause: str, number: signal.Signals = signal.SIGTERM) -> bool:
    """Ask whoever is at the run to end it, by a signal; False if nobody is.

    Where it is on another machine, or in another container, RunError says so.
    """
    with _gate(folder):
        holder = _holder(folder)
        if holder is None:
            return False
        pid, _, where = holder.partition(" ")
        if pid and where != _here():
            raise RunError(f"the run `{folder.name}` is running elsewhere: end it there")
        write_atomically(folder / CANCEL, cause.encode())
        if pid:  # else the one that is about to be will find the cause
            _signal(folder, holder, int(pid), number)
    return True


@contextmanager
def _gate(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holder(folder: Path) -> str | None:
    """What the process that has the lock wrote into it, None if it is free."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(lock, 1024, 0).decode()
    finally:
        os.close(lock)
    return None


def _signal(folder: Path, holder: str, pid: int, number: signal.Signals) -> None:
    """Signal a process that has the lock: one that it still has after we got hold of it."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError) as error:  # not Linux, or an old one
        if isinstance(error, OSError) and error.errno != errno.ENOSYS:
            raise
        os.kill(pid, number)
        return
    try:
        if _holder(folder) == holder:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _write(lock: int, text: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def _name_of(pid: int) -> str:
    return f"{pid} {_here()}"


def _here() -> str:
    """What tells this machine's processes from those of others, and of containers (Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116
    except OSError:
        return ""
