"""Performs a run in its sandbox: starts its launchers early, ends on SIGTERM, leaves nothing."""

from __future__ import annotations

from contextlib import closing, nullcontext

from mfbuild.engine.signals import terminable
from mfbuild.local.record.state import RunState
from mfbuild.local.run_source import Runnable
from mfbuild.local.sandbox.choose import RunOptions
from mfbuild.local.sandbox.executor import Processes, Sandbox
from mfbuild.report import PlainReporter


def perform(
    state: RunState,
    runnable: Runnable,
    request: RunOptions,
    sandbox: Sandbox,
    reporter: PlainReporter,
) -> None:
    """Run what `state` is the record of, as far as it is not done, and write down how that ended.

    RunError if it fails, Interrupted on ^C and SIGTERM; nothing that was started runs on.
    """
    executor = Processes(sandbox, state.folder / "launchers", reporter.note)
    # A single step leaves the record of the run itself as it is.
    recorded = nullcontext() if request.step else state.recorded()
    with terminable(), recorded, closing(executor):
        if not (request.step or state.is_resumed):
            executor.ahead(runnable.first_image)
        # What follows takes a while to import; the launcher starts meanwhile.
        from mfbuild.local.run import run

        run(state, runnable, request, executor, reporter)
