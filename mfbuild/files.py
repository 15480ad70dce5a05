"""Files that appear whole, and what the system says where it refuses, as people should read it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mfbuild.errors import MfbuildError

E = TypeVar("E", bound=MfbuildError)

_FULL = "free some space there or with `mfbuild gc --max-size 10G`"
_HINTS = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _FULL}


def write_atomically(
    path: Path,
    data: bytes | Iterable[bytes],
    *,
    mode: int | None = 0o600,
    durable: bool = False,
    scratch: Path | None = None,
) -> None:
    """Put `data` at `path`, whose folder is made, in one instant; OSError names `path`.

    Nothing is left behind, and what was at `path` stays, where that fails or `data` raises. `mode`
    holds whatever the umask is; None: what the umask leaves. A `durable` file outlives the
    machine's failure. Until it is whole the file lies in `scratch`, on the same disk, or hidden
    beside `path`, where a killed process leaves it.
    """
    make_folder(path.parent, durable=durable)
    name = f".{path.name}.{os.urandom(4).hex()}"
    temporary = path.with_name(name) if scratch is None else scratch / name
    try:
        with os.fdopen(os.open(temporary, _CREATE, 0o666 if mode is None else 0o600), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.writelines([data] if isinstance(data, bytes) else data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    if durable:
        sync(path.parent)


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def make_folder(folder: Path, *, durable: bool = False) -> None:
    """Make a folder and those above it; a `durable` one outlives the machine's failure. OSError."""
    if not durable:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        make_folder(folder.parent, durable=True)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Let the names in `folder` outlive the machine's failure; OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone, of all threads and processes, with what the file `path` stands for; OSError.

    The file and its folder are made. The kernel drops the lock of a process that dies.
    """
    import fcntl  # not on Windows, where this module is imported to say so

    make_folder(path.parent)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def words_of(error: Exception) -> str:
    """What went wrong in the system's words, without number and path: `no space left on device`.

    Other errors than OSError have words of their own.
    """
    said = error.strerror if isinstance(error, OSError) else None
    return said[:1].lower() + said[1:] if said else str(error) or type(error).__name__


def disk_error(kind: type[E], what: str, error: OSError, path: Path) -> E:
    """`error`, met at or below `path`, as a `kind` whose message begins with `what`."""
    where = error.filename if isinstance(error.filename, str) else str(path)
    return kind(f"{what}: {words_of(error)}", where=where, hint=hint_of(error))


def hint_of(error: OSError) -> str | None:
    """What to do where the disk is full; None if it is something else."""
    return _HINTS.get(error.errno) if error.errno is not None else None


@contextmanager
def disk_errors(kind: type[MfbuildError], what: str, path: Path) -> Iterator[None]:
    """Raise every OSError as the `kind` that `disk_error` makes of it."""
    try:
        yield
    except OSError as error:
        raise disk_error(kind, what, error, path) from error
