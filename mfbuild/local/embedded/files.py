"""The folder of the embedded backend: names as paths, one lock, and files that appear whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from mfbuild.engine.store import remove_tree
from mfbuild.errors import FlyteError
from mfbuild.files import disk_errors, locked, make_folder, write_atomically

FLYTE = ".mfbuild/flyte"
BUNDLES, SEALS, BLOBS, TMP, LOCK = "bundles", "seals", "blobs", "tmp", "lock"
_OWN = (BUNDLES, SEALS, BLOBS, TMP, LOCK)


@dataclass(frozen=True, slots=True)
class BackendFiles:
    """The folder `.mfbuild/flyte` of one workspace. Readers need no lock, whoever they are.

    What is being written lies in `tmp/`, below the lock: what somebody who has the lock finds
    there is of a process that was killed.
    """

    root: Path

    def path(self, *names: str) -> Path:
        """The path below the root that stands for `names`, and for no others."""
        return self.root.joinpath(*map(component, names))

    def projects(self) -> dict[str, tuple[str, ...]]:
        """The projects that something is registered in, each with its domains."""
        found = (name for name in _names(self.root) if name not in _OWN)
        return {unquote(name): self._domains(name) for name in found}

    def _domains(self, project: str) -> tuple[str, ...]:
        return tuple(map(unquote, _names(self.root / project)))

    @contextmanager
    def locked(self) -> Iterator[Path]:
        """Alone, of all threads and processes; gives a folder for what is not whole yet."""
        with explained(self.root):
            make(self.root)
            with locked(self.root / LOCK):
                yield self._swept()

    def create(self, path: Path, data: bytes, whole: Callable[[], bool]) -> bool:
        """Write a file that nobody is to change; False if there is a `whole` one of its name."""
        with self.locked() as scratch:
            if whole():
                return False
            place(path, data, scratch=scratch)
            return True

    def _swept(self) -> Path:
        scratch = self.root / TMP
        make(scratch)
        for leftover in scratch.iterdir():
            remove_tree(leftover) if leftover.is_dir() else leftover.unlink()
        return scratch


def component(text: str) -> str:
    """`text` as the name of a file that is hidden nowhere and is none of the backend's own.

    `unquote` gives it back. A flow `../x` is `%2E.%2Fx`.
    """
    quoted = quote(text, safe="")
    if quoted.startswith(".") or quoted in _OWN:
        return f"%{ord(quoted[0]):02X}{quoted[1:]}"
    return quoted


place = partial(write_atomically, mode=0o444, durable=True)
"""Put `data` at `path` for good, by way of `scratch`; OSError."""
make = partial(make_folder, durable=True)


def read(path: Path) -> bytes | None:
    """The content of `path`; None if there is no such file. FlyteError."""
    with explained(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


explained = partial(disk_errors, FlyteError, "the embedded backend cannot be used")
"""A disk that refuses is a backend that does."""


def _names(folder: Path) -> list[str]:
    """The folders in `folder`, by name."""
    with explained(folder):
        try:
            return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except FileNotFoundError:
            return []
