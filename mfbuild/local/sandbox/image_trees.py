"""Lays images out in the store: each layer unpacked once, each image a tree of hard links.

`roots/layers/<diffID>` holds a layer as it is, whiteouts included; `roots/images/<chainID>` a
stack of layers applied one on another (image-spec, layer.md). What is there is whole: trees are
made beside and renamed. Nobody may write to them; a file's inode is shared by all that hold it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mfbuild.bundle.read import Bundle
from mfbuild.engine.gc import SEALS
from mfbuild.engine.model import Digest
from mfbuild.engine.seal import Look, files, is_sealed, names, seal
from mfbuild.engine.store import Store
from mfbuild.errors import BundleError, RunError
from mfbuild.files import disk_error
from mfbuild.oci.layout import blob_name, children, json_object
from mfbuild.oci.types import IMAGE_INDEX, IMAGE_MANIFEST, Descriptor, Platform
from mfbuild.oci.validate import inflate
from mfbuild.report import counted

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_NO_NAMES = ("", ".", "..")  # after `.wh.`: `.wh...` would remove the folder above
_DEEPEST = 200  # what lays out and removes trees recurses
_LINKED_ELSEWHERE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer of an image: where its bytes are, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class StepImage:
    """One platform's image of a step: its layers, lowest first, and what its config says."""

    layers: tuple[StoredLayer, ...]
    env: tuple[str, ...]
    user: str

    @property
    def chain(self) -> Digest:
        """What the stack of layers is known by (image-spec, config.md, layer ChainID)."""
        found = self.layers[0].diff_id
        for layer in self.layers[1:]:
            found = Digest.of(f"{found} {layer.diff_id}".encode())
        return found


