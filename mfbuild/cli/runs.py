"""What `run` and `resume` share: where a run comes from, how it is made, what is said of it."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfbuild.cli import options
from mfbuild.report import show

if TYPE_CHECKING:
    from mfbuild.build.load import LoadedFlow
    from mfbuild.build.session import Session
    from mfbuild.local.record.state import RunState
    from mfbuild.local.run_source import RunSource
    from mfbuild.local.sandbox.choose import RunOptions
    from mfbuild.local.sandbox.executor import Sandbox


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
        "--network",
        choices=("host", "none"),
        default="host",
        help="host: steps have this machine's network (default); none: a loopback interface alone",
    )
    parser.add_argument(
        "--max-workers",
        type=options.positive,
        metavar="N",
        help="steps at once (default: one per CPU)",
    )


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
        network=args.network == "host",
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
    from mfbuild.local.parameters import parameter_values
    from mfbuild.local.perform import perform as perform_run
    from mfbuild.local.run_source import Given

    request, sandbox = entered
    values = parameter_values(packaged.spec.parameters, list(state.info.parameters.items()))
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
    show(json.dumps({"run": pathspec, "name": state.info.name}) if json_wanted else pathspec)


def packaged_for(
    session: Session, word: str, sandbox: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Path, RunSource]:
    """What `word` names, as an absolute path, and what to run of it.

    A bundle is read, a flow is packaged; images are made for where they are used only: here.
    UsageError, before anything is made, if `pairs` are not Parameters of the flow.
    """
    from mfbuild.build.load import load_one
    from mfbuild.build.pipeline import build
    from mfbuild.bundle.read import read_bundle
    from mfbuild.local.parameters import parameter_values
    from mfbuild.local.run_source import from_bundle, without_images
    from mfbuild.oci.archive import host_platform

    def accept(flows: Sequence[LoadedFlow]) -> None:
        parameter_values(flows[0].spec.parameters, pairs)

    source = source_of(session, word)
    if options.is_local_bundle(word):
        packaged = from_bundle(read_bundle(source))
        parameter_values(packaged.spec.parameters, pairs)
    elif sandbox == "host":
        flow = load_one(session, str(source))
        accept([flow])
        packaged = without_images(session, flow)
    else:
        here = host_platform()
        platforms = (here,) if here in session.config.platforms else None
        (built,) = build(session, [str(source)], platforms=platforms, accept=accept)
        packaged = from_bundle(read_bundle(built.path))
    return source, packaged


def source_of(session: Session, word: str) -> Path:
    """The absolute path of the bundle or of the one flow that `word` names."""
    from mfbuild.build.labels import find_flow

    if options.is_local_bundle(word):
        return Path(word).absolute()
    return find_flow(word, session.config.root).absolute()
