"""Which attempts are due, and what follows from how one ended: a workflow as a pure machine.

Nothing here starts a process or touches a file. `ready` hands out attempts, `ended` takes what
became of them; who drives it decides how many run at once. The rules are those of Flyte's
propeller (facts in docs/flyte.md): a failed node fails the run, a node after a skipped one is
skipped, an ArrayNode runs its elements as tasks of their own, and a task that wrote futures.pb
goes on as the nodes in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flyteidl.core.workflow_pb2 import WorkflowMetadata

from mfbuild.errors import RunError
from mfbuild.local.workflow.model import (
    Attempt,
    AttemptFailure,
    Closure,
    Ending,
    NodeFailure,
    Recall,
    Recalled,
    Success,
    Values,
)
from mfbuild.local.workflow.nodes import Context, Scope
from mfbuild.local.workflow.tasks import AttemptedTask


def _nothing_recalled(node: str) -> Recalled:
    return Recalled()


class Interpreter:
    """One execution of a closed workflow.

    `outputs` are the workflow's once it is done; `failure` is why it failed. `recall` says what
    an earlier run of the same execution left of a node. With `only`, the name of a task, that task
    runs again wherever what it needs is recalled, and nothing else does.
    """

    def __init__(
        self,
        closure: Closure,
        inputs: Values,
        recall: Recall = _nothing_recalled,
        only: str | None = None,
    ) -> None:
        self.outputs: Values | None = None
        self.failure: NodeFailure | None = None
        self.skipped: list[str] = []
        self._recall, self._only = recall, only
        self._handed_out = 0
        self._ready: deque[AttemptedTask] = deque()
        self._running: dict[tuple[str, int], AttemptedTask] = {}
        self._due: deque[Callable[[], None]] = deque()
        workflow = closure.workflow
        at_once = workflow.metadata.on_failure == WorkflowMetadata.FAIL_IMMEDIATELY
        self._stop_at_failure = at_once
        context = Context(self._add, self._fail, self._due.append, self.skipped.append)
        self._due.append(
            lambda: Scope(
                context, "", workflow.nodes, workflow.outputs, inputs, closure.library, self._done
            ).begin()
        )
        self._settle()

    @property
    def running(self) -> int:
        """How many attempts were handed out and have not ended."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing will."""
        return not self._running and not self.waiting

    @property
    def failing(self) -> bool:
        """Whether the run has failed, and what still runs is to be ended."""
        return self.failure is not None and self._stop_at_failure

    def verdict(self) -> NodeFailure | None:
        """Why the finished run failed; None if it did not."""
        if self.failure is None and self._only:
            nothing = "nothing of the run leads to it: what comes before has not succeeded"
            return None if self._handed_out else _final(nothing)
        if self.failure is None and self.outputs is None:
            return _final("its nodes wait for each other")
        return self.failure

    @property
    def waiting(self) -> int:
        """How many attempts `ready` would hand out."""
        return 0 if self.failing else len(self._ready)

    def ready(self, most: int) -> list[Attempt]:
        """At most `most` attempts that are to be started now; they count as running from here."""
        attempts = []
        for _ in range(min(most, self.waiting)):
            task = self._ready.popleft()
            attempt = task.attempt()
            self._running[attempt.node, attempt.number] = task
            attempts.append(attempt)
        self._handed_out += len(attempts)
        return attempts

    def ended(self, attempt: Attempt, ending: Ending) -> bool:
        """Take in how `attempt` ended; whether the same task will be tried again."""
        task = self._running.pop((attempt.node, attempt.number))
        again = isinstance(ending, AttemptFailure) and task.fails(ending)
        if again:
            self._ready.append(task)
        elif isinstance(ending, Success) and self._only is None:
            self._due.append(lambda: task.done(ending))
        self._settle()
        return again

    def abandoned(self, attempt: Attempt) -> None:
        """Take in that `attempt` was cut off because the run ends; nothing follows from it."""
        del self._running[attempt.node, attempt.number]

    def _add(self, task: AttemptedTask) -> None:
        """A task whose inputs are there: done before, or to be run."""
        known = self._recall(task.id)
        task.number = known.attempts
        again = task.task.id.name == self._only
        if (success := known.success) and not again:
            self._due.append(lambda: task.done(success))
        elif again or self._only is None:
            self._ready.append(task)

    def _done(self, outputs: Values) -> None:
        self.outputs = outputs

    def _fail(self, failure: NodeFailure) -> None:
        self.failure = self.failure or failure

    def _settle(self) -> None:
        """Draw every consequence. They queue up instead of nesting: recursion may go deep."""
        while self._due:
            step = self._due.popleft()
            try:
                step()
            except RunError as error:
                self._fail(_final(str(error)))


def _final(message: str) -> NodeFailure:
    """A failure that is no task's."""
    return NodeFailure(None, AttemptFailure("final", message))
