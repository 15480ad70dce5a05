"""A Work for running a tool by itself: inputs are plain files, outputs go to a fresh folder."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfbuild.engine.model import Blob, Digest, Work


@dataclass(frozen=True)
class FileInput:
    """An input that is read from a file."""

    file: Path

    @property
    def blob(self) -> Blob:
        return Blob(Digest.of(self.read()), self.file.stat().st_size)

    def path(self) -> Path:
        return self.file

    def chunks(self) -> Iterator[bytes]:
        yield self.read()

    def read(self) -> bytes:
        return self.file.read_bytes()


def make_work(
    folder: Path,
    params: Any,
    inputs: Mapping[str, Path],
    outputs: tuple[str, ...] = ("info", "layer", "paths", "requires"),
    tick: Callable[[int], None] = lambda _: None,
) -> Work:
    """What a tool gets; its outputs are files of `folder` by their names."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    return Work(
        params=params,
        inputs={name: FileInput(file) for name, file in inputs.items()},
        outputs={name: folder / name for name in outputs},
        scratch=scratch,
        tick=tick,
    )


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    """The entries of a layer in their order, by path."""
    with tarfile.open(layer, "r:gz") as archive:
        return {member.name: member for member in archive}


def contents(layer: Path) -> dict[str, bytes]:
    """The content of every regular file of a layer, by path."""
    data = io.BytesIO(gzip.decompress(layer.read_bytes()))
    with tarfile.open(fileobj=data) as archive:
        files = ((m.name, archive.extractfile(m)) for m in archive if m.isreg())
        return {name: file.read() for name, file in files if file is not None}
