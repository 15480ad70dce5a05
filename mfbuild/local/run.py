"""One run from its record to its end: where it happens, what it starts with, how it is driven."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flyteidl.core.literals_pb2 import Literal

from mfbuild.engine.store import Store
from mfbuild.errors import Interrupted, UsageError
from mfbuild.local.container import Engine, Runc, containers
from mfbuild.local.contract import LOG, Execution
from mfbuild.local.drive import Drive
from mfbuild.local.executor import Processes, last_lines
from mfbuild.local.host import Host
from mfbuild.local.images import Images
from mfbuild.local.interpreter import Interpreter
from mfbuild.local.isolated import Isolated
from mfbuild.local.model import NodeFailure, Recalled, RunError, Values
from mfbuild.local.mounts import Bind
from mfbuild.local.parameters import workflow_inputs
from mfbuild.local.program import DOMAIN, PROJECT, Program, lay_inputs
from mfbuild.local.progress import Progress, label_of
from mfbuild.local.settings import make_datastore, metaflow_settings
from mfbuild.local.state import RunState, recalled
from mfbuild.local.toolbox import lay_toolbox
from mfbuild.oci.archive import host_platform
from mfbuild.report import PlainReporter

PLACES = ("rootfs", "container", "host")
_SHOWN_LINES = 10
_SBIN = "/usr/sbin:/sbin"  # where runc may be, and a user's PATH does not lead
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True)
class Request:
    """How a run is to be made. `place` is one of PLACES; `python` the caller's interpreter.

    `step` is the one step that is to run again, on what the run has.
    """

    place: str
    workers: int
    python: Path
    environ: Mapping[str, str]
    here: Path
    step: str | None = None


def new_name() -> str:
    """A name for a run: its time, so that names sort, and a little chance."""
    chance = "".join(secrets.choice(_ALPHABET) for _ in range(4))
    return f"r{time.strftime('%y%m%d%H%M%S')}{chance}"


def perform(
    state: RunState,
    program: Program,
    values: Mapping[str, str | int | float | bool],
    request: Request,
    store: Store,
    reporter: PlainReporter,
) -> None:
    """Run what is not done yet of `program`, and write down how that ended.

    RunError if the run fails, Interrupted on ^C; nothing that was started runs on.
    """
    if request.step:  # the record of the run itself stays as it is
        if failure := _drive(state, program, values, request, store, reporter):
            raise _told(failure, state, request)
        return
    try:
        failure = _drive(state, program, values, request, store, reporter)
    except Interrupted:
        state.update(phase="interrupted", ended=time.time())
        raise
    except RunError as error:
        state.update(phase="failed", ended=time.time(), reason=str(error))
        raise
    phase = "failed" if failure else "succeeded"
    attempt = failure.attempt if failure else None
    state.update(
        phase=phase,
        ended=time.time(),
        node=attempt.node if attempt else None,
        reason=failure.failure.message if failure else None,
    )
    if failure:
        raise _told(failure, state, request)


def _drive(
    state: RunState,
    program: Program,
    values: Mapping[str, str | int | float | bool],
    request: Request,
    store: Store,
    reporter: PlainReporter,
) -> NodeFailure | None:
    addresses = _lay(program, state.folder)
    resolved = program.resolved.with_addresses(
        code=addresses["code"].scalar.primitive.string_value,
        plan=addresses["plan"].scalar.primitive.string_value,
        person="{}",
    )
    inputs = workflow_inputs(resolved.launch_plan, values)
    nodes = state.folder / "nodes"
    place = _place(program, request, state, store, reporter)
    progress = Progress.of(reporter, program.spec.steps)
    try:
        return Drive(
            machine=_machine(program, inputs, state, nodes, request.step),
            executor=Processes(place, state.folder / "launchers"),
            execution=Execution(PROJECT, DOMAIN, state.info.flow, state.info.name, nodes),
            state=state,
            watcher=progress,
            workers=request.workers,
            environ=request.environ,
            overrides=addresses,
        ).run()
    finally:
        progress.close()
        if not isinstance(place, Host):
            place.images.forget(state.folder)


def _lay(program: Program, folder: Path) -> dict[str, Literal]:
    try:
        return lay_inputs(program, folder / "inputs")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"cannot write what the run needs: {reason}", where=str(folder)) from error


def _machine(
    program: Program, inputs: Values, state: RunState, nodes: Path, step: str | None
) -> Interpreter:
    known = recalled(state.folder, nodes)
    only = program.resolved.tasks[step].id.name if step else None
    return Interpreter(program.closure, inputs, lambda node: known.get(node, Recalled()), only)


def _place(
    program: Program, request: Request, state: RunState, store: Store, reporter: PlainReporter
) -> Host | Isolated | Engine | Runc:
    """Where the steps of this run are to be; UsageError if that is not possible here."""
    environ = {**request.environ, **metaflow_settings(request.environ, request.here)}
    environ["MFBUILD_WORKDIR"] = str(state.folder / "work")
    datastore = make_datastore(environ)
    toolbox = lay_toolbox(store)
    if request.place == "host":
        _note_pythons(program, request, reporter)
        return Host(request.python, toolbox, environ)
    assert program.bundle, "BUG: a flow that was not packaged has no images"
    if request.place == "rootfs" and sys.platform != "linux":
        hint = "use `--in container`, or `--in host` for your own packages"
        raise UsageError("images can be run without a container on Linux only", hint=hint)
    images = Images(
        bundle=program.bundle,
        store=store,
        platform=host_platform(),
        steps=program.images,
        toolbox=toolbox,
        binds=(Bind(str(state.folder), writable=True), Bind(str(datastore), writable=True)),
        scratch=state.folder / "launchers",
        environ=environ,
        note=reporter.note,
    )
    if request.place == "rootfs":
        return Isolated(images)
    return containers(images, f"{request.environ.get('PATH', '')}:{_SBIN}")


def _note_pythons(program: Program, request: Request, reporter: PlainReporter) -> None:
    """Say which steps have another Python version here than in their images."""
    own = _version(request.python)
    for python in sorted(set(program.pythons.values()) - {own}):
        steps = ", ".join(step for step, version in program.pythons.items() if version == python)
        reporter.warn(f"{steps}: packaged with Python {python}, run with {own} here")


def _version(python: Path) -> str:
    """The major.minor version of an interpreter."""
    if python == Path(sys.executable).absolute():
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


def _told(failure: NodeFailure, state: RunState, request: Request) -> RunError:
    """The failure as people read it: the step, its last lines, and how to go on."""
    message, log = failure.failure.message, None
    if attempt := failure.attempt:
        log = state.folder / "nodes" / attempt.node / str(attempt.number) / LOG
        message = f"step `{label_of(attempt)}` failed: {message}"
        lines = last_lines(log, _SHOWN_LINES)
        message += "".join(f"\n  | {line}" for line in lines.splitlines())
    elif request.step:
        message = f"step `{request.step}` cannot run on its own: {message}"
    hint = None if request.step else f"after mending it: mfbuild resume {run_word(state.folder)}"
    return RunError(message, where=str(log) if log else None, hint=hint)


def run_word(folder: Path) -> str:
    """The word that names a run for `resume`: its name where that is found from here."""
    here = Path.cwd() / ".mfbuild/runs"
    return folder.name if folder.parent == here else os.path.relpath(folder)
