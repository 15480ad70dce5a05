"""The stages of `package` after load: lock, analyze, plan, execute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mfbuild.build.analyze import Analysis, FlowInput, analyze
from mfbuild.build.digests import read_sources
from mfbuild.build.load import LoadedFlow
from mfbuild.build.session import LOCK, Session
from mfbuild.build.tools import fetchers, tools
from mfbuild.config import Config
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.plan import Plan, make_plan
from mfbuild.engine.run import Results, run
from mfbuild.errors import Problem, ResolveError
from mfbuild.python.lockfile import read_lock
from mfbuild.python.model import Lock, Request
from mfbuild.report import counted, human_bytes
from mfbuild.rules.providers import CodeEntry

LARGE_CODE = 100_000_000
"""Metaflow's own threshold for a warning about the size of the code (package/__init__.py)."""


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
        from mfbuild.build.lock import extended

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


def analyze_flows(session: Session, flows: Sequence[LoadedFlow], locked: Lock) -> Analysis:
    """The actions of `flows`, with the digests of their files as they are now."""
    inputs, options = [], session.options.flow_options
    for flow in flows:
        code, sources = read_sources(flow.spec, session.config.store / "stat.json")
        _warn_of_size(session, flow.label, code)
        inputs.append(FlowInput(flow.label, flow.spec, flow.needs, code, sources, options))
    pythons = {need.base.python for flow in flows for need in flow.needs.values()}
    return analyze(inputs, locked, session.config, _compilers(session.config, pythons))


def _compilers(config: Config, pythons: Iterable[str]) -> dict[str, str]:
    """The interpreters that compile bytecode, where the policy wants a layer of it."""
    if not config.pyc:
        return {}
    from mfbuild.python.pyc import compiler_version

    return {python: compiler_version(python, config.environ) for python in sorted(pythons)}


def _warn_of_size(session: Session, label: str, code: Sequence[CodeEntry]) -> None:
    sizes = sorted(((e.source.blob.size, e.path) for e in code if e.source), reverse=True)
    total = sum(size for size, _ in sizes)
    if total > LARGE_CODE:
        largest = ", ".join(f"{path} ({human_bytes(size)})" for size, path in sizes[:5])
        session.reporter.warn(
            f"the code of {label} is {human_bytes(total)}, and every task downloads it; "
            f"the largest files: {largest}; .mfbuildignore leaves files out"
        )


def plan(session: Session, analysis: Analysis) -> Plan:
    """What `execute` would do, and why."""
    return make_plan(
        ActionGraph(analysis.actions),
        analysis.goals(),
        {name: tool.version for name, tool in tools(session.config).items()},
        session.cache.get,
        session.store.has,
        session.cache.last,
        fresh=session.options.fresh,
    )


def execute(session: Session, analysis: Analysis, locked: Lock) -> Results:
    """Make every blob of the flows' bundles; the results by label."""
    return run(
        ActionGraph(analysis.actions),
        analysis.goals(),
        tools(session.config),
        fetchers(locked, session.config),
        session.store,
        session.cache,
        session.reporter,
        jobs=session.config.jobs,
        fresh=session.options.fresh,
    )
