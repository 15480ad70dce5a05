"""A task on its way: its attempts, and the two budgets that failures are charged to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node

from mfbuild.local.workflow.model import Attempt, AttemptFailure, NodeFailure, Success, Values

SYSTEM_RETRIES = 3
"""What propeller grants by default (node-config, max-node-retries-system-failures)."""


@dataclass(slots=True)
class AttemptedTask:
    """A task of which attempts are made until one succeeds or the budgets are used up.

    `retries` is the user's budget; system failures have one of their own and do not touch it
    (propeller, nodes/executor.go). Both count attempts of this run only, `number` all of them.
    """

    id: str
    task: TaskTemplate
    inputs: Values
    values: Values
    retries: int
    timeout: float | None
    done: Callable[[Success], None]
    failed: Callable[[NodeFailure], None]
    array: str | None = None
    index: int | None = None
    number: int = 0
    user_failures: int = 0
    system_failures: int = 0

    def attempt(self) -> Attempt:
        """The attempt that is due."""
        return Attempt(
            node=self.id,
            number=self.number,
            task=self.task,
            inputs=self.inputs,
            values=self.values,
            array=self.array,
            index=self.index,
            timeout=self.timeout,
        )

    def fails(self, failure: AttemptFailure) -> bool:
        """Take in a failed attempt; whether another one is due."""
        self.user_failures += failure.kind == "user"
        self.system_failures += failure.kind == "system"
        spent = self.user_failures > self.retries or self.system_failures > SYSTEM_RETRIES
        if failure.kind == "final" or spent:
            self.failed(NodeFailure(self.attempt(), failure))
            return False
        self.number += 1
        return True


def retries_of(node: Node, task: TaskTemplate) -> int:
    """The user's budget: the node's own retries before the task's."""
    if node.metadata.HasField("retries"):
        return int(node.metadata.retries.retries)
    return int(task.metadata.retries.retries)


def timeout_of(node: Node) -> float | None:
    """The node's deadline for one attempt in seconds; a task's own timeout counts for nothing."""
    if not node.metadata.HasField("timeout"):
        return None
    timeout = node.metadata.timeout
    return float(timeout.seconds + timeout.nanos / 1e9) or None
