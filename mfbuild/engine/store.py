"""The content-addressed store on disk: blobs that are verified before use, shared by builds."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mfbuild.engine.model import Blob, Digest
from mfbuild.errors import StoreError
from mfbuild.files import hint_of, make_folder, words_of, write_atomically

CHUNK = 1 << 20
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
# A blob's mtime is when it was last used, to the hour: exact enough to collect the oldest, and a
# build that changes nothing writes next to nothing.
_USE_SECONDS = 3600

_READ_ONLY = "make it writable, or set XDG_CACHE_HOME to a folder that is"
_NO_LOCKS = "its file system has no locks: set XDG_CACHE_HOME to a folder on a local disk"
_HINTS = {
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOLCK: _NO_LOCKS,
    errno.ENOSYS: _NO_LOCKS,
    errno.ENOTSUP: _NO_LOCKS,
}


class BlobCorrupted(StoreError):
    """`blob` is not in the store, or its content there is not what its digest promises."""

    def __init__(self, blob: Blob, what: str) -> None:
        super().__init__(
            f"blob `{blob.digest}` is {what}",
            hint="run the build again: it makes the blob again; if this returns, check the disk",
        )
        self.blob = blob


def store_error(error: OSError, path: Path) -> StoreError:
    """`error`, met below `path`, as people should read it."""
    where = error.filename if isinstance(error.filename, str) else path
    hint = _HINTS.get(error.errno or 0) or hint_of(error)
    return StoreError(f"cannot use the store at `{where}`: {words_of(error)}", hint=hint)


def is_disk_trouble(error: OSError) -> bool:
    """Whether `error`, raised by code that writes below the store, is the disk's fault."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The content of `path` in pieces of at most 1 MiB."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def blob_of(path: Path) -> Blob:
    """The identity of the content of `path`."""
    found, size = hashlib.sha256(), 0
    for chunk in read_chunks(path):
        found.update(chunk)
        size += len(chunk)
    return Blob(Digest(found.hexdigest()), size)


