"""The inputs of a running action: blobs of the store, and files used where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mfbuild.engine.model import Blob, Source
from mfbuild.engine.store import Store, blob_of, read_chunks
from mfbuild.errors import ActionError
from mfbuild.files import words_of


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An InputBlob in the store. `check` raises Interrupted when the build is cancelled."""

    blob: Blob
    store: Store
    check: Callable[[], None]

    def path(self) -> Path:
        self.check()
        return self.store.verified(self.blob)

    def chunks(self) -> Iterator[bytes]:
        for chunk in self.store.chunks(self.blob):
            self.check()
            yield chunk

    def read(self) -> bytes:
        return b"".join(self.chunks())


@dataclass(slots=True)
class FileInput:
    """An InputBlob that is a file of the user's; ActionError if it is not as it was hashed."""

    blob: Blob
    file: Path
    check: Callable[[], None]
    _stamp: tuple[int, ...] | None = field(default=None, init=False)

    @classmethod
    def of(cls, source: Source, check: Callable[[], None]) -> FileInput:
        """The input that a `file:` source is."""
        return cls(source.blob, Path(source.locator.removeprefix("file:")), check)

    def path(self) -> Path:
        self.check()
        try:
            self._stamp = _stamp(self.file)
            found = blob_of(self.file)
        except OSError as error:
            raise self._unreadable(error) from error
        if found != self.blob:
            raise self._changed()
        return self.file

    def chunks(self) -> Iterator[bytes]:
        found = hashlib.sha256()
        try:
            for chunk in read_chunks(self.file):
                self.check()
                found.update(chunk)
                yield chunk
        except OSError as error:
            raise self._unreadable(error) from error
        if found.hexdigest() != self.blob.digest.hex:
            raise self._changed()

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def settle(self) -> None:
        """Raise ActionError if the file was written to since its path was given out."""
        try:
            same = self._stamp is None or self._stamp == _stamp(self.file)
        except OSError as error:
            raise self._unreadable(error) from error
        if not same:
            raise self._changed()

    def _changed(self) -> ActionError:
        return ActionError(f"`{self.file}` changed during the build", hint="run the build again")

    def _unreadable(self, error: OSError) -> ActionError:
        return ActionError(f"cannot read `{self.file}`: {words_of(error)}")


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
