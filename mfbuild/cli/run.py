"""`mfbuild run`: the compiled workflow on this machine."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.errors import UsageError, did_you_mean
from mfbuild.runtime.environment import user_of

if TYPE_CHECKING:
    from mfbuild.build.session import Session
    from mfbuild.flow.spec import ParameterSpec
    from mfbuild.local.record.state import RunState
    from mfbuild.local.run_source import RunSource
    from mfbuild.local.sandbox.choose import RunOptions
    from mfbuild.local.sandbox.executor import Sandbox

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


def where(parser: argparse.ArgumentParser) -> None:
    """How a run is made; `resume` has the same."""
    parser.add_argument(
        "--in",
        dest="sandbox",
        choices=("rootfs", "container", "host"),
        help="rootfs: the step's image, without a container engine (default); container: the "
        "image, by Docker, Podman or runc; host: this interpreter and its packages",
    )
    parser.add_argument(
        "--max-workers",
        type=options.positive,
        metavar="N",
        help="steps at once (default: one per CPU)",
    )


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


def enter(
    args: argparse.Namespace,
    session: Session,
    packaged: RunSource,
    sandbox: str,
    folder: Path,
    here: Path,
) -> tuple[RunOptions, Sandbox]:
    """How the run in `folder` is to be made, and where; an error if that is not possible.

    `here` is where it was started: its datastore is the one that Metaflow finds from there.
    """
    from mfbuild.local.sandbox.choose import RunOptions, choose_sandbox

    request = RunOptions(
        sandbox=sandbox,
        workers=args.max_workers or os.cpu_count() or 1,
        python=args.python.absolute(),
        environ=session.config.environ,
        here=here,
        step=getattr(args, "step", None),
    )
    return request, choose_sandbox(packaged, request, folder, session.store, session.reporter)


def perform(
    session: Session,
    state: RunState,
    packaged: RunSource,
    entered: tuple[RunOptions, Sandbox],
    *,
    json_wanted: bool,
) -> None:
    """Run what `state` is the record of, as far as it is not done, and print its name."""
    from mfbuild.local.parameters import given_parameters
    from mfbuild.local.perform import perform as perform_run
    from mfbuild.local.run_source import Given

    request, sandbox = entered
    values = given_parameters(packaged.spec, list(state.info.parameters.items()))
    began = time.monotonic()
    given = Given(packaged, values, state.info.prefix)
    perform_run(state, given, request, sandbox, session.reporter)
    told(session, state, request.step, began, json_wanted=json_wanted)


def told(
    session: Session, state: RunState, step: str | None, began: float, *, json_wanted: bool
) -> None:
    """Say that a run is done, and print it as Metaflow's client takes it."""
    seconds = time.monotonic() - began
    session.reporter.note(f"{step or state.info.flow} is done in {seconds:.1f} s")
    pathspec = f"{state.info.flow}/{state.info.run}"
    print(json.dumps({"run": pathspec, "name": state.info.name}) if json_wanted else pathspec)


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
    return Deployment("", "", person, branch=branch, production=production).prefix(spec)


def packaged_for(
    session: Session, word: str, sandbox: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Path, RunSource]:
    """What `word` names, as an absolute path, and what to run of it.

    A bundle is read, a flow is packaged; images are made for where they are used only: here.
    UsageError, before anything is made, if `pairs` are not Parameters of the flow.
    """
    from mfbuild.build.load import load_flows
    from mfbuild.bundle.read import read_bundle
    from mfbuild.local.parameters import given_parameters
    from mfbuild.local.run_source import from_bundle, without_images

    source = source_of(session, word)
    if is_bundle(word):
        packaged = from_bundle(read_bundle(source))
        given_parameters(packaged.spec, pairs)
        return source, packaged
    (flow,) = load_flows(session, [source])
    given_parameters(flow.spec, pairs)
    if sandbox == "host":
        return source, without_images(session, flow)
    from mfbuild.build.bundle import package
    from mfbuild.oci.archive import host_platform

    here = host_platform()
    platforms = (here,) if here in session.config.platforms else None
    ((_, path),) = package(session, [flow], platforms=platforms)
    return source, from_bundle(read_bundle(path))


def source_of(session: Session, word: str) -> Path:
    """The absolute path of the bundle or of the one flow that `word` names."""
    from mfbuild.build.labels import find_flow

    if is_bundle(word):
        return Path(word).absolute()
    return find_flow(word, session.config.root).absolute()


def is_bundle(word: str) -> bool:
    """Whether `word` is a bundle's folder or tar, rather than a flow."""
    path = Path(word)
    return not word.startswith("//") and (path.is_dir() or path.suffix == ".tar")


def workspace(word: str) -> Path:
    """The workspace of a run: the flow's; of a bundle, the one in which it is run."""
    return options.workspace_of([] if is_bundle(word) else [word])


def parameter_option(parser: argparse.ArgumentParser) -> None:
    """A Parameter by --param; `parameter_pairs` reads it, and those that are left over."""
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a Parameter of the flow; --NAME VALUE does the same after FLOW",
    )


def parameter_pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The Parameters of a command line, (name, text) each: of --param, and what was left over."""
    return [*_pairs(args.param), *_words(args.rest)]


def tell_namesakes(
    args: argparse.Namespace, session: Session, parameters: Iterable[ParameterSpec]
) -> None:
    """Warn of Parameters that have the name of an option which was given: it was meant for them."""
    options = {word[2:].partition("=")[0] for word in args.words if word.startswith("--")}
    given = {name for name, _ in parameter_pairs(args)}
    for name in sorted({parameter.name for parameter in parameters} & options - given):
        session.reporter.warn(
            f"`--{name}` is an option of mfbuild: `--param {name}=…` gives the flow's Parameter"
        )


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`NAME=VALUE` of each --param."""
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"`--param {wrong[0]}` is not NAME=VALUE")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def _words(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--NAME VALUE` and `--NAME=VALUE` of what argparse does not know."""
    found, waiting = [], list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            hint = "parameters come after FLOW, as `--NAME VALUE`"
            raise UsageError(f"unexpected argument `{word}`", hint=hint)
        if not equals and not waiting:
            raise UsageError(f"`{word}` is no option, or a parameter without its value")
        found.append((name[2:], value if equals else waiting.pop(0)))
    return found
