"""Reads binary packages (deb(5)) without trusting them."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Literal, TypeVar

from mfbuild.errors import FetchError
from mfbuild.oci.tar import MAX_TARGET, shortened, too_long

Kind = Literal["directory", "file", "symlink", "hardlink"]
T = TypeVar("T")

MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
"""The folders that are links into /usr on a merged-/usr system."""

_PIECE = 1 << 20
_MAX_CONTROL = 64 << 20
# xz -9 needs 65 MiB to unpack; a hostile header may ask for 4 GiB.
_MAX_MEMORY = 256 << 20
# What the files of a package may unpack to: none shrinks to a 200th of its size.
_MAX_RATIO, _MAX_SMALL = 200, 64 << 20
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_AR_HEADER = re.compile(rb"([ -~]{16})[ -~]{32}([0-9]{1,10}) {0,9}`\n")
_DAMAGE = (
    *(ValueError, EOFError, RecursionError, OverflowError),
    *(lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError),
)


@dataclass(frozen=True, slots=True)
class ArMember:
    """One entry of a package's file system archive.

    `path` is relative to the image root, inside it, and merged into /usr; `mode` is permission
    bits. A symlink's `target` is as written, a hardlink's is a `path`.
    """

    path: str
    kind: Kind
    mode: int
    target: str = ""


@dataclass(frozen=True, slots=True)
class Deb:
    """An open package; `sections` maps each ar member to its offset and size in `stream`.

    Reading raises FetchError where the package is damaged or could do harm.
    """

    name: str
    stream: BinaryIO
    sections: Mapping[str, tuple[int, int]]

    def control(self) -> str:
        """The text of its control file."""
        return b"".join(_guarded(self.name, _control(self))).decode("utf-8", "replace")

    def members(self) -> Iterator[tuple[ArMember, Iterator[bytes]]]:
        """Its files in the archive's order, each with its content in pieces.

        A content can be read until the next member is asked for. The last step checks that the
        archive is complete.
        """
        return _guarded(self.name, _members(self))


def open_deb(stream: BinaryIO, name: str) -> Deb:
    """The package in `stream`, which must be seekable; `name` is for messages; FetchError."""
    sections: dict[str, tuple[int, int]] = {}
    for member, place in _guarded(name, _sections(stream)):
        if sections.setdefault(member, place) != place:
            raise FetchError(f"the package `{name}` holds `{member}` twice")
    if next(iter(sections), None) != "debian-binary":
        raise FetchError(f"`{name}` is not a Debian package")
    return Deb(name, stream, sections)


def _guarded(name: str, items: Iterator[T]) -> Iterator[T]:
    try:
        yield from items
    except _DAMAGE as error:
        raise FetchError(f"the package `{name}` cannot be used: {error}") from error


def _sections(stream: BinaryIO) -> Iterator[tuple[str, tuple[int, int]]]:
    """The members of an ar archive, as deb(5) describes it."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(8) != b"!<arch>\n":
        raise ValueError("it is not an ar archive")
    at = 8
    while at < end:
        header = _AR_HEADER.fullmatch(stream.read(60))
        if not header:
            raise ValueError("it has a broken ar header")
        size = int(header[2])
        if at + 60 + size > end:
            raise EOFError("it is truncated")
        yield header[1].decode().rstrip(" ").rstrip("/"), (at + 60, size)
        at += 60 + size + size % 2
        stream.seek(at)


def _control(deb: Deb) -> Iterator[bytes]:
    source = _Unpacked(_pieces(deb, "control.tar"), _MAX_CONTROL)
    with tarfile.open(fileobj=source, mode="r:") as tar:
        for info in tar:
            if info.name.removeprefix("./") == "control" and info.isreg():
                yield from _content(tar, info)
                return
    raise ValueError("it has no control file")


def _members(deb: Deb) -> Iterator[tuple[ArMember, Iterator[bytes]]]:
    packed = max((size for _, size in deb.sections.values()), default=0)
    source = _Unpacked(_pieces(deb, "data.tar"), max(_MAX_SMALL, _MAX_RATIO * packed))
    seen: set[str] = set()
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="strict") as tar:
        for info in tar:
            name = info.name.removeprefix("./")
            if name in seen:
                raise ValueError(f"it holds `{name}` twice")
            seen.add(name)
            if name not in ("", ".") and not (info.issym() and name in MERGED):
                yield _member(info), _guarded(deb.name, _content(tar, info))
    source.finish()


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    reader = tar.extractfile(info) if info.isreg() else None
    return iter(partial(reader.read, _PIECE), b"") if reader else iter(())


