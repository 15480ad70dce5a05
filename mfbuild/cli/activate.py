"""`mfbuild activate`: which version of a flow is live."""

from __future__ import annotations

import argparse
import json

from mfbuild.cli import options, targets
from mfbuild.errors import UsageError
from mfbuild.report import show

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
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_of(args, targets.workspace(args.flow)) as session:
        from mfbuild.push.activation import switch

        target, word = targets.registered(args, session, args.flow)
        if not word.version:
            raise UsageError(
                f"`{args.flow}` names no version", hint="`mfbuild versions` lists those there are"
            )
        plan = switch(target, word, session.reporter, active=True)
    told = {"version": plan.id.version, "active": True}
    show(json.dumps(told) if args.json else f"{plan.id.name}@{plan.id.version}")
    return 0
