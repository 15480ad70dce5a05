"""The file system that packages are merged into, with the content of its files on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from mfbuild.debian.deb import Kind
from mfbuild.errors import Problem

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One path; a file's content is `size` bytes at `offset` of the spool.

    `owner` is the package that brought it; `ids` are uid and gid.
    """

    kind: Kind
    owner: str
    mode: int = 0o755
    target: str = ""
    offset: int = 0
    size: int = 0
    ids: tuple[int, int] = (0, 0)


class Tree:
    """Entries by path, relative to the root; contents are appended to `spool`."""

    def __init__(self, spool: BinaryIO) -> None:
        self.entries: dict[str, TreeEntry] = {}
        self._conflicts: list[Problem] = []
        self._spool = spool
        self._end = 0

    def add(self, path: str, entry: TreeEntry, content: Iterable[bytes] = ()) -> None:
        """Add a path; two packages may share one if they agree on all of it."""
        if entry.kind == "hardlink":
            entry = self._linked(path, entry)
        elif entry.kind == "file":
            entry = self._stored(entry, content)
        found = self.entries.setdefault(path, entry)
        if found is not entry and not self._agree(found, entry):
            self._conflict(path, found, entry)

    def add_missing(self, path: str, entry: TreeEntry, content: bytes = b"") -> None:
        """Add a path unless a package brings it."""
        if path not in self.entries:
            self.add(path, entry, (content,))

    def content(self, entry: TreeEntry) -> Iterator[bytes]:
        """The content of a file, in pieces."""
        for at in range(entry.offset, entry.offset + entry.size, _PIECE):
            self._spool.seek(at)
            yield self._spool.read(min(_PIECE, entry.offset + entry.size - at))

    def problems(self) -> list[Problem]:
        """The paths that two packages disagree on, and those below something not a directory."""
        found = list(self._conflicts)
        for path, entry in self.entries.items():
            above = path
            while above := above.rpartition("/")[0]:
                parent = self.entries.get(above)
                if parent and parent.kind != "directory":
                    text = f"`/{path}` of `{entry.owner}` is below the {parent.kind} `/{above}`"
                    found.append(Problem(f"{text} of `{parent.owner}`"))
        return found

    def _stored(self, entry: TreeEntry, content: Iterable[bytes]) -> TreeEntry:
        offset = self._end
        for piece in content:
            self._spool.seek(self._end)
            self._end += self._spool.write(piece)
        return replace(entry, offset=offset, size=self._end - offset)

    def _linked(self, path: str, entry: TreeEntry) -> TreeEntry:
        """A second name of a file becomes a file of its own; the spool holds its content once."""
        target = self.entries.get(entry.target)
        if target and target.kind == "file" and target.owner == entry.owner:
            return target
        text = f"`/{path}` of `{entry.owner}` is a hard link to `/{entry.target}`, not a file of it"
        self._conflicts.append(Problem(text))
        return entry

    def _agree(self, one: TreeEntry, other: TreeEntry) -> bool:
        if replace(one, owner=other.owner, offset=other.offset) != other:
            return False
        pairs = zip(self.content(one), self.content(other), strict=True)
        return all(a == b for a, b in pairs)

    def _conflict(self, path: str, one: TreeEntry, other: TreeEntry) -> None:
        names = f"`{one.owner}` and `{other.owner}`"
        self._conflicts.append(Problem(f"the packages {names} disagree on `/{path}`"))
