"""`mfbuild versions`: what of a flow is registered, and which version is live."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mfbuild.cli import options, targets
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.flyte.backend import LaunchPlan

EPILOG = """\
examples:
  mfbuild versions TrainFlow -d production
  mfbuild versions train.py --production -d production --json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the registered versions of a flow, newest first; `*` marks the active one."
    )
    parser.epilog = EPILOG
    parser.add_argument("flow", metavar="FLOW", help="a registered name, or the flow's file")
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, targets.workspace(args.flow)) as session:
        from mfbuild.push.names import versions_of

        found = versions_of(*targets.registered(args, session, args.flow))
    told = {"versions": [_json(plan) for plan in found]}
    show(json.dumps(told) if args.json else _table(found))
    return 0


def _table(plans: Sequence[LaunchPlan]) -> str:
    return "\n".join(
        "  ".join(word for word in (("*" if plan.active else " "), *_words(plan)) if word).rstrip()
        for plan in plans
    )


def _words(plan: LaunchPlan) -> list[str]:
    from mfbuild.push.register import person

    created = plan.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if plan.created else ""
    return [plan.id.version, created, person(plan.spec).get("user", ""), _schedule(plan)]


def _schedule(plan: LaunchPlan) -> str:
    return str(plan.spec.entity_metadata.schedule.cron_schedule.schedule)


def _json(plan: LaunchPlan) -> dict[str, object]:
    from mfbuild.push.register import person

    return {
        "name": plan.id.name,
        "version": plan.id.version,
        "project": plan.id.project,
        "domain": plan.id.domain,
        "active": plan.active,
        "created": plan.created.isoformat() if plan.created else None,
        "schedule": _schedule(plan) or None,
        "person": person(plan.spec),
    }
