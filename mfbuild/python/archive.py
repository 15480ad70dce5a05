"""The members of a zip archive that is not trusted, with where their raw bytes are in the file."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from mfbuild.errors import FetchError, Problem

STORED, DEFLATED = 0, 8

# An archive may not promise more than the larger of 1 GiB and 200 times its own size: more than
# any real wheel does, and little enough to read through. What a single member promises is held
# to while it is inflated.
MAX_TOTAL = 1 << 30
MAX_RATIO = 200

_PIECE = 1 << 18
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCH = 0x20
_UTF_8 = 0x800
_NOWHERE = frozenset(("", ".", ".."))
ODD = re.compile(r"[\x00-\x1f\x7f\\]")
"""Characters that no file name of a wheel has."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: `packed` raw bytes at `offset`, which hold `size` bytes.

    `index` is its place in the central directory.
    """

    index: int
    name: str
    method: int
    offset: int
    packed: int
    size: int
    crc32: int
    executable: bool

    def raw(self, file: BinaryIO) -> Iterator[bytes]:
        """The raw bytes in pieces, from the archive opened as `file`."""
        for at in range(self.offset, self.offset + self.packed, _PIECE):
            yield os.pread(file.fileno(), min(_PIECE, self.offset + self.packed - at), at)


def read_members(archive: ZipFile, file: Path, where: str) -> dict[str, Member]:
    """The files of `archive`, which was opened from `file`, by name; directories are left out.

    FetchError lists everything that no honest archive has: names that lead elsewhere, are there
    twice or are files and directories at once, devices, encryption, members that share
    bytes or that the central directory and their own header name differently, absurd sizes.
    """
    infos = archive.infolist()
    offsets, problems = _offsets(infos, file, archive.start_dir)
    problems += [f"`{info.orig_filename}` {bad}" for info in infos if (bad := _refused(info))]
    problems += _clashes(infos)
    total, limit = sum(i.file_size for i in infos), max(MAX_TOTAL, MAX_RATIO * file.stat().st_size)
    if total > limit:
        problems.append(f"its members claim to hold `{total}` bytes, more than `{limit}`")
    FetchError.raise_for([Problem(problem, where=where) for problem in problems])
    return {
        info.orig_filename: _member(index, info, offsets[index])
        for index, info in enumerate(infos)
        if not info.orig_filename.endswith("/")
    }


def _member(index: int, info: ZipInfo, offset: int) -> Member:
    """A link is a file that holds the name of its target, as it is for pip and uv."""
    mode = info.external_attr >> 16
    return Member(
        index=index,
        name=info.orig_filename,
        method=info.compress_type,
        offset=offset,
        packed=info.compress_size,
        size=info.file_size,
        crc32=info.CRC,
        executable=bool(mode & 0o111) and not stat.S_ISLNK(mode),
    )


def _refused(info: ZipInfo) -> str | None:
    """Why this member is not laid down by anyone, whatever the rest of the archive is."""
    # Not `filename`: it is cut at NUL, and newer Pythons take it from an extra field.
    name = info.orig_filename
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if ODD.search(name) or not _NOWHERE.isdisjoint(parts):
        return "is not a safe relative path"
    if info.flag_bits & (_ENCRYPTED | _PATCH):
        return "is encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK) and not (
        kind == stat.S_IFDIR and name.endswith("/")
    ):
        return "is a device or another special file"
    return None


def _clashes(infos: Iterable[ZipInfo]) -> list[str]:
    """Names that two members have, or that are those of a file and of a directory."""
    counts = Counter(info.orig_filename.rstrip("/") for info in infos)
    above: set[str] = set()
    for name in counts:
        while (name := name.rpartition("/")[0]) and name not in above:
            above.add(name)
    files = (i.orig_filename for i in infos if not i.orig_filename.endswith("/"))
    twice = [f"`{name}` is there twice" for name, count in counts.items() if count > 1]
    return twice + [f"`{name}` is a file and a directory" for name in files if name in above]


def _offsets(infos: list[ZipInfo], file: Path, end: int) -> tuple[list[int], list[str]]:
    """Where the raw bytes of each member start, and what is wrong with the local headers.

    Local headers (APPNOTE 4.3.7) give the offset and must agree with the central directory in
    whose name and by which method; sizes are the central directory's, since a local header
    may leave them to a data descriptor.
    """
    offsets = [0] * len(infos)
    problems: list[str] = []
    free = 0
    with file.open("rb", buffering=0) as opened:
        for index in sorted(range(len(infos)), key=lambda i: infos[i].header_offset):
            info = infos[index]
            size = _local_header_size(info, opened)
            if not size:
                problems.append(f"`{info.orig_filename}` has another name in its local header")
            elif info.header_offset < free:
                problems.append(f"`{info.orig_filename}` overlaps with another member")
            offsets[index] = info.header_offset + size
            free = max(free, offsets[index] + info.compress_size)
    return offsets, problems if free <= end else [*problems, "members overlap with the directory"]


def _local_header_size(info: ZipInfo, opened: BinaryIO) -> int:
    """The size of a member's local header; 0 if it is not one for this member."""
    name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF_8 else "cp437")
    if info.header_offset < 0:
        return 0
    head = os.pread(opened.fileno(), 30 + len(name), info.header_offset)
    if len(head) != 30 + len(name) or head[30:] != name:
        return 0
    signature, method, name_size, extra_size = struct.unpack("<4s4xH16xHH", head[:30])
    expected = (b"PK\3\4", info.compress_type, len(name))
    return 30 + name_size + extra_size if (signature, method, name_size) == expected else 0
