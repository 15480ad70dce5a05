"""Seals: how the files of a folder looked when their content was last known to be right.

Whoever changes a file leaves another size, mtime, ctime or inode. So a folder that is as its seal
says need not be read again; one that is not may still be right, and is to be hashed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mfbuild.engine.kept import read_kept, write_kept


def seal(folder: Path, to: Path) -> None:
    """Write down in the file `to` how the files of `folder` look; OSError."""
    write_kept(to, _look(folder))


def is_sealed(folder: Path, by: Path) -> bool:
    """Whether the files of `folder` look as the seal `by` says; False where there is none."""
    try:
        return read_kept(by) == _look(folder)
    except (OSError, ValueError):
        return False


def _look(folder: Path) -> bytes:
    return b"\n".join(sorted(_lines(os.fsencode(folder))))


def _lines(folder: bytes, below: bytes = b"") -> Iterator[bytes]:
    with os.scandir(folder + b"/" + below) as entries:
        for entry in entries:
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _lines(folder, path + b"/")
            else:
                at = entry.stat(follow_symlinks=False)
                stats = (at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino, at.st_mode)
                yield b"%d %d %d %d %o " % stats + path
