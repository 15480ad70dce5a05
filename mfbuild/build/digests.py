"""The digests of a flow's own files, without reading those that have not changed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.engine.statcache import StatCache
from mfbuild.errors import FlowError
from mfbuild.files import words_of
from mfbuild.flow.spec import CodeFile, FlowSpec, SourcePackage
from mfbuild.rules.providers import CodeEntry, SourceTree

RUNTIME = "mfbuild_runtime"


def read_sources(
    spec: FlowSpec, stat_cache: Path
) -> tuple[tuple[CodeEntry, ...], tuple[SourceTree, ...]]:
    """The code tarball's entries and the source packages of `spec`, with digests and sizes.

    To the source packages comes the runtime that runs a step, `mfbuild_runtime` in an image.
    `stat_cache` is a file that remembers digests between runs. FlowError if a file is gone.
    """
    cache = StatCache.load(stat_cache)
    code = tuple(_entries(spec.code, cache))
    packages = (*spec.host.sources, _runtime())
    sources = tuple(SourceTree(p.name, tuple(_entries(p.files, cache))) for p in packages)
    if cache.changed:
        with suppress(OSError):  # a cache that cannot be written only costs time
            cache.save(stat_cache)
    return code, sources


def _runtime() -> SourcePackage:
    """What images carry of mfbuild: the runtime, by a name of its own, and @flyte for flows."""
    here = Path(__file__).parents[1]
    runtime = {f"{RUNTIME}/{file.name}": file for file in (here / "runtime").glob("*.py")}
    extension = {
        file.relative_to(here.parent).as_posix(): file
        for file in (here.parent / "metaflow_extensions/mfbuild").rglob("*.py")
    }
    files = (
        CodeFile(name, str(path), None, executable=False)
        for name, path in sorted({**runtime, **extension}.items())
    )
    return SourcePackage(RUNTIME, tuple(files))


def _entries(files: Iterable[CodeFile], cache: StatCache) -> Iterable[CodeEntry]:
    for file in files:
        source = None if file.path is None else _source(file.path, cache)
        yield CodeEntry(file.arcname, source, file.text, file.executable)


def _source(path: str, cache: StatCache) -> Source:
    try:
        digest = cache.sha256(path)
        size = Path(path).stat().st_size
    except OSError as error:
        message = f"a file of the flow cannot be read: {words_of(error)}"
        raise FlowError(message, where=path) from error
    return Source(Blob(Digest(digest), size), f"file:{path}")
