"""`mfbuild deactivate`: no version of a flow is live any more."""

from __future__ import annotations

import argparse
import json

from mfbuild.cli import options, targets
from mfbuild.report import show

EPILOG = """\
examples:
  mfbuild deactivate TrainFlow -d production
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make the active version of a flow inactive: its schedule starts nothing."
    parser.epilog = EPILOG
    parser.add_argument("flow", metavar="FLOW", help="a registered name, or the flow's file")
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, targets.workspace(args.flow)) as session:
        from mfbuild.push.activation import switch

        target, word = targets.registered(args, session, args.flow)
        plan = switch(target, word, session.reporter, active=False)
    told = {"version": plan.id.version, "active": False}
    show(json.dumps(told) if args.json else f"{plan.id.name}@{plan.id.version}")
    return 0
