"""Executions without an engine: the events that propeller would send, as a test tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flyteidl.admin.event_pb2 import (
    NodeExecutionEventRequest,
    TaskExecutionEventRequest,
    WorkflowExecutionEventRequest,
)
from flyteidl.core.execution_pb2 import ExecutionError, TaskLog, WorkflowExecution
from flyteidl.core.execution_pb2 import NodeExecution as Nodes
from flyteidl.core.execution_pb2 import TaskExecution as Tasks
from flyteidl.core.identifier_pb2 import (
    Identifier,
    NodeExecutionIdentifier,
    WorkflowExecutionIdentifier,
)
from flyteidl.core.workflow_pb2 import Node
from flyteidl.event.event_pb2 import (
    ExternalResourceInfo,
    NodeExecutionEvent,
    ParentNodeExecutionMetadata,
    TaskExecutionEvent,
    TaskExecutionMetadata,
    WorkflowExecutionEvent,
)

from tests.flyteadmin.events import create_node_event, create_task_event, create_workflow_event
from tests.flyteadmin.executor import Executor, Run, name_of
from tests.flyteadmin.node_ids import unique_id
from tests.flyteadmin.state import State, now

LOGS = "http://logs.example.com/"
ELEMENTS = 2
"""How many elements the list of a map has."""
_SYSTEM = ("start-node", "end-node")


class _Ended(Exception):
    """The execution has failed or was aborted: its nodes end with it."""


@dataclass
class Script:
    """How executions go, one node after the other.

    Nodes of `failing` fail with the message there; each node waits while `held`, once it runs.
    Given to `flyteadmin(executor=…)`.
    """

    failing: Mapping[str, str] = field(default_factory=dict)
    held: bool = False
    turn: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, state: State) -> Executor:
        return _Scripted(state, self)

    def release(self) -> None:
        """Let what is held go on, to its end."""
        with self.turn:
            self.held = False
            self.turn.notify_all()


@dataclass
class _Scripted:
    state: State
    script: Script
    aborted: set[tuple[str, str, str]] = field(default_factory=set)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, run: Run) -> None:
        self.threads.append(threading.Thread(target=_Walk(self, run).execution))
        self.threads[-1].start()

    def abort(self, id: WorkflowExecutionIdentifier) -> None:
        with self.script.turn:
            self.aborted.add(name_of(id))
            self.script.turn.notify_all()

    def close(self) -> None:
        self.script.release()
        for thread in self.threads:
            thread.join()


@dataclass(frozen=True)
class _Walk:
    executor: _Scripted
    run: Run

    def execution(self) -> None:
        """One execution, from RUNNING to its end."""
        self._workflow(WorkflowExecution.RUNNING)
        try:
            self._nodes(self.run.compiled.primary.template.nodes, "")
        except _Ended as end:
            if name_of(self.run.id) in self.executor.aborted:
                self._workflow(WorkflowExecution.ABORTED)
            else:
                self._workflow(WorkflowExecution.FAILING)
                self._workflow(WorkflowExecution.FAILED, error=_error(str(end)))
            return
        self._workflow(WorkflowExecution.SUCCEEDING)
        self._workflow(WorkflowExecution.SUCCEEDED)

    def _nodes(self, nodes: Sequence[Node], parent: str) -> None:
        for node in _in_order(nodes):
            self._node(node, parent)

    def _node(self, node: Node, parent: str) -> None:
        unique = unique_id(parent, node.id)

        def tell(phase: int, **fields: Any) -> None:
            kind = node.WhichOneof("target")
            event = NodeExecutionEvent(
                id=NodeExecutionIdentifier(node_id=unique, execution_id=self.run.id),
                phase=phase,
                occurred_at=now(),
                spec_node_id=node.id,
                node_name=node.metadata.name,
                event_version=1,
                is_parent=kind == "workflow_node",
                is_array=kind == "array_node",
                **fields,
            )
            if parent:
                event.retry_group = "0"
                event.parent_node_metadata.CopyFrom(ParentNodeExecutionMetadata(node_id=parent))
            self._send(create_node_event, NodeExecutionEventRequest(event=event))

        if node.id in _SYSTEM:
            tell(Nodes.SUCCEEDED)
            return
        tell(Nodes.QUEUED)
        tell(Nodes.RUNNING)
        try:
            self._content(node, unique)
        except _Ended as end:
            aborted = name_of(self.run.id) in self.executor.aborted
            tell(Nodes.ABORTED if aborted else Nodes.FAILED, error=_error(str(end)))
            raise
        tell(Nodes.SUCCEEDED)

    def _content(self, node: Node, unique: str) -> None:
        match node.WhichOneof("target"):
            case "task_node":
                self._task(node, node.task_node.reference_id, unique)
            case "array_node":
                self._task(node, node.array_node.node.task_node.reference_id, unique, ELEMENTS)
            case "workflow_node":
                self._nodes(self._part(node.workflow_node.sub_workflow_ref), unique)
            case "branch_node":
                self._node(node.branch_node.if_else.case.then_node, unique)

    def _task(self, node: Node, task: Identifier, unique: str, elements: int = 0) -> None:
        def tell(phase: int, **fields: Any) -> None:
            log = TaskLog(name="Kubernetes Logs", uri=f"{LOGS}{self.run.id.name}/{unique}")
            parts = [
                ExternalResourceInfo(
                    external_id=f"{unique}-{index}",
                    index=index,
                    phase=phase,
                    logs=[TaskLog(name=f"{log.name}-{index}", uri=f"{log.uri}/{index}")],
                )
                for index in range(elements)
            ]
            event = TaskExecutionEvent(
                task_id=task,
                parent_node_execution_id=NodeExecutionIdentifier(
                    node_id=unique, execution_id=self.run.id
                ),
                phase=phase,
                occurred_at=now(),
                logs=[] if elements else [log],
                metadata=TaskExecutionMetadata(external_resources=parts),
                event_version=1,
                **fields,
            )
            self._send(create_task_event, TaskExecutionEventRequest(event=event))

        tell(Tasks.QUEUED)
        tell(Tasks.RUNNING)
        self._wait()
        if name_of(self.run.id) in self.executor.aborted:
            tell(Tasks.ABORTED)
            raise _Ended("aborted")
        if node.id in self.executor.script.failing:
            message = self.executor.script.failing[node.id]
            tell(Tasks.FAILED, error=_error(message))
            raise _Ended(message)
        tell(Tasks.SUCCEEDED)

    def _wait(self) -> None:
        executor = self.executor
        with executor.script.turn:
            executor.script.turn.wait_for(
                lambda: not executor.script.held or name_of(self.run.id) in executor.aborted
            )

    def _part(self, reference: Identifier) -> Sequence[Node]:
        parts = (part.template for part in self.run.compiled.sub_workflows)
        (found,) = (part for part in parts if part.id == reference)
        nodes: Sequence[Node] = found.nodes
        return nodes

    def _workflow(self, phase: int, **fields: Any) -> None:
        event = WorkflowExecutionEvent(
            execution_id=self.run.id, phase=phase, occurred_at=now(), **fields
        )
        self._send(create_workflow_event, WorkflowExecutionEventRequest(event=event))

    def _send(self, handler: Callable[[State, Any], Any], request: Any) -> None:
        with self.executor.state.lock:
            handler(self.executor.state, request)


def _in_order(nodes: Sequence[Node]) -> Iterator[Node]:
    """Each node after those that it names as upstream; the system's at both ends."""
    left = {node.id: node for node in nodes if node.id not in _SYSTEM}
    for name in _SYSTEM[:1]:
        yield from (node for node in nodes if node.id == name)
    while left:
        ready = next(n for n in left.values() if not left.keys() & set(n.upstream_node_ids))
        yield left.pop(ready.id)
    yield from (node for node in nodes if node.id == _SYSTEM[1])


def _error(message: str) -> ExecutionError:
    return ExecutionError(code="USER:Error", message=message, kind=ExecutionError.USER)
