"""A build on one screen: flow files become bundles, in five stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mfbuild.build.load import LoadedFlow, load
from mfbuild.build.session import Session
from mfbuild.engine.store import BlobCorrupted

if TYPE_CHECKING:
    from mfbuild.build.analyze import Analysis
    from mfbuild.build.bundle import Built
    from mfbuild.engine.plan import Plan
    from mfbuild.oci.types import Platform


def build(
    session: Session,
    words: Sequence[str],
    *,
    platforms: tuple[Platform, ...] | None = None,
    accept: Callable[[Sequence[LoadedFlow]], None] = lambda flows: None,
) -> tuple[Built, ...]:
    """The flows that `words` name (`build.labels`), each as a bundle below .mfbuild/dist.

    The lock is for all platforms of the workspace, the images for `platforms` where given.
    `accept` sees the flows before anything is made of them, and may raise. A blob of the store that
    turns out damaged is named, discarded and made again. Raises what the stages raise.
    """
    flows = load(session, words)
    # `load` has imported these while a process of a flow was at work.
    from mfbuild.build.analyze import analyze
    from mfbuild.build.bundle import bundle
    from mfbuild.build.digests import read_digests
    from mfbuild.build.execute import execute
    from mfbuild.build.lock import lock
    from mfbuild.build.overlaps import tell_overlaps

    accept(flows)
    locked = lock(session, flows)
    if platforms:
        session = replace(session, config=replace(session.config, platforms=platforms))
    analysis = analyze(read_digests(session, flows), locked, session.config)
    while True:
        results = execute(session, analysis, locked)
        try:
            tell_overlaps(session, analysis, results)
            return bundle(session, analysis, results)
        except BlobCorrupted as damaged:
            session.reporter.warn(f"{damaged}: it is made again")
            session.store.discard(damaged.blob)


def plan(session: Session, words: Sequence[str]) -> tuple[Analysis, Plan]:
    """What `build` would do, and why. Where BUILD.lock lacks something it is written: without a
    lock there is no graph. Raises what the stages raise."""
    from mfbuild.build.analyze import analyze
    from mfbuild.build.digests import read_digests
    from mfbuild.build.execute import planned
    from mfbuild.build.lock import lock

    flows = load(session, words)
    analysis = analyze(read_digests(session, flows), lock(session, flows), session.config)
    return analysis, planned(session, analysis)
