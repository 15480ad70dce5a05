"""Runs a workflow: hands its attempts to an executor, keeps the record, and ends what it began."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from flyteidl.core.literals_pb2 import Literal

from mfbuild.errors import Interrupted, RunError
from mfbuild.files import disk_errors
from mfbuild.local.record.state import JournalEntry, RunState
from mfbuild.local.sandbox.executor import Executor, Exit, ProcessJob
from mfbuild.local.sandbox.pod import PodContext, judge, outputs_digest, prepare
from mfbuild.local.workflow.interpreter import Interpreter
from mfbuild.local.workflow.model import Attempt, AttemptFailure, NodeFailure

TIMEOUT_GRACE = 10.0
STOP_GRACE = 5.0


class Watcher(Protocol):
    """Whoever shows how a run goes."""

    def started(self, attempt: Attempt) -> None: ...

    def ended(
        self, attempt: Attempt, seconds: float, failure: AttemptFailure | None, again: bool
    ) -> None:
        """`attempt` is over; `again` says that the same task is tried once more."""
        ...

    def tick(self) -> None:
        """Time goes by."""
        ...


@dataclass(slots=True)
class _Started:
    """An attempt that is under way; `deadline` is when it is cut off."""

    attempt: Attempt
    job: ProcessJob
    began: float
    deadline: float | None
    timed_out: bool = False


@dataclass(slots=True)
class Drive:
    """One run under way. `workers` attempts run at once.

    `overrides` replace the inputs of these names of every task: where a resumed run has newer
    code, also tasks whose inputs were written down before get that.
    """

    machine: Interpreter
    executor: Executor
    execution: PodContext
    state: RunState
    watcher: Watcher
    workers: int
    environ: Mapping[str, str]
    overrides: Mapping[str, Literal] = field(default_factory=dict)
    _running: dict[str, _Started] = field(default_factory=dict)

    def run(self) -> NodeFailure | None:
        """Run to the end; why the run failed, None if it did not.

        Interrupted (^C) and RunError (the disk, an environment) leave nothing running behind.
        """
        try:
            while not self.machine.finished and not self.machine.failing:
                self._start()
                self._advance()
            self._end_rest()
            return self.machine.verdict()
        except KeyboardInterrupt:
            self._end_rest()
            raise Interrupted("interrupted") from None
        finally:
            self.executor.close()

    def _start(self) -> None:
        for attempt in self.machine.ready(self.workers - len(self._running)):
            now = time.monotonic()
            folder = self.execution.folder(attempt)
            with disk_errors(RunError, f"cannot prepare `{attempt.node}`", folder):
                job = prepare(self._overridden(attempt), self.execution, self.environ)
            self.state.note(
                JournalEntry(attempt.node, attempt.number, "running", attempt.task.id.name)
            )
            deadline = now + attempt.timeout if attempt.timeout else None
            self._running[job.key] = _Started(attempt, job, now, deadline)
            self.watcher.started(attempt)
            self.executor.start(job)

    def _overridden(self, attempt: Attempt) -> Attempt:
        changed = {n: v for n, v in self.overrides.items() if n in attempt.inputs}
        inputs, values = {**attempt.inputs, **changed}, {**attempt.values, **changed}
        return replace(attempt, inputs=inputs, values=values) if changed else attempt

    def _advance(self) -> None:
        """Wait for something to happen, and draw the consequences."""
        for ended in self.executor.wait(self._patience()):
            self._ended(ended)
        now = time.monotonic()
        for key, started in self._running.items():
            if started.deadline is not None and started.deadline <= now:
                started.timed_out, started.deadline = True, None
                self.executor.stop(key, TIMEOUT_GRACE)
        self.watcher.tick()

    def _patience(self) -> float:
        """Seconds until somebody times out; not longer than a display may stand still."""
        deadlines = [s.deadline for s in self._running.values() if s.deadline is not None]
        return max(0.0, min([time.monotonic() + 1.0, *deadlines]) - time.monotonic())

    def _ended(self, exited: Exit) -> None:
        started = self._running.pop(exited.key)
        attempt, seconds = started.attempt, time.monotonic() - started.began
        ending = judge(attempt, started.job.folder, exited.status, timed_out=started.timed_out)
        failure = ending if isinstance(ending, AttemptFailure) else None
        self.state.note(
            JournalEntry(
                node=attempt.node,
                attempt=attempt.number,
                phase="failed" if failure else "succeeded",
                seconds=round(seconds, 3),
                reason=failure.message if failure else None,
                outputs=None if failure else outputs_digest(started.job.folder),
            )
        )
        again = self.machine.ended(attempt, ending)
        self.watcher.ended(attempt, seconds, failure, again)

    def _end_rest(self) -> None:
        """Stop what still runs; what succeeds nevertheless is recorded as that."""
        for key in self._running:
            self.executor.stop(key, STOP_GRACE)
        give_up = time.monotonic() + 2 * STOP_GRACE
        while self._running and time.monotonic() < give_up:
            for exited in self.executor.wait(1.0):
                if exited.status == 0:
                    self._ended(exited)
                else:
                    self._aborted(self._running.pop(exited.key))
        for started in list(self._running.values()):
            self._aborted(started)
        self._running.clear()

    def _aborted(self, started: _Started) -> None:
        attempt = started.attempt
        self.machine.abandoned(attempt)
        self.state.note(JournalEntry(attempt.node, attempt.number, "aborted"))
        seconds = time.monotonic() - started.began
        self.watcher.ended(attempt, seconds, AttemptFailure("aborted", "aborted"), False)
