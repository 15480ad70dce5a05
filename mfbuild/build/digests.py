"""What analyze works on: the digests of flows' own files, unread where they have not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mfbuild import __version__
from mfbuild.build.analyze import FlowInput
from mfbuild.build.load import LoadedFlow
from mfbuild.build.session import Session
from mfbuild.config import Config
from mfbuild.engine.model import Blob, Digest, Source
from mfbuild.engine.statcache import StatCache
from mfbuild.errors import FlowError
from mfbuild.files import words_of
from mfbuild.flow.probe_host import dist_info
from mfbuild.flow.spec import CodeFile, FlowSpec, SourcePackage
from mfbuild.report import human_bytes
from mfbuild.rules.providers import CodeEntry, SourceTree

RUNTIME = "mfbuild_runtime"


LARGE_CODE = 100_000_000
"""Metaflow's own threshold for a warning about the size of the code (package/__init__.py)."""


def read_digests(session: Session, flows: Sequence[LoadedFlow]) -> tuple[FlowInput, ...]:
    """Each flow with the digests of its files as they are now; FlowError if a file is gone."""
    config, options = session.config, session.options.flow_options
    inputs = []
    for flow in flows:
        code, sources = read_sources(flow.spec, config.store / "stat.json", session.reporter.warn)
        _warn_of_size(session, flow.label, code)
        compilers = _compilers(flow, config) if config.pyc else {}
        inputs.append(
            FlowInput(flow.label, flow.spec, flow.needs, code, sources, options, compilers)
        )
    return tuple(inputs)


def _compilers(flow: LoadedFlow, config: Config) -> dict[str, str]:
    """The interpreters that compile bytecode, by minor version."""
    from mfbuild.python.pyc import compiler_version

    pythons = sorted({need.base.python for need in flow.needs.values()})
    return {python: compiler_version(python, config.environ) for python in pythons}


def _warn_of_size(session: Session, label: str, code: Sequence[CodeEntry]) -> None:
    sizes = sorted(((e.source.blob.size, e.path) for e in code if e.source), reverse=True)
    total = sum(size for size, _ in sizes)
    if total > LARGE_CODE:
        largest = ", ".join(f"{path} ({human_bytes(size)})" for size, path in sizes[:5])
        session.reporter.warn(
            f"the code of {label} is {human_bytes(total)}, and every task downloads it; "
            f"the largest files: {largest}; .mfbuildignore leaves files out"
        )


def read_sources(
    spec: FlowSpec, stat_cache: Path, warn: Callable[[str], None]
) -> tuple[tuple[CodeEntry, ...], tuple[SourceTree, ...]]:
    """The code tarball's entries and the source packages of `spec`, with digests and sizes.

    To the source packages comes the runtime that runs a step, `mfbuild_runtime` in an image.
    `stat_cache` is a file that remembers digests between runs; `warn` is told where it is damaged.
    FlowError if a file is gone.
    """
    cache = StatCache.load(stat_cache)
    if cache.damaged:
        warn(f"`{stat_cache}` is damaged: the files of the flow are hashed again")
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
    files = [
        CodeFile(name, str(path), None, executable=False)
        for name, path in sorted({**runtime, **extension}.items())
    ]
    texts = dist_info("mfbuild", __version__, (), [file.arcname for file in files])
    files += [CodeFile(name, None, text, executable=False) for name, text in texts.items()]
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
