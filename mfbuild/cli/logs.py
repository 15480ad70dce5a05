"""`mfbuild logs`: what the tasks of an execution have written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mfbuild.cli import options, targets

EPILOG = """\
examples:
  mfbuild logs r261125-k3fa
  mfbuild logs r261125-k3fa fit --follow
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what the tasks of an execution wrote, `step/task: line`, from Metaflow's datastore, "
        "where it is also while they run."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "execution",
        metavar="EXECUTION",
        help="its name, or Metaflow's run id; a run of `mfbuild run`, too",
    )
    parser.add_argument("step", nargs="?", metavar="STEP", help="only this step")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the execution has ended"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="an interpreter that has Metaflow (default: the one that runs mfbuild)",
    )
    targets.arguments(parser)
    options.common(parser, json=False)


def run(args: argparse.Namespace) -> int:
    with options.session_for(args, []) as session:
        from mfbuild.executions.logs import read_logs, run_here, source_of_execution, source_of_run

        config = session.config
        if folder := run_here(args.execution, config.root):
            source = source_of_run(folder, args.step)
        else:
            target, found = targets.execution(args, session)
            source = source_of_execution(target, found, config, args.step)
        read_logs(args.python.absolute(), config.environ, source, follow=args.follow)
    return 0
