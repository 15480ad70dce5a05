"""One run from its record to its end: what it starts with, how it is driven, what is said of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from flyteidl.core.literals_pb2 import Literal

from mfbuild.errors import Interrupted, MfbuildError, RunError
from mfbuild.local.contract import LOG, Execution
from mfbuild.local.drive import Drive
from mfbuild.local.executor import Executor, last_lines
from mfbuild.local.interpreter import Interpreter
from mfbuild.local.model import NodeFailure, Recalled, Values
from mfbuild.local.packaged import Packaged
from mfbuild.local.places import Request
from mfbuild.local.program import DOMAIN, PROJECT, Program, lay_inputs, program_of, workflow_inputs
from mfbuild.local.progress import Progress, label_of
from mfbuild.local.recall import recalled
from mfbuild.local.state import RunState
from mfbuild.report import PlainReporter

_SHOWN_LINES = 10


def perform(
    state: RunState,
    packaged: Packaged,
    values: Mapping[str, str | int | float | bool],
    request: Request,
    executor: Executor,
    reporter: PlainReporter,
) -> None:
    """Run what is not done yet of `packaged`, and write down how that ended.

    RunError if the run fails, Interrupted on ^C; nothing that was started runs on.
    """
    if request.step:  # the record of the run itself stays as it is
        if failure := _drive(state, packaged, values, request, executor, reporter):
            raise _told(failure, state, request)
        return
    try:
        failure = _drive(state, packaged, values, request, executor, reporter)
    except Interrupted:
        state.update(phase="interrupted", ended=time.time())
        raise
    except MfbuildError as error:
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
    packaged: Packaged,
    values: Mapping[str, str | int | float | bool],
    request: Request,
    executor: Executor,
    reporter: PlainReporter,
) -> NodeFailure | None:
    program = program_of(packaged)
    addresses = _lay(program, state.folder)
    resolved = program.resolved.with_addresses(
        code=addresses["code"].scalar.primitive.string_value,
        plan=addresses["plan"].scalar.primitive.string_value,
        person="{}",
    )
    inputs = workflow_inputs(resolved.launch_plan, values)
    nodes = state.folder / "nodes"
    progress = Progress.of(reporter, packaged.spec.steps)
    try:
        return Drive(
            machine=_machine(program, inputs, state, nodes, request.step),
            executor=executor,
            execution=Execution(PROJECT, DOMAIN, state.info.flow, state.info.name, nodes),
            state=state,
            watcher=progress,
            workers=request.workers,
            environ=request.environ,
            overrides=addresses,
        ).run()
    finally:
        progress.close()


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
