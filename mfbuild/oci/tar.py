"""Layers: a deterministic tar written as gzip members, its diffID and its paths, in one pass."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from mfbuild.engine.model import Digest, Work, canonical
from mfbuild.errors import ActionError, FetchError
from mfbuild.oci.gzip import HEADER, packed_member, trailer
from mfbuild.oci.types import LayerInfo

OUTPUTS = ("info", "layer", "paths")
"""What every layer-making tool produces, see `layer_outputs`."""

HASHED = 1 << 16
"""Up to this size each file is hashed by itself, besides with its layer.

Nearly all that packages share is that small, and to hash the rest twice would cost a sixth more.
"""

PIECE = 1 << 20
_BLOCK = 512
_TICK = 1 << 18
_INFLATED = 1 << 18  # what a level 2 cache holds while it is hashed
_ROOT = (0, 0)


@contextmanager
def layer_outputs(work: Work, comment: str) -> Iterator[LayerWriter]:
    """A writer whose layer becomes the outputs of `work`.

    `layer` is the tar+gzip; `info` is canonical JSON of its LayerInfo; `paths` has a line
    `<path>\\t<content>\\t<mode>\\t<owner>` for each file and symlink, sorted bytewise by path, in
    UTF-8. The mode is octal; the content is `-> <target>`, `<size>:<sha256>`, or `<size>:<crc32>`
    of a file above HASHED, which tells what differs but proves nothing equal (`same_content`).
    """
    with work.outputs["layer"].open("wb") as out:
        writer = LayerWriter(out, work.tick)
        yield writer
        diff_id = writer.close()
    info = canonical(LayerInfo(diff_id=diff_id, comment=comment).json())
    work.outputs["info"].write_bytes(info.encode())
    work.outputs["paths"].write_bytes("".join(writer.paths).encode())


class LayerWriter:
    """Writes the entries of one layer to `out`, in strictly increasing bytewise order of path.

    Paths are relative to the image root, with `/`, without one at the end. Directories above an
    entry are added where they are missing (mode 0755, root). All times are 0, user and group names
    are empty. `ids` are uid and gid; `owner` names the package that an entry comes from, for
    messages about collisions.

    ActionError for a path that cannot be in an image, or that lies below a file; a wrong order is
    a bug of the caller.
    """

    def __init__(self, out: BinaryIO, tick: Callable[[int], None]) -> None:
        self.paths: list[str] = []
        self._out = out
        self._tick = tick
        self._unticked = 0
        self._diff_id = hashlib.sha256()
        self._last = b""
        self._directories = {""}
        self._contents: dict[str, str] = {}
        self._pending = bytearray()  # of the tar, not written yet

    def directory(self, path: str, mode: int = 0o755, *, ids: tuple[int, int] = _ROOT) -> None:
        """A directory."""
        self._enter(path)
        self._directories.add(path)
        self._add(_headers(path + "/", b"5", mode, ids))

    def file(
        self,
        path: str,
        data: bytes,
        mode: int = 0o644,
        *,
        owner: str = "",
        ids: tuple[int, int] = _ROOT,
    ) -> None:
        """A file whose whole content is `data`."""
        self.stream(path, (data,), len(data), mode, owner=owner, ids=ids)

    def stream(
        self,
        path: str,
        chunks: Iterable[bytes],
        size: int,
        mode: int = 0o644,
        *,
        owner: str = "",
        ids: tuple[int, int] = _ROOT,
    ) -> None:
        """A file whose content comes in pieces; FetchError if they are not `size` bytes."""
        self._enter(path)
        self._add(_headers(path, b"0", mode, ids, size=size))
        sha256, crc32, done = hashlib.sha256(), 0, 0
        for chunk in chunks:
            if size <= HASHED:
                sha256.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            done += len(chunk)
            if done > size:
                break
            self._add(chunk)
        if done != size:
            raise FetchError(f"the content of `{path}` is not `{size}` bytes", where=owner or None)
        self._add(bytes(-size % _BLOCK))
        self._record(path, _content(size, crc32, sha256), mode, owner)

    def deflated(
        self,
        path: str,
        raw: Iterable[bytes],
        size: int,
        crc32: int,
        mode: int = 0o644,
        *,
        owner: str = "",
        ids: tuple[int, int] = _ROOT,
    ) -> None:
        """A file that is already deflated: the pieces of `raw` are copied into a member as is.

        FetchError unless they are exactly one DEFLATE stream of `size` bytes with this CRC-32;
        they are inflated once, in bounded pieces, for that and for the diffID.
        """
        self._enter(path)
        self._add(_headers(path, b"0", mode, ids, size=size))
        self._flush()
        sha256 = hashlib.sha256()
        seen = sha256.update if size <= HASHED else len
        if problem := self._transplant(raw, size, crc32, seen):
            raise FetchError(f"the content of `{path}` {problem}", where=owner or None)
        self._add(bytes(-size % _BLOCK))
        self._record(path, _content(size, crc32, sha256), mode, owner)

    def symlink(
        self, path: str, target: str, *, owner: str = "", ids: tuple[int, int] = _ROOT
    ) -> None:
        """A symbolic link."""
        if not target or _CONTROL.search(target):
            raise ActionError(f"`{path}` links to `{target}`", where=owner or None)
        self._enter(path)
        self._add(_headers(path, b"2", 0o777, ids, target=target))
        self._record(path, f"-> {target}", 0o777, owner)

    def hardlink(
        self,
        path: str,
        target: str,
        mode: int = 0o644,
        *,
        owner: str = "",
        ids: tuple[int, int] = _ROOT,
    ) -> None:
        """A second name of the file `target`, which is in this layer already."""
        assert target in self._contents, f"BUG: `{path}` links to `{target}`, not written yet"
        self._enter(path)
        self._add(_headers(path, b"1", mode, ids, target=target))
        self._record(path, self._contents[target], mode, owner)

    def brought(self, path: str, content: str, mode: int, owner: str) -> None:
        """Note what `owner` brings for the path that was just written."""
        self.paths.append(path_line(path, content, mode, owner))

    def close(self) -> Digest:
        """End the archive with two zero blocks; its diffID."""
        self._add(bytes(2 * _BLOCK))
        self._flush()
        self._tick(self._unticked)
        return Digest(self._diff_id.hexdigest())

    def _enter(self, path: str) -> None:
        """Check the path and its place, and add the directories above it that are missing."""
        key = _checked(path)
        assert key > self._last, f"BUG: `{path}` comes after `{self._last.decode()}`"
        self._last = key
        parent = path.rpartition("/")[0]
        if parent in self._directories:
            return
        parts = parent.split("/")
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[:depth])
            if above in self._contents:
                raise ActionError(f"`{above}` is not a directory, so `{path}` cannot be in it")
            if above not in self._directories:
                self._directories.add(above)
                self._add(_headers(above + "/", b"5", 0o755, _ROOT))

    def _record(self, path: str, content: str, mode: int, owner: str) -> None:
        self._contents[path] = content
        self.paths.append(path_line(path, content, mode, owner))

    def _add(self, data: bytes) -> None:
        """Append to the tar; members are cut at every full piece, however the data comes."""
        self._pending += data
        while len(self._pending) >= PIECE:
            self._write(self._pending[:PIECE])
            del self._pending[:PIECE]

    def _flush(self) -> None:
        if self._pending:
            self._write(self._pending)
        self._pending = bytearray()

    def _write(self, data: bytearray) -> None:
        self._count(data)
        self._out.write(packed_member(data))

    def _count(self, data: bytes | bytearray) -> None:
        self._diff_id.update(data)
        self._unticked += len(data)
        if self._unticked >= _TICK:
            self._tick(self._unticked)
            self._unticked = 0

    def _transplant(
        self, raw: Iterable[bytes], size: int, crc32: int, seen: Callable[[bytes], object]
    ) -> str | None:
        """Copy one DEFLATE stream as a member of its own; what is wrong with it, if anything.

        `seen` gets its content in pieces.
        """
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        done = actual = 0
        self._out.write(HEADER)
        for piece in raw:
            self._out.write(piece)
            full = True
            while full:
                limit = min(_INFLATED, size - done + 1)
                try:
                    data = inflate.decompress(piece, limit)
                except zlib.error:
                    return "cannot be inflated"
                actual = zlib.crc32(data, actual)
                seen(data)
                done += len(data)
                if done > size:
                    return f"is longer than the `{size}` bytes that are declared"
                self._count(data)
                full = len(data) == limit
                piece = inflate.unconsumed_tail
            if inflate.unused_data:
                return "goes on after the end of its DEFLATE stream"
        self._out.write(trailer(crc32, size))
        if not inflate.eof or done != size:
            return f"is shorter than the `{size}` bytes that are declared"
        return None if actual == crc32 else f"does not have the CRC-32 `{crc32:08x}`"


def same_content(one: str, other: str) -> bool | None:
    """Whether two contents of `paths` are the same; None where only their bytes can tell."""
    if one.startswith("-> ") or other.startswith("-> "):
        return one == other
    (size, hashed), (other_size, other_hashed) = one.split(":"), other.split(":")
    if size != other_size or (len(hashed) == len(other_hashed) and hashed != other_hashed):
        return False
    return True if len(hashed) == len(other_hashed) == 64 else None


def _content(size: int, crc32: int, sha256: hashlib._Hash) -> str:
    return f"{size}:{sha256.hexdigest()}" if size <= HASHED else f"{size}:{crc32:08x}"


def path_line(path: str, content: str, mode: int, owner: str) -> str:
    """A line of `paths`, see `layer_outputs`."""
    return f"{path}\t{content}\t{mode:o}\t{owner}\n"


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOWHERE = frozenset(("", ".", ".."))


def _checked(path: str) -> bytes:
    """`path` in UTF-8; ActionError if it may lead out of the image or cannot be listed."""
    if _CONTROL.search(path) or not _NOWHERE.isdisjoint(path.split("/")):
        raise ActionError(f"`{path}` is not a path inside an image")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ActionError(f"`{path!a}` is not UTF-8") from None
    if too_long(path):
        raise ActionError(f"`{shortened(path)}` is too long for any file system")
    return encoded


MAX_NAME, MAX_TARGET = 255, 4095
"""The bytes of a file's name, and of a path or a link's target (limits.h: NAME_MAX, PATH_MAX)."""


def too_long(path: str) -> bool:
    """Whether no node can lay down a file at `path`, which is relative to the image root."""
    encoded = path.encode(errors="surrogateescape")
    return len(encoded) >= MAX_TARGET or any(len(p) > MAX_NAME for p in encoded.split(b"/"))


def shortened(path: str) -> str:
    """The beginning of a path that is too long to be shown."""
    return path if len(path) <= 80 else f"{path[:80]}…"


def _headers(
    path: str, kind: bytes, mode: int, ids: tuple[int, int], *, size: int = 0, target: str = ""
) -> bytes:
    """The USTAR header of an entry, after a PAX one with just what USTAR cannot say (POSIX pax)."""
    name, link = path.encode(), target.encode()
    extended: dict[bytes, bytes] = {}
    if len(link) > 100 or not link.isascii():
        extended[b"linkpath"], link = link, _placeholder(link)
    prefix, fitting = _split(name)
    if not fitting or not name.isascii():
        extended[b"path"], prefix, fitting = name, b"", _placeholder(name)
    if size >= 8**11:
        extended[b"size"], size = b"%d" % size, 0
    head = _ustar(fitting, prefix, kind, mode, ids, size, link)
    if not extended:
        return head
    records = b"".join(_pax_record(*item) for item in sorted(extended.items()))
    pax = _ustar(b"PaxHeaders", b"", b"x", 0o644, _ROOT, len(records), b"")
    return pax + records + bytes(-len(records) % _BLOCK) + head


def _placeholder(name: bytes) -> bytes:
    """What a reader without PAX sees instead of `name`."""
    return name.decode().encode("ascii", "replace")[-100:].lstrip(b"/")


def _split(name: bytes) -> tuple[bytes, bytes]:
    """`name` as USTAR's prefix and name fields; an empty name if it does not fit into them."""
    if len(name) <= 100:
        return b"", name
    at = name.find(b"/", len(name) - 101)
    return (name[:at], name[at + 1 :]) if 0 < at <= 155 else (b"", b"")


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts its own digits."""
    body = b" %s=%s\n" % (key, value)
    length = len(body) + 1
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return b"%d%s" % (length, body)


def _ustar(
    name: bytes,
    prefix: bytes,
    kind: bytes,
    mode: int,
    ids: tuple[int, int],
    size: int,
    link: bytes,
) -> bytes:
    """One header block (POSIX pax, ustar interchange format) with mtime 0."""
    head = struct.pack(
        "100s24s12s12s8s1s100s8s80s155s12x",
        name,
        b"%07o\0%07o\0%07o\0" % (mode, *ids),
        b"%011o\0" % size,
        b"00000000000\0",
        b"        ",
        kind,
        link,
        b"ustar\00000",
        b"",
        prefix,
    )
    return b"%s%06o\0 %s" % (head[:148], sum(head), head[156:])
