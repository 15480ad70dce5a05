"""`mfbuild run`: the compiled workflow on this machine."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.cli.parameters import parameter_option, parameter_pairs, tell_namesakes
from mfbuild.cli.runs import enter, packaged_for, perform, source_of, where
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.runtime.environment import user_of

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.local.run_source import RunSource

TAKES_PARAMETERS = True
"""What argparse does not know is a Parameter of the flow."""

EPILOG = """\
examples:
  mfbuild run train.py --alpha 0.3               # --NAME VALUE for each Parameter
  mfbuild run train.py --param jobs=7            # where mfbuild has an option of that name
  mfbuild run .mfbuild/dist/TrainFlow-5b0c6c1f6ab5…
  mfbuild run train.py --in host                 # your own interpreter and packages
  mfbuild run train.py --step fit                # one step again, on the latest run's artifacts
  mfbuild logs TrainFlow/flyte-r261125-k3fa      # what the steps of a run printed
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Package a flow, and run its compiled workflow here: each step in its own locked "
        "environment, no cluster. Prints the run as Metaflow's client takes it."
    )
    parser.epilog = EPILOG
    parser.add_argument("flow", metavar="FLOW|BUNDLE", help="a flow file, a label, or a bundle")
    parameter_option(parser)
    parser.add_argument(
        "--step", metavar="NAME", help="only this step, on what a run has left: again, or at last"
    )
    parser.add_argument(
        "--from-run", metavar="RUN", help="the run for --step (default: the flow's latest)"
    )
    where(parser)
    options.building(parser)
    options.cache_flags(parser)
    options.common(parser)


def run(args: argparse.Namespace) -> int:
    pairs = parameter_pairs(args)
    root = workspace(args.flow)
    if args.from_run and not args.step:
        raise UsageError("`--from-run` goes with `--step`", hint="to go on, use `mfbuild resume`")
    with options.session_of(args, root) as session:
        if args.step:
            _run_step(args, session, pairs)
            return 0
        sandbox = args.sandbox or "rootfs"
        source, packaged = packaged_for(session, args.flow, sandbox, pairs)
        tell_namesakes(args, session, packaged.spec.parameters)
        from mfbuild.local.record.state import RUNS, RunInfo, RunState, new_name

        name = new_name()
        info = RunInfo(
            name=name,
            flow=packaged.spec.name,
            run=f"flyte-{name}",
            source=str(source),
            version=packaged.version,
            sandbox=sandbox,
            began=time.time(),
            parameters=dict(pairs),
            prefix=prefix_of(packaged, session.config.environ),
            owner=user_of(session.config.environ),
            here=str(Path.cwd()),
        )
        entered = enter(args, session, packaged, sandbox, root / RUNS / name, Path.cwd())
        with RunState.create(root / RUNS, info) as state:
            perform(session, state, packaged, entered, json_wanted=args.json)
    return 0


def _run_step(args: argparse.Namespace, session: Session, pairs: Sequence[tuple[str, str]]) -> None:
    """One step of a run again, with the parameters of that run."""
    from mfbuild.local.record.state import RUNS, RunState, find_run, read_info

    if pairs:
        raise UsageError("a single step has the parameters of its run", hint="leave them out")
    runs, warn = session.config.root / RUNS, session.reporter.warn
    folder = find_run(runs, args.from_run, source_of(session, args.flow), warn=warn)
    info = read_info(folder)
    sandbox, given = args.sandbox or info.sandbox, list(info.parameters.items())
    _, packaged = packaged_for(session, args.flow, sandbox, given)
    steps = [step.name for step in packaged.spec.steps]
    if args.step not in steps:
        raise UsageError(f"there is no step `{args.step}`", hint=did_you_mean(args.step, steps))
    if info.flow != packaged.spec.name:
        raise UsageError(f"the run `{info.name}` is one of `{info.flow}`")
    entered = enter(args, session, packaged, sandbox, folder, Path(info.here or Path.cwd()))
    with RunState.reopen(folder) as state:
        perform(session, state, packaged, entered, json_wanted=args.json)


def prefix_of(packaged: RunSource, environ: Mapping[str, str]) -> str:
    """What Metaflow puts before the name of a flow with @project when it runs it here."""
    spec = packaged.spec
    if spec.project is None:
        return ""
    from mfbuild.flyte.templates import Compiled, environment_of
    from mfbuild.push.deployment import Deployment, branch_of_run

    start = Compiled.decode(packaged.templates).tasks[spec.start]
    options = json.loads(environment_of(start)["MFBUILD_OPTIONS"])
    branch, production = branch_of_run(options, environ)
    person = environ.get("METAFLOW_OWNER") or user_of(environ)
    return Deployment(person, branch=branch, production=production).prefix(spec)


def workspace(word: str) -> Path:
    """The workspace of a run: the flow's; of a bundle, the one in which it is run."""
    return options.workspace_of([] if options.is_local_bundle(word) else [word])
