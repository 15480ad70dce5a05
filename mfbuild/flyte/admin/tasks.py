"""The tasks of an execution, out of its tree of node executions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from flyteidl.admin import common_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core.execution_pb2 import NodeExecution, TaskExecution
from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier

from mfbuild.flyte.admin.client import PAGE, Client
from mfbuild.flyte.backend import Phase, TaskRun
from mfbuild.flyte.names import END, START
from mfbuild.http.parallel import for_each

if TYPE_CHECKING:
    from mfbuild.http.parallel import Tick

WORKERS = 8

NODE_ENDS: Mapping[int, Phase] = {
    NodeExecution.SUCCEEDED: "succeeded",
    NodeExecution.FAILED: "failed",
    NodeExecution.ABORTED: "aborted",
    NodeExecution.SKIPPED: "skipped",
    NodeExecution.TIMED_OUT: "timed out",
    NodeExecution.RECOVERED: "succeeded",
}
"""The phases in which a node has ended."""

TASK_PHASES: Mapping[int, Phase] = {
    TaskExecution.UNDEFINED: "queued",
    TaskExecution.QUEUED: "queued",
    TaskExecution.INITIALIZING: "queued",
    TaskExecution.WAITING_FOR_RESOURCES: "queued",
    TaskExecution.RUNNING: "running",
    TaskExecution.SUCCEEDED: "succeeded",
    TaskExecution.ABORTED: "aborted",
    TaskExecution.FAILED: "failed",
    TaskExecution.RETRYABLE_FAILED: "queued",
}
_FAILED = (TaskExecution.FAILED, TaskExecution.RETRYABLE_FAILED)
_GOING_ON = (NodeExecution.UNDEFINED, NodeExecution.QUEUED, NodeExecution.RUNNING)


def list_tasks(client: Client, execution: WorkflowExecutionIdentifier) -> Sequence[TaskRun]:
    """`Executions.tasks`: each node that runs a task, those that it started after it."""
    reader = _Reader(client, execution)
    found: dict[str, _Found] = {}

    def read(node: _Node, tick: Tick) -> None:
        found[node.path] = reader.read(node)

    top = level = reader.children("", "")
    while level:
        for_each(level, read, WORKERS)
        level = [child for node in level for child in found[node.path].children]
    return list(_flat(top, found))


@dataclass(frozen=True, slots=True)
class _Node:
    """A node execution, with the ids of the nodes around it in `path`."""

    path: str
    execution: node_execution_pb2.NodeExecution


@dataclass(frozen=True, slots=True)
class _Found:
    """What belongs to a node: what it runs itself, and the nodes below it."""

    runs: Sequence[TaskRun]
    children: Sequence[_Node]


def _flat(nodes: Sequence[_Node], found: Mapping[str, _Found]) -> Iterator[TaskRun]:
    for node in nodes:
        yield from found[node.path].runs
        yield from _flat(found[node.path].children, found)


class _Reader:
    def __init__(self, client: Client, execution: WorkflowExecutionIdentifier) -> None:
        self._client = client
        self._execution = execution
        self._doing = f"list the tasks of the execution `{execution.name}`"

    def read(self, node: _Node) -> _Found:
        """The task that a node runs, and its children.

        A branch node has children too, but only its lack of a task says so (flytepropeller's
        nodes/transformers.go marks sub-workflows and dynamic nodes alone).
        """
        attempts = self._attempts(node)
        may_have = node.execution.metadata.is_parent_node or not attempts
        parent = node.execution.id.node_id
        children = self.children(parent, f"{node.path}/") if may_have else []
        return _Found(self._runs(node, attempts), children)

    def children(self, parent: str, prefix: str) -> list[_Node]:
        """The nodes below the one of unique id `parent`, or at the top, oldest first."""
        request = node_execution_pb2.NodeExecutionListRequest(
            workflow_execution_id=self._execution,
            unique_parent_id=parent,
            limit=PAGE,
            sort_by=OLDEST_FIRST,
        )
        method = self._client.admin.ListNodeExecutions
        nodes = [
            node
            for node in self._client.pages(method, request, "node_executions", self._doing)
            if _name(node) not in (START, END)
        ]
        # A node that was retried leaves the children of earlier attempts.
        latest = max((_retry_group(node) for node in nodes), default=0)
        nodes = [node for node in nodes if _retry_group(node) == latest]
        names = [_name(node) for node in nodes]
        return [
            _Node(prefix + (name if names.count(name) == 1 else node.id.node_id), node)
            for name, node in zip(names, nodes, strict=True)
        ]

    def _attempts(self, node: _Node) -> list[task_execution_pb2.TaskExecution]:
        request = task_execution_pb2.TaskExecutionListRequest(
            node_execution_id=node.execution.id, limit=PAGE
        )
        method = self._client.admin.ListTaskExecutions
        return list(self._client.pages(method, request, "task_executions", self._doing))

    def _runs(
        self, node: _Node, attempts: Sequence[task_execution_pb2.TaskExecution]
    ) -> list[TaskRun]:
        if not attempts:
            return []
        latest = max(attempts, key=lambda attempt: attempt.id.retry_attempt)
        if latest.closure.HasField("error"):
            # Lists cut errors short.
            request = task_execution_pb2.TaskExecutionGetRequest(id=latest.id)
            latest = self._client.call(self._client.admin.GetTaskExecution, request, self._doing)
        if latest.closure.metadata.external_resources and node.execution.metadata.is_array:
            return _elements(node, latest)
        return [_run(node, latest)]


OLDEST_FIRST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.ASCENDING)


def _name(node: node_execution_pb2.NodeExecution) -> str:
    """The id of a node in its workflow."""
    return str(node.metadata.spec_node_id or node.id.node_id)


def _retry_group(node: node_execution_pb2.NodeExecution) -> int:
    return int(node.metadata.retry_group or 0)


def _run(node: _Node, attempt: task_execution_pb2.TaskExecution) -> TaskRun:
    closure, of_node = attempt.closure, node.execution.closure.phase
    phase = TASK_PHASES.get(closure.phase, "running")
    if closure.phase in _FAILED:
        # Propeller says that an attempt failed, and then starts the next one.
        phase = "queued" if of_node in _GOING_ON else "failed"
    # A dynamic node goes on after its own task; any other ends with it, and may end it.
    if not node.execution.metadata.is_parent_node:
        phase = NODE_ENDS.get(of_node, phase)
    began, ended = times(closure, done=phase not in ("queued", "running"))
    return TaskRun(
        node=node.path,
        task=attempt.id.task_id.name,
        phase=phase,
        attempt=attempt.id.retry_attempt,
        began=began,
        ended=ended,
        error=_error(closure),
        logs=_logs(closure.logs),
    )


def _elements(node: _Node, task: task_execution_pb2.TaskExecution) -> list[TaskRun]:
    """The elements of an array; of each the server tells each attempt, and no times."""
    latest: dict[int, Any] = {}
    for element in task.closure.metadata.external_resources:
        known = latest.get(element.index)
        if known is None or element.retry_attempt >= known.retry_attempt:
            latest[element.index] = element
    runs = []
    for index, element in sorted(latest.items()):
        phase = TASK_PHASES.get(element.phase, "running")
        runs.append(
            TaskRun(
                node=f"{node.path}/{index}",
                task=task.id.task_id.name,
                phase=phase,
                attempt=element.retry_attempt,
                began=None,
                ended=None,
                error=_error(task.closure) if phase == "failed" else None,
                logs=_logs(element.logs),
            )
        )
    return runs


def times(closure: Any, *, done: bool) -> tuple[datetime | None, datetime | None]:
    """When what a closure tells of began and ended."""
    began = closure.started_at if closure.HasField("started_at") else None
    if not done or began is None:
        return began and began.ToDatetime(timezone.utc), None
    start = began.ToDatetime(timezone.utc)
    if closure.HasField("duration"):
        return start, start + closure.duration.ToTimedelta()
    return start, closure.updated_at.ToDatetime(timezone.utc)


def _error(closure: task_execution_pb2.TaskExecutionClosure) -> str | None:
    return (closure.error.message or closure.error.code) if closure.HasField("error") else None


def _logs(logs: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((log.name, log.uri) for log in logs)
