"""One run from its record to its end: what it starts with, how it is driven, what is said of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from mfbuild.errors import RunError
from mfbuild.files import disk_errors
from mfbuild.flyte.names import task_name
from mfbuild.local.drive import Drive
from mfbuild.local.program import Program
from mfbuild.local.progress import Progress, label_of
from mfbuild.local.record.completed import completed
from mfbuild.local.record.state import RUNS, RunState
from mfbuild.local.run_source import Runnable
from mfbuild.local.sandbox.choose import RunOptions
from mfbuild.local.sandbox.executor import Executor, last_lines
from mfbuild.local.sandbox.pod import INPUTS, LOG, PodContext
from mfbuild.local.workflow.interpreter import Interpreter
from mfbuild.local.workflow.model import NodeFailure, Recalled
from mfbuild.report import PlainReporter

_SHOWN_LINES = 10


def run(
    state: RunState,
    runnable: Runnable,
    request: RunOptions,
    executor: Executor,
    reporter: PlainReporter,
) -> None:
    """Run what is not done yet of `runnable`, and write down how that ended, if not by an error.

    RunError if the run fails, Interrupted on ^C; nothing that was started runs on.
    """
    failure = _drive(state, runnable, request, executor, reporter)
    if not request.step:
        attempt = failure.attempt if failure else None
        state.update(
            phase="failed" if failure else "succeeded",
            ended=time.time(),
            node=attempt.node if attempt else None,
            reason=failure.failure.message if failure else None,
        )
    if failure:
        raise _told(failure, state, request)


def _drive(
    state: RunState,
    runnable: Runnable,
    request: RunOptions,
    executor: Executor,
    reporter: PlainReporter,
) -> NodeFailure | None:
    program, info = _program(runnable, state.folder), state.info
    workflow, nodes = program.closure.workflow.id.name, state.folder / "nodes"
    progress = Progress.of(reporter, runnable.packaged.spec.steps)
    try:
        return Drive(
            machine=_machine(program, state, nodes, request.step, reporter.warn),
            executor=executor,
            execution=PodContext(info.project, info.domain, workflow, info.name, nodes),
            state=state,
            watcher=progress,
            workers=request.workers,
            environ=request.environ,
            overrides=program.addresses,
        ).run()
    finally:
        progress.close()


def _program(runnable: Runnable, folder: Path) -> Program:
    with disk_errors(RunError, "cannot write what the run needs", folder):
        return runnable.program(folder / "inputs")


def _machine(
    program: Program, state: RunState, nodes: Path, step: str | None, warn: Callable[[str], None]
) -> Interpreter:
    known = completed(state.folder, nodes, warn)
    for given in nodes.glob(f"**/{INPUTS}"):  # written anew: what is there is not believed
        given.unlink()
    only = task_name(program.closure.workflow.id.name, step) if step else None
    return Interpreter(
        program.closure, program.inputs, lambda node: known.get(node, Recalled()), only
    )


def _told(failure: NodeFailure, state: RunState, request: RunOptions) -> RunError:
    """The failure as people read it: the step, its last lines, and how to go on."""
    message, log = failure.failure.message, None
    if attempt := failure.attempt:
        log = state.folder / "nodes" / attempt.node / str(attempt.number) / LOG
        message = f"step `{label_of(attempt)}` failed: {message}"
        lines = last_lines(log, _SHOWN_LINES)
        message += "".join(f"\n  | {line}" for line in lines.splitlines())
    elif request.step:
        message = f"step `{request.step}` cannot run on its own: {message}"
    word = run_word(state.folder)
    hint = None if request.step else f"after mending it: mfbuild resume {word}"
    return RunError(message, where=str(log) if log else None, hint=hint)


def run_word(folder: Path) -> str:
    """The word that names a run for `resume`: its name where that is found from here."""
    return folder.name if folder.parent == Path.cwd() / RUNS else os.path.relpath(folder)
