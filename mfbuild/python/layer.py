"""The tool `wheel.layer`: wheels as one layer, without compressing anything again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from zipfile import ZipFile

from mfbuild.engine.model import Work, canonical
from mfbuild.errors import FetchError
from mfbuild.oci.gzip import stored_blocks
from mfbuild.oci.image import PathEntry, check_paths
from mfbuild.oci.tar import PIECE, LayerWriter, layer_outputs
from mfbuild.python.archive import DEFLATED, STORED, Member
from mfbuild.python.wheel import DAMAGE, Entry, Scheme, read_wheel, required


@dataclass(frozen=True, slots=True)
class Laid:
    """The file at one path, and the wheel that it is of; all of `brought` if several bring it."""

    owner: str
    entry: Entry
    brought: tuple[Brought, ...] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """What one of several wheels brings for a path: `<size>:<sha256>`, and the mode."""

    owner: str
    content: str
    mode: int


def run(work: Work) -> None:
    """Lay down wheels as the outputs of `layer_outputs`; an owner is a wheel's file name.

    Parameters: `python` (`3.11`), `prefix` (`opt/venv`), `wheels` (the inputs, each named by its
    file name) and `comment`. A path that several wheels bring has a line more in `paths` for
    each of them, by its sha256. FetchError for a wheel that must not be installed, ActionError
    where a file of one is a directory of another. Output `requires` is JSON: for each wheel the
    names of packages that it requires.
    """
    scheme = Scheme(prefix=work.params["prefix"], python=work.params["python"])
    files = {name: work.inputs[name].path() for name in work.params["wheels"]}
    laid = merged(files, scheme)
    check_paths(PathEntry(each.entry.path, "", each.entry.mode, each.owner) for each in laid)
    with layer_outputs(work, work.params["comment"]) as writer:
        for name, group in groupby(laid, key=lambda laid: laid.owner):
            _write(writer, files[name], group)
    requires = {name: required(file, name) for name, file in files.items()}
    work.outputs["requires"].write_bytes(canonical(requires).encode())


def merged(files: Mapping[str, Path], scheme: Scheme) -> list[Laid]:
    """What is there once the wheels, by file name, are installed one by one; sorted by path.

    As by pip, the last one wins; the order is that of BUILD.lock, by file name. Of equal files the
    first is taken, so that what other wheels repeat changes no byte of a layer.
    """
    found: dict[str, list[tuple[str, Entry]]] = {}
    for name in sorted(files):
        for entry in read_wheel(files[name], name, scheme):
            found.setdefault(entry.path, []).append((name, entry))
    return [_settled(found[path], files) for path in sorted(found, key=str.encode)]


def _settled(owned: Sequence[tuple[str, Entry]], files: Mapping[str, Path]) -> Laid:
    if len(owned) == 1:
        return Laid(*owned[0])
    brought = tuple(Brought(n, _content(files[n], n, e), e.mode) for n, e in owned)
    same = [(one.content, one.mode) for one in brought]
    return Laid(*owned[same.index(same[-1])], brought)


def _content(wheel: Path, owner: str, entry: Entry) -> str:
    """`<size>:<sha256>` of an entry: whoever makes a wheel chooses its CRC-32 as well."""
    if isinstance(entry.content, bytes):
        return f"{entry.size}:{hashlib.sha256(entry.content).hexdigest()}"
    found = hashlib.sha256()
    for piece in _inflated(wheel, entry.content, owner):
        found.update(piece)
    return f"{entry.size}:{found.hexdigest()}"


def _write(writer: LayerWriter, wheel: Path, laid: Iterable[Laid]) -> None:
    """Write files of one wheel that follow each other."""
    with wheel.open("rb", buffering=0) as file:
        for each in laid:
            owner, entry, content = each.owner, each.entry, each.entry.content
            if isinstance(content, bytes):
                writer.file(entry.path, content, entry.mode, owner=owner)
            elif content.method in (STORED, DEFLATED):
                raw = content.raw(file)
                raw = stored_blocks(raw) if content.method == STORED else raw
                size, crc32 = content.size, content.crc32
                writer.deflated(entry.path, raw, size, crc32, entry.mode, owner=owner)
            else:
                chunks = _inflated(wheel, content, owner)
                writer.stream(entry.path, chunks, content.size, entry.mode, owner=owner)
            for one in each.brought:
                writer.brought(entry.path, one.content, one.mode, one.owner)


def _inflated(wheel: Path, member: Member, owner: str) -> Iterator[bytes]:
    """The content of a member whose method (bzip2, LZMA) no gzip member can carry."""
    try:
        with ZipFile(wheel) as archive, archive.open(archive.infolist()[member.index]) as opened:
            while piece := opened.read(PIECE):
                yield piece
    except DAMAGE as error:
        raise FetchError(f"`{member.name}` cannot be read: {error}", where=owner) from error
