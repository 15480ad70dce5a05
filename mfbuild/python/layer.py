"""The tool `wheel.layer`: wheels as one layer, without compressing anything again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from zipfile import ZipFile

from mfbuild.engine.model import Work
from mfbuild.errors import ActionError, FetchError, Problem
from mfbuild.oci.gzip import stored_blocks
from mfbuild.oci.tar import PIECE, LayerWriter, layer_outputs
from mfbuild.python.archive import DEFLATED, STORED, Member
from mfbuild.python.wheel import DAMAGE, Entry, Scheme, read_wheel

Owned = tuple[str, Entry]


def run(work: Work) -> None:
    """Lay down wheels as the outputs of `layer_outputs`; an owner is a wheel's file name.

    Parameters: `python` (`3.11`), `prefix` (`opt/venv`), `wheels` (the inputs, each named by its
    file name) and `comment`. FetchError for a wheel that must not be installed, ActionError when
    two of them have different files under one path.
    """
    scheme = Scheme(prefix=work.params["prefix"], python=work.params["python"])
    files = {name: work.inputs[name].path() for name in work.params["wheels"]}
    entries = merged({name: read_wheel(file, name, scheme) for name, file in files.items()})
    with layer_outputs(work, work.params["comment"]) as writer:
        for name, group in groupby(entries, key=lambda owned: owned[0]):
            _write(writer, files[name], name, [entry for _, entry in group])


def merged(wheels: dict[str, tuple[Entry, ...]]) -> list[Owned]:
    """The entries of all wheels by file name, sorted by path, each path once.

    ActionError for every path of which two wheels have different files.
    """
    found: dict[str, Owned] = {}
    problems: list[Problem] = []
    for name in sorted(wheels):
        for entry in wheels[name]:
            owner, first = found.setdefault(entry.path, (name, entry))
            if first is not entry and first.identity != entry.identity:
                message = f"`{owner}` and `{name}` have different files `{entry.path}`"
                problems.append(Problem(message))
    ActionError.raise_for(problems)
    return sorted(found.values(), key=lambda owned: owned[1].path.encode())


def _write(writer: LayerWriter, wheel: Path, owner: str, entries: list[Entry]) -> None:
    """Write entries of one wheel that follow each other."""
    with wheel.open("rb", buffering=0) as file:
        for entry in entries:
            content = entry.content
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


def _inflated(wheel: Path, member: Member, owner: str) -> Iterator[bytes]:
    """The content of a member whose method (bzip2, LZMA) no gzip member can carry."""
    try:
        with ZipFile(wheel) as archive, archive.open(archive.infolist()[member.index]) as opened:
            while piece := opened.read(PIECE):
                yield piece
    except DAMAGE as error:
        raise FetchError(f"`{member.name}` cannot be read: {error}", where=owner) from error
