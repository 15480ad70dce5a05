"""Collects what has not been used for long, or the oldest until the store is small enough."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mfbuild.engine.store import Store, remove_tree, store_error

TREES = ("roots/layers", "roots/images", "roots/pyc", "roots/loader", "toolbox")
"""What is laid out to run flows, each folder in them as one thing; its mtime says its last use."""

SEALS = "roots/seals"
"""The seal of a layer or an image, `<kind>-<digest>`."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did: bytes freed, bytes kept, and how many files were removed."""

    freed: int
    kept: int
    removed: int


def collect(store: Store, *, max_size: int | None, max_age: float | None, now: float) -> Collected:
    """Remove the least recently used until at most `max_size` bytes and `max_age` seconds remain.

    Uses are noted to the hour. `now` is in seconds since the epoch. StoreError if another process
    has the store open.

    Blobs, results and history go by the same order. So the result of an action that is still
    looked up survives its blobs: it is what gives the actions after it their keys, and without it
    they would all run again.
    """
    freed = kept = removed = 0
    with store.exclusive():
        store.sweep()
        entries = sorted(_entries(store.root))
        kept = sum(size for _, _, size in entries)
        for used, path, size in entries:
            too_old = max_age is not None and now - used > max_age
            if not too_old and (max_size is None or kept <= max_size):
                break
            try:
                if Path(path).is_dir():
                    remove_tree(Path(path))
                else:
                    Path(path).unlink(missing_ok=True)
            except OSError as error:
                raise store_error(error, Path(path)) from error
            freed, kept, removed = freed + size, kept - size, removed + 1
        _drop_seals(store.root)
    return Collected(freed, kept, removed)


def _drop_seals(root: Path) -> None:
    """Remove the seals of trees that are gone."""
    for seal in (root / SEALS).glob("*"):
        if not (root / "roots" / seal.name.replace("-", "/", 1)).exists():
            seal.unlink(missing_ok=True)


def _entries(root: Path) -> Iterator[tuple[float, str, int]]:
    """Every file and tree of the store: when it was last used, its path and its size in bytes."""
    for part in ("cas", "ac", "history"):
        for directory, _, names in os.walk(root / part):
            for path in (os.path.join(directory, name) for name in names):  # noqa: PTH118
                found = os.lstat(path)
                yield found.st_mtime, path, found.st_size
    for part in TREES:
        for tree in (root / part).glob("*"):
            yield tree.lstat().st_mtime, str(tree), _size(tree, owner=part == "roots/layers")


def _size(tree: Path, *, owner: bool) -> int:
    """The bytes of a tree; a file that has more names counts where its `owner` is, a layer."""
    found = 0
    for directory, _, names in os.walk(tree):
        for name in names:
            stat = os.lstat(os.path.join(directory, name))  # noqa: PTH118
            found += stat.st_size if owner or stat.st_nlink == 1 else 0
    return found
