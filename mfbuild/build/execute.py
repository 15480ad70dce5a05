"""The stage execute: what must run and why, and the blobs that come of it."""

from __future__ import annotations

from mfbuild.build.analyze import Analysis
from mfbuild.build.session import Session
from mfbuild.build.tools import fetchers, tools
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.plan import Plan, make_plan
from mfbuild.engine.run import Results, run
from mfbuild.python.model import Lock


def planned(session: Session, analysis: Analysis) -> Plan:
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
