"""`mfbuild status`: how executions stand."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from typing import TYPE_CHECKING

from mfbuild.cli import options, targets
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.build.session import Session

EPILOG = """\
examples:
  mfbuild status                                 # the latest executions
  mfbuild status -d staging --flow TrainFlow
  mfbuild status r261125-k3fa                    # one, with its tasks
  mfbuild status TrainFlow/flyte-r261125-k3fa --wait
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show the latest executions of a domain, or one with its tasks."
    parser.epilog = EPILOG
    parser.add_argument(
        "execution", nargs="?", metavar="EXECUTION", help="its name, or Metaflow's run id"
    )
    parser.add_argument("--flow", help="only executions of this registered name")
    parser.add_argument(
        "-n", type=options.positive, default=20, help="how many to list (default: 20)"
    )
    parser.add_argument(
        "--wait", action="store_true", help="until it has ended; exit 1 if it failed"
    )
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    with options.session_for(args, []) as session:
        return _one(args, session) if args.execution else _latest(args, session)


def _latest(args: argparse.Namespace, session: Session) -> int:
    from mfbuild.executions.status import execution_json, execution_line

    target = targets.only_target(targets.where_of(args, session.config), session)
    latest = target.backend.executions.list(target.project, target.domain, args.flow)
    listed = list(islice(latest, args.n))
    if args.json:
        show(json.dumps({"executions": [execution_json(e, ()) for e in listed]}))
    elif listed:
        show("\n".join(execution_line(e) for e in listed))
    else:
        of = f" of `{args.flow}`" if args.flow else ""
        session.reporter.note(f"there is no execution{of} in {target}")
    return 0


def _one(args: argparse.Namespace, session: Session) -> int:
    from mfbuild.executions.progress import Board, task_lines
    from mfbuild.executions.status import check_succeeded, execution_json, execution_line
    from mfbuild.executions.trigger import wait

    target, found = targets.execution(args, session)
    executions = target.backend.executions
    if args.wait:
        found = wait(executions, found.id, Board(session.reporter).show)
    tasks = executions.tasks(found.id)
    if args.json:
        show(json.dumps(execution_json(found, tasks)))
    else:
        show("\n".join([execution_line(found), *(f"  {line}" for line in task_lines(tasks))]))
    if args.wait:
        check_succeeded(found, found.id.name, tasks)
    return 0