def step_image(bundle: Bundle, step: str, platform: Platform) -> StepImage:
    """The image of `step` in `bundle`; RunError if it is not there for `platform`."""
    index = bundle.manifest.steps[step].image.digest
    listed = children(IMAGE_INDEX, bundle.layout.manifest(index), str(index))
    found = next((d for d in listed if d.platform == platform), None)
    if found is None:
        there = ", ".join(str(d.platform) for d in listed)
        raise RunError(
            f"the image of step `{step}` is there for `{there}`, not for `{platform}`",
            hint=f"package with `--platform {platform}`, or run with `--in host`",
        )
    document = bundle.layout.manifest(found.digest)
    config, *layers = children(IMAGE_MANIFEST, document, str(found.digest))
    value = json_object(bundle.layout.blob(config.digest), str(config.digest))
    try:
        ids = [Digest.parse(text) for text in value["rootfs"]["diff_ids"]]
        pairs = tuple(StoredLayer(d, i) for d, i in zip(layers, ids, strict=True))
        settings = value.get("config") or {}
        return StepImage(
            pairs,
            tuple(settings.get("Env") or ()),
            settings.get("User") or "",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the config `{config.digest}` is not one of an image") from error


def lay_out(store: Store, bundle: Bundle, image: StepImage, note: Callable[[str], None]) -> Path:
    """The folder that holds the file system of `image`; made unless it is there, as it was made.

    `note` is told what is made, and what somebody has changed. BundleError if a layer is missing or
    is not what its diffID promises; StoreError if the disk refuses.
    """
    tree = _Tree(store, "images", image.chain)
    layers = [_Tree(store, "layers", layer.diff_id) for layer in image.layers]
    with tree.alone():
        intact = [layer.is_intact(note) for layer in layers]
        if not (tree.is_whole(names, note) and all(intact)):
            note(f"laying out an image of {counted(len(image.layers), 'layer')}")
            tree.remove()  # now: a name that goes makes a layer's file look new

            def fill(root: Path) -> None:
                for layer, part, is_intact in zip(image.layers, layers, intact, strict=True):
                    with part.alone():
                        if not (is_intact or part.is_sealed()):  # or made by others meanwhile
                            part.make(partial(_unpack, bundle, layer), files)
                        _apply(part.path, root)
                        part.seal(files)  # each of its files has one more name

            tree.make(fill, names)
    for used in (tree, *layers):
        os.utime(used.path)  # what gc goes by
    return tree.path


@dataclass(frozen=True, slots=True)
class _Tree:
    """A layer or an image as files, `roots/<kind>/<digest>`, and the seal that says how they look.

    An image's files are those of its layers: its own seal is about names, theirs about content.
    """

    store: Store
    kind: str
    digest: Digest

    @property
    def path(self) -> Path:
        return self.store.root / "roots" / self.kind / self.digest.hex

    @property
    def _seal(self) -> Path:
        return self.store.root / SEALS / f"{self.kind}-{self.digest.hex}"

    def alone(self) -> AbstractContextManager[None]:
        """Alone with the tree, of all threads and processes."""
        # Not by its digest alone: an image of one layer has that of the layer.
        lock = Digest.of(f"{self.kind} {self.digest}".encode())
        return self.store.locked(lock, lambda: time.sleep(0.05))

    def is_intact(self, note: Callable[[str], None]) -> bool:
        """`is_whole` of a layer, which somebody may be linking to."""
        with self.alone():
            return self.is_whole(files, note)

    def is_whole(self, look: Look, note: Callable[[str], None]) -> bool:
        """Whether the tree is there and as it was sealed; `note` is told if it is another one."""
        if not self.path.is_dir():
            return False
        if self.is_sealed(look):
            return True
        note(f"`{self.path}` is not as it was laid out: it is made again")
        return False

    def is_sealed(self, look: Look = files) -> bool:
        return is_sealed(self.path, self._seal, look)

    def make(self, fill: Callable[[Path], None], look: Look) -> None:
        """Make the tree by `fill`, read-only when it is whole, in place of one that is there."""
        with self.store.temporary() as scratch:
            root = scratch / "tree"
            root.mkdir()
            fill(root)
            _make_read_only(root)
            self.remove()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            root.rename(self.path)
            self.seal(look)

    def remove(self) -> None:
        """Remove the tree, if it is there."""
        if self.path.exists():
            with self.store.temporary() as scratch:
                self.path.rename(scratch / "tree")

    def seal(self, look: Look) -> None:
        seal(self.path, self._seal, look)


def _unpack(bundle: Bundle, layer: StoredLayer, root: Path) -> None:
    """Write the entries of a layer below `root`; BundleError if it is not what was promised."""
    extent = bundle.layout.files.get(blob_name(layer.descriptor.digest))
    if extent is None:
        raise BundleError(f"blob `{layer.descriptor.digest}` is missing")
    kind = layer.descriptor.media_type
    if kind.endswith((".tar+gzip", ".tar.gzip")):
        chunks = inflate(extent.chunks())
    elif kind.endswith(".tar"):
        chunks = extent.chunks()
    else:
        raise RunError(f"a layer is `{kind}`, which only `--in container` can run")
    stream = _LayerStream(chunks)
    what = f"layer `{layer.descriptor.digest}` cannot be unpacked"
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                _place(archive, member, root)
        stream.drain()
    except OSError as error:  # a full disk, or a name or a target that no disk takes
        raise disk_error(BundleError, what, error, root) from error
    except (tarfile.TarError, zlib.error, EOFError, ValueError, RecursionError) as error:
        raise BundleError(f"{what}: {error}") from error
    if stream.digest() != layer.diff_id:
        raise BundleError(
            f"layer `{layer.descriptor.digest}` is not the `{layer.diff_id}` it should be"
        )


class _LayerStream(io.RawIOBase):
    """Pieces as a file that is hashed while it is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held, self._hash = chunks, b"", hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._held) < size or size < 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._hash.update(chunk)
            self._held = self._held + chunk if self._held else chunk
        size = len(self._held) if size < 0 else size
        found, self._held = self._held[:size], self._held[size:]
        return found

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """One entry of a layer. Owners and special bits are dropped; devices are left out."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in member.name:
        raise BundleError(f"`{member.name}` leads out of the layer")
    if any(part.removeprefix(_WHITEOUT) in _NO_NAMES for part in parts):
        raise BundleError(f"`{member.name}` is a whiteout of no file")
    if len(parts) > _DEEPEST:
        shown = f"`{'/'.join(parts)[:80]}…`"
        raise BundleError(f"{shown} lies in {len(parts) - 1} folders: more than {_DEEPEST}")
    path = root
    for part in parts[:-1]:
        path = path / part
        _make_directory(path, member.name)
    if not parts:
        return
    path = path / parts[-1]
    if member.isdir():
        _make_directory(path, member.name)
        return
    if path.is_symlink() or path.exists():
        raise BundleError(f"`{member.name}` is in the layer twice")
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        _link(_target(root, member), path)
    elif content := archive.extractfile(member) if member.isreg() else None:
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
            os.fchmod(file.fileno(), member.mode & 0o555 | 0o400)


def _make_directory(path: Path, name: str) -> None:
    """A directory that is one itself: nothing is ever written through a link."""
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise BundleError(f"`{name}` lies below what is no directory") from None


def _target(root: Path, member: tarfile.TarInfo) -> Path:
    """The file of this layer that a hard link names."""
    parts = [part for part in member.linkname.split("/") if part not in ("", ".")]
    path = root
    for part in parts:
        path = path / part
        if part == ".." or path.is_symlink():
            raise BundleError(f"`{member.name}` is a link out of the layer")
    if not path.is_file():
        raise BundleError(f"`{member.name}` is a link to `{member.linkname}`, which is missing")
    return path


def _apply(layer: Path, root: Path) -> None:
    """Put the content of a layer onto what is below `root`."""
    entries = sorted(os.scandir(layer), key=lambda e: e.name)
    if any(entry.name == _OPAQUE for entry in entries):
        for below in list(root.iterdir()):
            _remove(below)
    for entry in entries:
        if entry.name.startswith(_WHITEOUT) and entry.name != _OPAQUE:
            _remove(root / entry.name.removeprefix(_WHITEOUT))
    for entry in entries:
        if not entry.name.startswith(_WHITEOUT):
            _apply_entry(Path(entry.path), root / entry.name)


def _apply_entry(source: Path, target: Path) -> None:
    mode = source.lstat().st_mode
    if stat.S_ISDIR(mode):
        if target.is_symlink():
            where = f"`{target.name}` is a link in a lower layer and a directory in a higher one"
            raise RunError(f"{where}, which only `--in container` can run")
        if not target.is_dir():
            _remove(target)
            target.mkdir()
        _apply(source, target)
        return
    _remove(target)
    if stat.S_ISLNK(mode):
        target.symlink_to(source.readlink())
    else:
        _link(source, target)


def _link(source: Path, target: Path) -> None:
    """A second name for `source`, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _LINKED_ELSEWHERE:
            raise
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _make_read_only(root: Path) -> None:
    """Take away the right to write into any directory."""
    for directory, _, _ in os.walk(root, topdown=False):
        os.chmod(directory, 0o555)  # noqa: PTH101
    root.chmod(0o755)  # a directory that is renamed must be writable (its `..` changes)
