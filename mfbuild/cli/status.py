"""`mfbuild status`: how executions stand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from mfbuild.cli import options, targets

if TYPE_CHECKING:
    from mfbuild.flyte.backend import Execution, TaskRun

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
    with options.session_of(args, options.workspace_of([])) as session:
        if not args.execution:
            target = targets.only_target(targets.where_of(args, session.config), session)
            latest = target.backend.executions.list(target.project, target.domain, args.flow)
            listed = list(islice(latest, args.n))
            if args.json:
                print(json.dumps({"executions": [_json(e, ()) for e in listed]}))
            elif listed:
                print("\n".join(_line(e) for e in listed))
            else:
                of = f" of `{args.flow}`" if args.flow else ""
                session.reporter.note(f"there is no execution{of} in {target}")
            return 0
        from mfbuild.cli.trigger import ended
        from mfbuild.executions.progress import Board, task_lines
        from mfbuild.executions.trigger import wait

        target, found = targets.execution(args, session)
        executions = target.backend.executions
        if args.wait:
            found = wait(executions, found.id, Board(session.reporter).show)
        tasks = executions.tasks(found.id)
        if args.json:
            print(json.dumps(_json(found, tasks)))
        else:
            print("\n".join([_line(found), *(f"  {line}" for line in task_lines(tasks))]))
        if args.wait:
            ended(found, found.id.name)
    return 0


def _line(execution: Execution) -> str:
    from mfbuild.executions.progress import duration

    began = execution.began.astimezone().strftime("%Y-%m-%d %H:%M:%S") if execution.began else "-"
    words = [
        f"{execution.id.name:20}",
        f"{execution.phase:9}",
        f"{execution.of.name}@{execution.of.version[:12]}",
        began,
        duration(execution.began, execution.ended),
        (execution.error or "").strip().partition("\n")[0][:200],
    ]
    return "  ".join(word for word in words if word)


def _json(execution: Execution, tasks: Sequence[TaskRun]) -> dict[str, object]:
    return {
        "name": execution.id.name,
        "project": execution.id.project,
        "domain": execution.id.domain,
        "flow": execution.of.name,
        "version": execution.of.version,
        "phase": execution.phase,
        "began": _time(execution.began),
        "ended": _time(execution.ended),
        "error": execution.error,
        "tasks": [
            {
                "node": task.node,
                "task": task.task,
                "phase": task.phase,
                "attempt": task.attempt,
                "began": _time(task.began),
                "ended": _time(task.ended),
                "error": task.error,
                "logs": dict(task.logs),
            }
            for task in tasks
        ],
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
