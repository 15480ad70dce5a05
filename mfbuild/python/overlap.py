"""The tool `wheel.overlap`: paths that several wheels of one environment bring, settled."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from mfbuild.engine.model import Work, canonical
from mfbuild.engine.store import read_chunks
from mfbuild.oci.image import PathEntry, parse_paths
from mfbuild.oci.tar import PIECE, layer_outputs, path_line, same_content
from mfbuild.python.wheel import normalized


@dataclass(frozen=True, slots=True)
class _Brought:
    """A file of a wheel, and the place of its layer among the others."""

    layer: int
    entry: PathEntry

    @property
    def hashed(self) -> bool:
        """Whether its sha256 is known; a content that only has a CRC-32 proves nothing."""
        return same_content(self.entry.content, self.entry.content) is not None

    def proven(self, content: str | None) -> _Brought:
        """The same with its sha256, where that had to be found."""
        if self.hashed or content is None:
            return self
        return replace(self, entry=replace(self.entry, content=content))

    @property
    def same(self) -> tuple[str, int]:
        return self.entry.content, self.entry.mode


def run(work: Work) -> None:
    """Find what is at each path once all wheels are installed one by one; the last one wins.

    Inputs `layer/<nn>`, `paths/<nn>` and `requires/<nn>`, made by `wheel.layer`; parameters
    `layers`, the `<nn>`, lowest first, and `comment`. The outputs of `layer_outputs`: `paths` tells
    each path of all the layers once, as it is at the end; `layer` goes on top of them and holds the
    files that they alone get wrong. Where there are none, it and `info` have no bytes. Output
    `overlaps` is JSON: `paths` are `[path, [file names of wheels]]`, the winner last, for all that
    differs in content; `required_by` maps each of these wheels to those that require it.
    """
    found = _proven(work, _brought(work))
    wins = {path: found[path][-1] for path in sorted(found, key=str.encode)}
    wrong = [path for path, brought in wins.items() if _uppermost(found[path]).same != brought.same]
    if wrong:
        _write(work, {path: wins[path] for path in wrong})
    else:
        work.outputs["info"].touch()
        work.outputs["layer"].touch()
    last = (brought.entry for brought in wins.values())
    lines = "".join(path_line(e.path, e.content, e.mode, e.owner) for e in last)
    work.outputs["paths"].write_bytes(lines.encode())
    overlaps: list[tuple[str, list[str]]] = [
        (path, [brought.entry.owner for brought in found[path]])
        for path in wins
        if len({brought.entry.content for brought in found[path]}) > 1
    ]
    owners = sorted({owner for _, wheels in overlaps for owner in wheels})
    said = {"paths": overlaps, "required_by": _required_by(work, owners) if owners else {}}
    work.outputs["overlaps"].write_bytes(canonical(said).encode())


def _required_by(work: Work, wheels: Sequence[str]) -> dict[str, list[str]]:
    inputs = (work.inputs[f"requires/{name}"].read() for name in work.params["layers"])
    requires = {wheel: names for data in inputs for wheel, names in json.loads(data).items()}
    normal = {wheel: normalized(wheel.partition("-")[0]) for wheel in wheels}
    return {
        wheel: sorted(other for other, required in requires.items() if normal[wheel] in required)
        for wheel in wheels
    }


def _brought(work: Work) -> dict[str, list[_Brought]]:
    """What each path is brought by, in the order of installation."""
    found: dict[str, dict[str, _Brought]] = {}
    for number, name in enumerate(work.params["layers"]):
        for entry in parse_paths(work.inputs[f"paths/{name}"].read()):
            # Of the lines of one wheel, the last has the sha256.
            found.setdefault(entry.path, {})[entry.owner] = _Brought(number, entry)
    return {path: [one for _, one in sorted(owned.items())] for path, owned in found.items()}


def _proven(work: Work, found: dict[str, list[_Brought]]) -> dict[str, list[_Brought]]:
    """The same, with the sha256 of each file that could be equal to another one as far as known."""
    unsure: dict[int, set[str]] = {}
    for path, brought in found.items():
        for one in brought if len(brought) > 1 else ():
            others = (same_content(one.entry.content, other.entry.content) for other in brought)
            if not one.hashed and list(others).count(None) > 1:  # itself is one of them
                unsure.setdefault(one.layer, set()).add(path)
    read: dict[tuple[int, str], str] = {}
    for number, paths in sorted(unsure.items()):
        for path, content in _contents(work, number, paths):
            sha256, size = hashlib.sha256(), 0
            while piece := content.read(PIECE):
                sha256.update(piece)
                size += len(piece)
            read[number, path] = f"{size}:{sha256.hexdigest()}"
    return found | {
        path: [one.proven(read.get((one.layer, path))) for one in found[path]]
        for path in dict.fromkeys(path for _, path in read)
    }


def _uppermost(brought: Sequence[_Brought]) -> _Brought:
    """What is seen of a path through the layers; within a layer, the last wheel has won."""
    return max(brought, key=lambda one: (one.layer, one.entry.owner))


def _write(work: Work, wins: Mapping[str, _Brought]) -> None:
    """The layer of these files, which are taken from the layers that have them."""
    files: dict[str, Path] = {}
    for number in sorted({brought.layer for brought in wins.values()}):
        wanted = {path for path, brought in wins.items() if brought.layer == number}
        for path, content in _contents(work, number, wanted):
            files[path] = work.scratch / str(len(files))
            with files[path].open("wb") as out:
                shutil.copyfileobj(content, out, PIECE)
    with layer_outputs(work, work.params["comment"]) as writer:
        for path, brought in wins.items():
            size = files[path].stat().st_size
            pieces = read_chunks(files[path])
            writer.stream(path, pieces, size, brought.entry.mode, owner=brought.entry.owner)


def _contents(work: Work, number: int, wanted: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a layer that have these paths; each is to be read before the next."""
    layer = work.inputs[f"layer/{work.params['layers'][number]}"].path()
    with (
        gzip.open(layer) as tar,
        tarfile.open(fileobj=tar, mode="r|", encoding="utf-8") as archive,
    ):
        for member in archive:
            work.tick(0)
            if member.name in wanted and (content := archive.extractfile(member)):
                yield member.name, content
