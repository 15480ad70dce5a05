"""OCI image layouts: read from a directory or from a tar of one, and written atomically."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mfbuild.engine.foreign import parse_json
from mfbuild.engine.model import Blob, Digest, canonical
from mfbuild.errors import BundleError
from mfbuild.files import disk_errors, locked, words_of
from mfbuild.oci.types import INDEX_TYPES, MANIFEST_TYPES, Descriptor

MARKER = "oci-layout"
MARKER_JSON = canonical({"imageLayoutVersion": "1.0.0"}).encode()
INDEX = "index.json"
BLOBS = "blobs/sha256/"
MAX_DOCUMENT = 4 << 20
"""Manifests, indexes and configs are read whole up to here (distribution-spec: 4 MiB)."""

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the content of one file is: `size` bytes from `offset` on in the file `path`."""

    path: Path
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB; it ends early if the file is cut short."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (chunk := file.read(min(PIECE, left))):
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that this process has hashed, and that nobody writes to."""

    path: Path


Content = Path | Extent | Hashed | bytes
"""Where a blob that is to be written comes from."""


@dataclass(frozen=True, slots=True)
class Layout:
    """An OCI image layout (image-spec, image-layout.md) that is there to be read.

    `files` has every regular file by its name with `/`; `strays` names what is not a plain file
    inside the layout: symlinks, devices, names that lead out of it or are there twice.
    """

    path: Path
    files: Mapping[str, Extent]
    strays: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Layout:
        """Read what is in the directory or tar `path`; BundleError if it is no layout."""
        files: dict[str, Extent] = {}
        strays: list[str] = []
        if path.is_fifo():  # which would be waited for
            raise BundleError(f"`{path}` is not an OCI image layout: it is a pipe")
        try:
            for name, extent in _in_directory(path) if path.is_dir() else _in_tar(path):
                if extent is None or name in files:
                    strays.append(name)
                else:
                    files[name] = extent
        except OSError as error:
            raise BundleError(f"`{path}` is not an OCI image layout: {words_of(error)}") from error
        if MARKER not in files:
            raise BundleError(f"`{path}` is not an OCI image layout: it has no `{MARKER}`")
        return cls(path, files, tuple(strays))

    def read(self, name: str) -> bytes:
        """The whole of a small file; BundleError if it is missing or larger than 4 MiB."""
        extent = self.files.get(name)
        if extent is None:
            raise BundleError(f"`{name}` is missing", where=str(self.path))
        if extent.size > MAX_DOCUMENT:
            raise BundleError(f"`{name}` has `{extent.size}` bytes", where=str(self.path))
        return b"".join(extent.chunks())

    def index(self) -> tuple[Descriptor, ...]:
        """The descriptors of index.json; BundleError if it cannot be read."""
        document = json_object(self.read(INDEX), INDEX)
        return _descriptors(document, "manifests", INDEX)

    def manifest(self, digest: Digest) -> bytes:
        """The manifest or index with this digest; BundleError if it is missing or changed."""
        return self.blob(digest)

    def blob(self, digest: Digest) -> bytes:
        """A small blob; BundleError if it is missing or changed."""
        data = self.read(blob_name(digest))
        if Digest.of(data) != digest:
            raise BundleError(f"blob `{digest}` has changed", where=str(self.path))
        return data

    def chunks(self, blob: Blob | Descriptor) -> Iterator[bytes]:
        """A blob in pieces of at most 1 MiB; BundleError before the last one if it has changed."""
        extent = self.files.get(blob_name(blob.digest))
        if extent is None:
            raise BundleError(f"blob `{blob.digest}` is missing", where=str(self.path))
        changed = BundleError(f"blob `{blob.digest}` has changed", where=str(self.path))
        return verified(extent.chunks(), blob, changed)


def verified(pieces: Iterable[bytes], blob: Blob | Descriptor, wrong: Exception) -> Iterator[bytes]:
    """`pieces`; the last one only if all of them are what `blob` promises, else raises `wrong`."""
    digest, left = hashlib.sha256(), blob.size
    for piece in pieces:
        digest.update(piece)
        left -= len(piece)
        if left < 0 or (left == 0 and digest.hexdigest() != blob.digest.hex):
            raise wrong
        yield piece
    if left or digest.hexdigest() != blob.digest.hex:
        raise wrong


def blob_name(digest: Digest) -> str:
    """Where a layout keeps the blob: `blobs/sha256/<hex>`."""
    return f"{BLOBS}{digest.hex}"


def blob_named(name: str) -> Digest | None:
    """The digest that the file `name` of a layout is to have; None for what is no blob."""
    try:
        return Digest(name.removeprefix(BLOBS)) if name.startswith(BLOBS) else None
    except ValueError:
        return None


def children(media_type: str, document: bytes, name: str) -> tuple[Descriptor, ...]:
    """What an index or a manifest refers to, a manifest's config first; nothing for other blobs.

    BundleError, with `name` as the thing that is wrong, if `document` is not of its media type.
    """
    if media_type in INDEX_TYPES:
        return _descriptors(json_object(document, name), "manifests", name)
    if media_type in MANIFEST_TYPES:
        value = json_object(document, name)
        config = _descriptors({"config": [value.get("config")]}, "config", name)
        return config + _descriptors(value, "layers", name)
    return ()


def reachable(
    read: Callable[[Descriptor], bytes], roots: Iterable[Descriptor]
) -> Iterator[Descriptor]:
    """Each descriptor that `roots` lead to, itself included, the first for every digest.

    `read` gives the bytes of an index or manifest.
    """
    waiting, seen = list(roots), set[Digest]()
    while waiting:
        descriptor = waiting.pop(0)
        if descriptor.digest in seen:
            continue
        seen.add(descriptor.digest)
        yield descriptor
        if descriptor.media_type in (*INDEX_TYPES, *MANIFEST_TYPES):
            waiting += children(descriptor.media_type, read(descriptor), str(descriptor.digest))


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """`data` as a JSON object; BundleError naming `name` if it is anything else."""
    try:
        value = parse_json(data)
    except ValueError as error:
        raise BundleError(f"`{name}` is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"`{name}` is not a JSON object")
    return value


def write_layout(
    directory: Path,
    index: bytes,
    blobs: Mapping[Digest, Content],
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a layout with this index.json, these blobs and more `files` at its root.

    It appears under its name only when it is whole; one that is there with the same content is
    kept, another one is replaced. A read-only blob (0444) is hard-linked where that is possible;
    others are copied. BundleError if a blob is missing or not what its digest promises, or if
    the disk refuses.
    """
    small = {MARKER: MARKER_JSON, INDEX: index, **(files or {})}
    if _holds(directory, small, blobs):
        return directory
    refused = disk_errors(BundleError, f"writing `{directory}`", directory)
    with refused, locked(directory.parent / ".lock"):
        if not _holds(directory, small, blobs):
            _replace(directory, small, blobs)
    return directory