class Store:
    """A directory of blobs, `cas/sha256/<2 hex>/<64 hex>`, beside the action cache's entries.

    Whoever has it open holds a shared lock, so that nothing is collected meanwhile. Everything is
    written to `tmp/` and renamed: a process that is killed leaves nothing but files there, which
    the next one to open the store alone removes.
    """

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self._lock = lock
        self._blobs = f"{root}/cas/sha256"
        self._verified: set[Digest] = set()

    @classmethod
    def open(cls, root: Path) -> Store:
        """The store at `root`, made if it does not exist; waits for a running gc. StoreError."""
        with _explained(root):
            for part in ("cas/sha256", "ac", "history", "tmp"):
                (root / part).mkdir(parents=True, exist_ok=True)
            store = cls(root, os.open(root / "lock", _LOCK_FILE, 0o666))
            try:
                # Alone here: whatever is in tmp/ belongs to nobody who lives.
                if _try_lock(store._lock):
                    store.sweep()
                fcntl.flock(store._lock, fcntl.LOCK_SH)
            except BaseException:
                store.close()
                raise
        return store

    def close(self) -> None:
        """Let others collect; the store is not usable afterwards."""
        os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, blob: Blob) -> bool:
        """Whether the blob is there (by size; its content is not read); notes that it is used."""
        name = self._name(blob.digest)
        with _explained(self.root):
            try:
                found = os.stat(name)  # noqa: PTH116 - a no-op build is mostly these calls
            except FileNotFoundError:
                return False
            note_use(name, found)
        return found.st_size == blob.size

    def path(self, blob: Blob) -> Path:
        """Where the blob is, if it is there."""
        return Path(self._name(blob.digest))

    def verified(self, blob: Blob) -> Path:
        """The blob's file, its content hashed once per process; BlobCorrupted."""
        path = self.path(blob)
        if blob.digest not in self._verified:
            with _explained(path):
                try:
                    found = blob_of(path)
                except FileNotFoundError:
                    raise BlobCorrupted(blob, "missing from the store") from None
            if found != blob:
                raise BlobCorrupted(blob, "damaged in the store")
            self._verified.add(blob.digest)
        return path

    def chunks(self, blob: Blob) -> Iterator[bytes]:
        """The blob's content in pieces, hashed on the way; BlobCorrupted at the end."""
        found = None if blob.digest in self._verified else hashlib.sha256()
        path = self.path(blob)
        with _explained(path):
            try:
                for chunk in read_chunks(path):
                    if found:
                        found.update(chunk)
                    yield chunk
            except FileNotFoundError:
                raise BlobCorrupted(blob, "missing from the store") from None
        if found:
            if found.hexdigest() != blob.digest.hex:
                raise BlobCorrupted(blob, "damaged in the store")
            self._verified.add(blob.digest)

    def add_file(self, path: Path) -> Blob:
        """Move `path`, a regular file below `temporary()`, into the store."""
        with _explained(path):
            _check_own(path)
            blob = blob_of(path)
        self.place(path, blob)
        return blob

    def place(self, path: Path, blob: Blob) -> None:
        """Move `path`, whose content was found to be `blob`, into the store."""
        with _explained(path):
            _check_own(path)
            path.chmod(0o444)
            os.utime(path)
            make_folder(self.path(blob).parent)
            path.replace(self.path(blob))
        self._verified.add(blob.digest)

    def discard(self, blob: Blob) -> None:
        """Remove the blob, damaged or not."""
        self._verified.discard(blob.digest)
        with _explained(self.root):
            self.path(blob).unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Write `data` to `path` (below `root`) atomically."""
        with _explained(path):
            write_atomically(path, data, mode=None, scratch=self.root / "tmp")

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """An empty directory on the store's disk, removed at the end."""
        path = self._new_name()
        with _explained(path):
            path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            remove_tree(path)

    @contextmanager
    def locked(self, digest: Digest, pause: Callable[[], None]) -> Iterator[None]:
        """Alone, of all threads and processes, with the work for `digest`.

        Calls `pause` between attempts. The kernel drops the lock of a process that dies.
        """
        name = self.root / "tmp" / f"{digest.hex}.lock"
        with _explained(name):
            lock = os.open(name, _LOCK_FILE, 0o666)
        try:
            while not _try_lock(lock):
                pause()
            yield
        finally:
            os.close(lock)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone with the store; StoreError if another process has it open."""
        if not _try_lock(self._lock):
            # A failed conversion may have lost the shared lock (flock(2)).
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            raise StoreError(
                f"the store at `{self.root}` is in use",
                hint="try again when no other mfbuild is running",
            )
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def sweep(self) -> None:
        """Remove what killed processes left; only for who is alone with the store."""
        for path in (self.root / "tmp").iterdir():
            with suppress(PermissionError):  # another user's: no harm, and not ours to remove
                if path.is_dir() and not path.is_symlink():
                    remove_tree(path)
                else:
                    path.unlink(missing_ok=True)

    def _name(self, digest: Digest) -> str:
        return f"{self._blobs}/{digest.hex[:2]}/{digest.hex}"

    def _new_name(self) -> Path:
        return self.root / "tmp" / os.urandom(12).hex()


def note_use(name: str, found: os.stat_result) -> None:
    """Make the mtime of the file `name`, whose stat is `found`, say that it is used now."""
    if time.time() - found.st_mtime > _USE_SECONDS:
        with suppress(OSError):  # another user's store, or a read-only one: nothing is lost
            os.utime(name)


def _check_own(path: Path) -> None:
    """A link would give a name in the store to a file that others may change."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise AssertionError(f"`{path}` is not a file of its own")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory as far as possible; a later sweep takes what is left."""
    import shutil  # 4 ms that a build with nothing to do should not pay

    shutil.rmtree(path, ignore_errors=True)
    if path.exists():  # it holds directories that may not be written to
        for directory, names, _ in os.walk(path):
            for inner in (Path(directory, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error
