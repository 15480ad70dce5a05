"""Seals: how the files of a folder looked when their content was last known to be right.

Whoever changes a file leaves another size, mtime, ctime or inode. So a folder that looks as its
seal says need not be read again; one that does not is to be read, or made again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR

from mfbuild.engine.kept import read_kept, write_kept

Look = Callable[[os.stat_result], bool]
"""Whether an entry of the folder is one that a seal is about."""


def files(at: os.stat_result) -> bool:
    """Everything but folders."""
    return not S_ISDIR(at.st_mode)


def names(at: os.stat_result) -> bool:
    """What tells which names there are: folders, and files that have no second name elsewhere.

    A file with more names looks new whenever it gains or loses one.
    """
    return S_ISDIR(at.st_mode) or at.st_nlink == 1


def seal(folder: Path, to: Path, look: Look = files) -> None:
    """Write down in the file `to` how `folder` looks; OSError."""
    write_kept(to, _seen(folder, look))


def is_sealed(folder: Path, by: Path, look: Look = files) -> bool:
    """Whether `folder` looks as the seal `by` says; False where there is none."""
    try:
        return read_kept(by) == _seen(folder, look)
    except (OSError, ValueError):
        return False


def _seen(folder: Path, look: Look) -> bytes:
    lines = sorted(_lines(str(folder), "", look))
    return "\n".join(lines).encode(errors="surrogateescape")


def _lines(folder: str, below: str, look: Look) -> Iterator[str]:
    with os.scandir(f"{folder}/{below}") as entries:
        for entry in entries:
            path, at = below + entry.name, entry.stat(follow_symlinks=False)
            if look(at):
                size = 0 if S_ISDIR(at.st_mode) else at.st_size
                yield f"{path}\0{size} {at.st_mtime_ns} {at.st_ctime_ns} {at.st_ino} {at.st_mode:o}"
            if S_ISDIR(at.st_mode):
                yield from _lines(folder, f"{path}/", look)
