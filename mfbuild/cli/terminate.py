"""`mfbuild terminate`: ends an execution."""

from __future__ import annotations

import argparse
import json

from mfbuild.cli import options, targets
from mfbuild.report import show

EPILOG = """\
examples:
  mfbuild terminate r261125-k3fa
  mfbuild terminate TrainFlow/flyte-r261125-k3fa -d staging --cause "wrong data"
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "End an execution; one that has ended is left as it is."
    parser.epilog = EPILOG
    parser.add_argument("execution", metavar="EXECUTION", help="its name, or Metaflow's run id")
    parser.add_argument("--cause", default="terminated by mfbuild", help="what Flyte shows of it")
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_for(args, []) as session:
        target, found = targets.execution(args, session)
        if found.is_done:
            session.reporter.note(f"{found.id.name} had ended: {found.phase}")
        else:
            target.backend.executions.terminate(found.id, args.cause)
    show(json.dumps({"name": found.id.name}) if args.json else found.id.name)
    return 0