def _in_directory(root: Path) -> Iterator[tuple[str, Extent | None]]:
    waiting = [""]
    while waiting:  # not by recursion: a stranger's folders may be as deep as paths can be long
        prefix = waiting.pop()
        for entry in os.scandir(root / prefix):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, Extent(Path(entry.path), 0, entry.stat(follow_symlinks=False).st_size)
            else:
                yield name, None


def _in_tar(path: Path) -> Iterator[tuple[str, Extent | None]]:
    import tarfile

    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise BundleError(f"`{path}` is not an OCI image layout: it is no tar") from error
    for member in members:
        name = PurePosixPath(member.name)
        inside = not name.is_absolute() and ".." not in name.parts
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not (inside and member.isdir()):
            extent = Extent(path, member.offset_data, member.size) if inside and plain else None
            yield str(name), extent


def _descriptors(value: Mapping[str, Any], field: str, name: str) -> tuple[Descriptor, ...]:
    try:
        return tuple(Descriptor.parse(item) for item in value[field])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"`{name}` has no valid `{field}`") from error


def _holds(directory: Path, small: Mapping[str, bytes], blobs: Mapping[Digest, Content]) -> bool:
    """Whether `directory` is the layout of these files and blobs, compared by content."""
    if not (directory / MARKER).is_file():
        return False
    expected = {name: Digest.of(data) for name, data in small.items()}
    expected |= {blob_name(digest): digest for digest in blobs}
    try:
        layout = Layout.open(directory)
        return (
            not layout.strays
            and layout.files.keys() == expected.keys()
            and all(_digest(layout.files[n].chunks()) == d for n, d in expected.items())
        )
    except (BundleError, OSError):
        return False


def _replace(directory: Path, small: Mapping[str, bytes], blobs: Mapping[Digest, Content]) -> None:
    """Build the layout beside `directory` and move it there; the caller holds the lock."""
    import shutil
    import tempfile

    beside = f".{directory.name}."
    for leftover in directory.parent.iterdir():
        if leftover.name.startswith(beside):
            shutil.rmtree(leftover)
    temporary = Path(tempfile.mkdtemp(prefix=beside, dir=directory.parent))
    try:
        fresh = temporary / "new"
        _fill(fresh, small, blobs)
        if directory.exists():
            directory.rename(temporary / "old")
        fresh.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(root: Path, small: Mapping[str, bytes], blobs: Mapping[Digest, Content]) -> None:
    for folder in (root, root / "blobs", root / "blobs" / "sha256"):
        folder.mkdir()
        folder.chmod(0o755)
    for name, data in small.items():
        _write(root / name, (data,), 0o644)
    for digest, source in blobs.items():
        _place(root / blob_name(digest), digest, source)


def _place(target: Path, digest: Digest, source: Content) -> None:
    """Put one verified blob at `target`."""
    file = source.path if isinstance(source, Hashed) else source
    if isinstance(file, bytes):
        found = _write(target, (file,), 0o444)
    elif isinstance(file, Extent):
        found = _write(target, file.chunks(), 0o444)
    elif not file.is_file():
        raise BundleError(f"blob `{digest}` is missing", where=str(file))
    elif not _linked(file.resolve(), target):
        found = _write(target, Extent(file, 0, file.stat().st_size).chunks(), 0o444)
    elif isinstance(source, Hashed):
        found = digest
    else:
        found = _digest(Extent(target, 0, target.stat().st_size).chunks())
    if found != digest:
        raise BundleError(f"blob `{digest}` has changed: it is `{found}`", where=str(file))


def _linked(source: Path, target: Path) -> bool:
    """Whether `target` is now a hard link; a file that its owner may write to is never shared."""
    if source.stat().st_mode & 0o777 != 0o444:
        return False
    try:
        os.link(source, target)
    except OSError:  # another file system, too many links, or links forbidden: copy instead
        return False
    return True


def _write(target: Path, chunks: Iterable[bytes], mode: int) -> Digest:
    """Write a file with `mode`, whatever the umask; the digest of what was written."""
    digest = hashlib.sha256()
    with target.open("xb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        os.fchmod(file.fileno(), mode)
    return Digest(digest.hexdigest())


def _digest(chunks: Iterable[bytes]) -> Digest:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return Digest(digest.hexdigest())
