"""Which mounts make up the file system of a sandbox: an image, and some of this machine's folders.

A folder of the machine has the same path inside. Nothing is made in the image, which is shared
and read-only: the root is an empty file system into which the image's entries are mounted one by
one, and one level deeper wherever a folder of the machine lies between them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_OF_THE_SANDBOX = ("/proc", "/dev")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of this machine that is seen at `path`; `source` is None if it is there.

    What `holds` others may have their places made in it: it is there for this sandbox alone.
    What is `mapped` is the sandbox's user's inside where it is the caller's outside.
    """

    path: str
    writable: bool = False
    source: str | None = None
    holds: bool = False
    mapped: bool = True


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing to make below the new root: a `directory`, a `link` to source, or a `bind` of it.

    A bind mount's target is a folder or an empty file, as its source is (`is_directory`). `place`
    is where that has to be made on this machine, "" below the new root.
    """

    kind: str
    path: str
    source: str = ""
    writable: bool = False
    is_directory: bool = True
    mapped: bool = True
    place: str = ""


def mounts_of(image: Path, binds: Sequence[Bind]) -> list[Mount]:
    """What to make, in order, for `image` (a laid out root file system) and `binds`.

    A bind wins over what the image has at its path, and over binds below it unless it holds
    them. `/proc` and `/dev` are left out: they are the sandbox's own.
    """
    wanted = {_clean(bind.path): bind for bind in binds}
    return [m for m in _below(image, "", wanted) if m.path not in _OF_THE_SANDBOX]


def _clean(path: str) -> str:
    return os.path.normpath(path).lstrip("/")


def _below(image: Path | None, prefix: str, binds: dict[str, Bind]) -> Iterator[Mount]:
    """What lies in the directory `prefix` (relative, "" is the root), of the image if given."""
    names = set[str]()
    if image and (image / prefix).is_dir() and not (image / prefix).is_symlink():
        names = {entry.name for entry in os.scandir(image / prefix)}
    start = f"{prefix}/" if prefix else ""
    names |= {p.removeprefix(start).split("/")[0] for p in binds if p.startswith(start)}
    for name in sorted(names):
        yield from _entry(image, f"{start}{name}", binds)


def _entry(image: Path | None, path: str, binds: dict[str, Bind]) -> Iterator[Mount]:
    own = binds.get(path)
    if own:
        source = own.source or f"/{path}"
        is_directory = Path(source).is_dir()
        yield Mount("bind", f"/{path}", source, own.writable, is_directory, own.mapped)
        if own.holds:
            for mount in _below(None, path, binds):
                yield replace(mount, place=mount.place or source + mount.path[len(path) + 1 :])
    elif any(other.startswith(f"{path}/") for other in binds):
        yield Mount("directory", f"/{path}")
        yield from _below(image, path, binds)
    elif image and (image / path).is_symlink():
        yield Mount("link", f"/{path}", str((image / path).readlink()))
    elif image:
        yield Mount("bind", f"/{path}", str(image / path), False, (image / path).is_dir())
