"""`mfbuild trigger`: starts what a push has registered."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from mfbuild.cli import options, targets
from mfbuild.cli.parameters import parameter_option, parameter_pairs, tell_namesakes
from mfbuild.errors import UsageError
from mfbuild.flyte.names import base_name
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.flyte.backend import ExecutionId, LaunchPlan
    from mfbuild.push.target import PushTarget

TAKES_PARAMETERS = True
"""What argparse does not know is a Parameter of the flow."""

EPILOG = """\
examples:
  mfbuild trigger TrainFlow --alpha 0.3          # the active version, else the newest
  mfbuild trigger TrainFlow@5b0c6c -d staging --wait
  mfbuild trigger TrainFlow:fit --from-run flyte-r261125-k3fa      # one step, on its artifacts
  mfbuild trigger train.py --param domain=x      # where mfbuild has an option of that name
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Start a registered version of a flow. Parameters are checked before anything starts. "
        "Prints the run as Metaflow's client takes it."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "flow",
        metavar="FLOW[@VERSION][:STEP]",
        help="a registered name, or the flow's file; a version may be cut to its first digits",
    )
    parser.add_argument(
        "--from-run",
        metavar="RUN",
        help="the run on whose artifacts a single STEP runs: an execution, or Metaflow's run id",
    )
    parser.add_argument(
        "--path",
        type=_path,
        default=(),
        metavar="I/J",
        help="where STEP stands inside foreaches: their split indices, outermost first",
    )
    parameter_option(parser)
    parser.add_argument(
        "--wait", action="store_true", help="until it has ended; exit 1 if it failed"
    )
    targets.arguments(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    pairs = parameter_pairs(args)
    with options.session_of(args, targets.workspace(args.flow)) as session:
        from mfbuild.executions.progress import Board
        from mfbuild.executions.status import check_succeeded
        from mfbuild.executions.trigger import wait
        from mfbuild.flyte.parameters import parameters_of
        from mfbuild.push.names import find_launch_plan

        target, word = targets.registered(args, session, args.flow, single=True)
        plan = find_launch_plan(target, word)
        tell_namesakes(args, session, parameters_of(plan.spec.default_inputs))
        id = _start(args, target, plan, word.step, pairs)
        flow = base_name(plan.id.name)
        pathspec = f"{flow}/flyte-{id.name}"
        session.reporter.note(
            f"started {plan.id.name}@{plan.id.version[:12]} as {id.name} in {target}"
        )
        show(json.dumps({"run": pathspec, "name": id.name}) if args.json else pathspec)
        if args.wait:
            executions = target.backend.executions
            ended = wait(executions, id, Board(session.reporter).show)
            check_succeeded(ended, pathspec, executions.tasks(id))
    return 0


def _start(
    args: argparse.Namespace,
    target: PushTarget,
    plan: LaunchPlan,
    step: str | None,
    pairs: list[tuple[str, str]],
) -> ExecutionId:
    """A whole run, or one step on what a run has left."""
    from mfbuild.executions.single_steps import start_onto
    from mfbuild.executions.trigger import trigger
    from mfbuild.flyte.backend import ExecutionId

    if bool(step) != bool(args.from_run) or (args.path and not step):
        raise UsageError(
            "a single step runs on the artifacts of a run: give both FLOW:STEP and --from-run"
        )
    if step is None:
        return trigger(target, plan, pairs)
    if pairs:
        raise UsageError("a single step has the parameters of its run", hint="leave them out")
    run = args.from_run.rpartition("/")[2]
    if target.backend.executions.get(ExecutionId(plan.id.project, plan.id.domain, run)):
        run = f"flyte-{run}"
    return start_onto(target, plan, step, run=run, path=args.path)


def _path(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(index) for index in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not made of indices and `/`") from None
