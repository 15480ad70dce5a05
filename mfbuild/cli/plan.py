"""`mfbuild plan`: what `package` would do, and why."""

from __future__ import annotations

import argparse
import json

from mfbuild.build.pipeline import plan
from mfbuild.cli import options
from mfbuild.engine.plan import Plan, PlannedAction, Status
from mfbuild.report import counted, human_bytes, show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show what `package` would do, and why; nothing is made or downloaded."
    parser.add_argument("--all", action="store_true", help="also what is cached")
    options.flows(parser)
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_for(args, args.flows) as session:
        _, found = plan(session, args.flows)
    show(json.dumps(_json(found)) if args.json else _table(found, whole=args.all))
    return 0


def _table(found: Plan, *, whole: bool) -> str:
    shown = [s for s in found.steps if whole or s.status is not Status.CACHED]
    width = max((len(s.action.label) for s in shown), default=0)
    lines = [f"{_word(s):6}  {s.action.label:{width}}  {_why(s)}".rstrip() for s in shown]
    size = sum(source.blob.size for source in found.fetches)
    cached = sum(s.status is Status.CACHED for s in found.steps)
    actions, downloads = (
        counted(len(found.steps), "action"),
        counted(len(found.fetches), "download"),
    )
    done = f"{len(found.steps) - cached} to run, {cached} cached"
    lines.append(f"{actions}: {done}; {downloads} ({human_bytes(size)})")
    return "\n".join(lines)


def _word(step: PlannedAction) -> str:
    return {Status.CACHED: "cached", Status.RUN: "run", Status.MAYBE: "maybe"}[step.status]


def _why(step: PlannedAction) -> str:
    reasons = [reason.brief() for reason in step.reasons]
    return "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if reasons[3:] else "")


def _json(found: Plan) -> dict[str, object]:
    actions = [
        {"label": s.action.label, "status": _word(s), "reasons": [str(r) for r in s.reasons]}
        for s in found.steps
    ]
    downloads = [
        {"locator": f.locator, "digest": str(f.blob.digest), "size": f.blob.size}
        for f in found.fetches
    ]
    return {"actions": actions, "downloads": downloads}
