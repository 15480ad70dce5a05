"""`mfbuild activate`: which version of a flow is live."""

from __future__ import annotations

import argparse
import json

from mfbuild.cli import options, targets
from mfbuild.errors import UsageError

EPILOG = """\
examples:
  mfbuild activate TrainFlow@5b0c6c -d production     # also the way back to an older version
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make a registered version the active one: its schedule is live, and that of no other."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "flow", metavar="FLOW@VERSION", help="a version may be cut to its first digits"
    )
    targets.where(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    return switch(args, active=True)


def switch(args: argparse.Namespace, *, active: bool) -> int:
    """Make the version that is named active, or the active one inactive."""
    with options.session_of(args, targets.workspace(args.flow)) as session:
        from mfbuild.push.names import find_launch_plan

        word, spec = targets.flow_word(args, session, args.flow)
        if active and not word.version:
            raise UsageError(
                f"`{args.flow}` names no version", hint="`mfbuild versions` lists those there are"
            )
        target, project, domain = targets.registered(args, session, spec)
        plan = find_launch_plan(target, project, domain, word)
        if plan.active != active:
            target.backend.registrations.set_active(plan.id, active=active)
        state = "active" if active else "inactive"
        changed = "" if plan.active != active else " already"
        session.reporter.note(f"{plan.id.name} is {state}{changed} in {project}/{domain}")
    shown = f"{plan.id.name}@{plan.id.version}"
    print(json.dumps({"version": plan.id.version, "active": active}) if args.json else shown)
    return 0
