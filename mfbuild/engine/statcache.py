"""A stat cache like git's index: files that have not changed are not hashed again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfbuild.engine.kept import read_kept, write_kept

# A file may change again within the granularity of its file system's clock (2 s on FAT) and keep
# its size and times: an entry is trusted only if the file was older than that when it was hashed.
GRANULARITY_NS = 2_000_000_000
_CHUNK = 1 << 20

_Stat = tuple[int, int, int, int]


class StatCache:
    """Maps an absolute path to the sha256 of its content, by size, mtime, ctime and inode."""

    def __init__(self, entries: Mapping[str, tuple[_Stat, int, str]] | None = None) -> None:
        """`entries`: path -> (stat, time_ns when hashing began, sha256 in hex)."""
        self._entries = dict(entries or {})
        self.changed = False
        self.damaged = False

    @classmethod
    def load(cls, path: Path) -> StatCache:
        """The cache saved at `path`; an empty one if that is missing, or `damaged`."""
        cache = cls()
        try:
            return cls.from_json(json.loads(read_kept(path)))
        except OSError:
            return cache
        except ValueError:
            cache.damaged = True
            return cache

    def save(self, path: Path) -> None:
        """Write the cache to `path` atomically, without the files that are gone; OSError."""
        self._entries = {p: e for p, e in self._entries.items() if os.path.lexists(p)}
        write_kept(path, json.dumps(self.to_json()).encode())
        self.changed = False

    @classmethod
    def from_json(cls, value: Any) -> StatCache:
        """The cache that `to_json` described; ValueError if `value` is anything else."""
        try:
            return cls({p: ((a, b, c, d), at, h) for p, (a, b, c, d, at, h) in value.items()})
        except (AttributeError, TypeError) as error:
            raise ValueError("not a stat cache") from error

    def to_json(self) -> dict[str, list[int | str]]:
        """The cache as a JSON value."""
        return {path: [*stat, at, digest] for path, (stat, at, digest) in self._entries.items()}

    def sha256(self, path: str | Path) -> str:
        """The sha256, in hex, of the file at `path` (links followed); OSError."""
        name = os.fspath(path)
        entry = self._entries.get(name)
        if entry is not None:
            stat, began, digest = entry
            newest = max(stat[1], stat[2])
            if newest < began - GRANULARITY_NS and stat == stat_of(name):
                return digest
        self.changed = True
        stat, began, digest = _hash(name)
        self._entries[name] = (stat, began, digest)
        return digest


def stat_of(path: str) -> _Stat:
    """(size, mtime_ns, ctime_ns, inode) of `path`, links followed; OSError."""
    return _tuple(os.stat(path))  # noqa: PTH116


def _hash(path: str) -> tuple[_Stat, int, str]:
    """Hash the file; a file that changes meanwhile gets a start time that is never trusted."""
    began = time.time_ns()
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123
        before = os.fstat(file.fileno())
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        after = os.fstat(file.fileno())
    settled = _tuple(before) == _tuple(after)
    return _tuple(after), began if settled else 0, digest.hexdigest()


def _tuple(stat: os.stat_result) -> _Stat:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