def _member(info: tarfile.TarInfo) -> ArMember:
    path, mode = _inside(info.name), info.mode & 0o7777
    if info.isdir():
        return ArMember(path, "directory", mode)
    if info.islnk():
        return ArMember(path, "hardlink", mode, _inside(info.linkname))
    if info.issym():
        _check_target(path, info.linkname)
        return ArMember(path, "symlink", 0o777, info.linkname)
    if info.isreg() and not info.issparse() and info.size >= 0:
        return ArMember(path, "file", mode)
    raise ValueError(f"`{info.name}` is neither a plain file nor a directory nor a link")


def _inside(name: str) -> str:
    """`name` relative to the image root, merged into /usr; ValueError if it leads elsewhere."""
    path = name.removeprefix("./")
    if _CONTROL_CHARACTER.search(path) or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"`{name!a}` is not a path inside an image")
    path = f"usr/{path}" if path.partition("/")[0] in MERGED else path
    if too_long(path):
        raise ValueError(f"`{shortened(path)}` is too long for any file system")
    return path


def _check_target(path: str, target: str) -> None:
    """An absolute target is one inside the image; a relative one must not climb out of it."""
    depth = 0 if target.startswith("/") else path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            break
    if len(target.encode(errors="surrogateescape")) > MAX_TARGET:
        raise ValueError(f"`{path}` links to what is too long for any file system")
    if depth < 0 or not target or _CONTROL_CHARACTER.search(target):
        raise ValueError(f"`{path}` links to `{target!a}`, out of the image")


# Compression.


class _Section(io.RawIOBase):
    """A part of a file, as a file that can be read once."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream = stream
        self._left = size
        stream.seek(offset)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        return data


class _Unpacked(io.RawIOBase):
    """Unpacked pieces as the file that tarfile reads: forward only, and not beyond `limit`."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._limit = limit
        self._held = bytearray()
        self._at = 0
        self._last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _PIECE:
            raise ValueError("it has a tar header that is too large")
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        self._last = bytes(self._held[:size])
        del self._held[:size]
        self._at += len(self._last)
        if self._at > self._limit:
            raise ValueError(f"it unpacks to more than {self._limit} bytes")
        return self._last

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or position < self._at:
            raise ValueError("it has an entry that goes backwards")
        while self._at < position and self.read(min(position - self._at, _PIECE)):
            pass
        return self._at

    def finish(self) -> None:
        """Check that tarfile stopped at the end-of-archive block, not at a broken header."""
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise ValueError("it is truncated or has a broken tar header")
        while rest := self.read(_PIECE):
            if rest.strip(b"\0"):
                raise ValueError("it goes on after the end of its archive")


def _pieces(deb: Deb, prefix: str) -> Iterator[bytes]:
    """The unpacked bytes of the section `prefix`, `prefix.gz` or `prefix.xz`."""
    names = [name for name in deb.sections if name.startswith(prefix)]
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} members `{prefix}`")
    section = _Section(deb.stream, *deb.sections[names[0]])
    suffix = names[0].removeprefix(prefix)
    if suffix == ".xz":
        return _unxz(section)
    if suffix == ".gz":
        return iter(partial(gzip.GzipFile(fileobj=section).read, _PIECE), b"")
    if suffix == "":
        return iter(partial(section.read, _PIECE), b"")
    raise ValueError(f"its compression `{suffix}` is not supported, only gzip and xz are")


def _unxz(section: _Section) -> Iterator[bytes]:
    """One .xz stream, as dpkg-deb writes it."""
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
    while not unpack.eof:
        data = section.read(_PIECE) if unpack.needs_input else b""
        if unpack.needs_input and not data:
            raise EOFError("it is truncated")
        yield unpack.decompress(data, _PIECE)
    if unpack.unused_data or section.read(1):
        raise ValueError("it goes on after the end of its xz stream")
