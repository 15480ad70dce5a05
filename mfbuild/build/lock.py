"""The stage lock: what BUILD.lock answers to the flows of a build."""

from __future__ import annotations

from collections.abc import Sequence

from mfbuild.build.load import LoadedFlow
from mfbuild.build.session import LOCK, Session
from mfbuild.errors import Problem, ResolveError
from mfbuild.python.lockfile import read_lock
from mfbuild.python.model import Lock, Request
from mfbuild.report import counted


def lock(session: Session, flows: Sequence[LoadedFlow]) -> Lock:
    """What BUILD.lock answers to `flows`, resolved for what it does not know yet.

    ResolveError if it would have to change under --locked, or if nothing satisfies a step.
    """
    found = read_lock(session.lock_file)
    asked = requests_of(flows)
    missing = found.missing(tuple(asked), session.config.platforms)
    if missing and session.options.locked:
        raise ResolveError.all_of([_stale(session, asked[request]) for request in missing])
    if missing:
        from mfbuild.build.relock import extended  # the resolver, which a fresh lock does without

        session.reporter.note(f"resolving {counted(len(missing), 'environment')} for {LOCK}")
        unknown = {request: asked[request] for request in missing}
        found = extended(session.lock_file, unknown, found, session.config)
    digests = [request.digest() for request in asked]
    return Lock({digest: found.environments[digest] for digest in digests})


def requests_of(flows: Sequence[LoadedFlow]) -> dict[Request, str]:
    """Every distinct request of `flows`, with the steps that ask for it."""
    found: dict[Request, list[str]] = {}
    for flow in flows:
        for step, need in flow.needs.items():
            found.setdefault(need.request, []).append(f"{flow.label}:{step}")
    return {request: ", ".join(steps) for request, steps in found.items()}


def _stale(session: Session, steps: str) -> Problem:
    return Problem(
        f"`{LOCK}` does not cover {steps}",
        where=str(session.lock_file),
        hint="run `mfbuild lock`, or go without --locked",
    )
