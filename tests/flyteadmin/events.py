"""Events: what propeller tells of executions, nodes and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from flyteidl.admin.event_pb2 import (
    EventErrorAlreadyInTerminalState,
    EventFailureReason,
    NodeExecutionEventResponse,
    TaskExecutionEventResponse,
    WorkflowExecutionEventResponse,
)
from flyteidl.admin.node_execution_pb2 import NodeExecution
from flyteidl.admin.task_execution_pb2 import Reason, TaskExecution
from flyteidl.core.execution_pb2 import NodeExecution as NodePhases
from flyteidl.core.execution_pb2 import TaskExecution as TaskPhases
from flyteidl.core.execution_pb2 import TaskLog, WorkflowExecution
from flyteidl.core.identifier_pb2 import TaskExecutionIdentifier
from flyteidl.event.event_pb2 import ExternalResourceInfo
from grpc import StatusCode

from tests.flyteadmin.executions import ENDED, edit
from tests.flyteadmin.executor import name_of
from tests.flyteadmin.refusals import Refused, not_found, text
from tests.flyteadmin.state import Row, State

ENDED_NODES = frozenset(
    {
        NodePhases.SUCCEEDED,
        NodePhases.FAILED,
        NodePhases.TIMED_OUT,
        NodePhases.ABORTED,
        NodePhases.SKIPPED,
        NodePhases.RECOVERED,
    }
)
ENDED_TASKS = frozenset(
    {TaskPhases.SUCCEEDED, TaskPhases.FAILED, TaskPhases.ABORTED, TaskPhases.RETRYABLE_FAILED}
)
PENDING_TASKS = frozenset({TaskPhases.QUEUED, TaskPhases.INITIALIZING})


def create_workflow_event(state: State, request: Any) -> WorkflowExecutionEventResponse:
    """CreateWorkflowEvent."""
    event = request.event
    row = state.executions.rows.get(name_of(event.execution_id))
    if row is None:
        raise not_found("execution", event.execution_id)
    was, name = row.message.closure.phase, WorkflowExecution.Phase.Name
    if was == event.phase and event.phase != WorkflowExecution.QUEUED:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            f"This phase {name(was)} was already recorded for workflow execution "
            f"{text(event.execution_id)}",
        )
    if was in ENDED:
        raise _ended(
            f"Invalid phase change from {name(was)} to {name(event.phase)} for workflow "
            f"execution {text(event.execution_id)}",
            name(was),
        )
    if (was, event.phase) == (WorkflowExecution.RUNNING, WorkflowExecution.QUEUED) or (
        was == WorkflowExecution.ABORTING and event.phase not in ENDED
    ):
        raise Refused(
            StatusCode.FAILED_PRECONDITION,
            f"Cannot go from {name(was)} to {name(event.phase)} for workflow execution "
            f"{text(event.execution_id)}",
        )
    closure = edit(row).closure
    closure.updated_at.CopyFrom(event.occurred_at)
    _progress(row, event, event.phase == WorkflowExecution.RUNNING, event.phase in ENDED)
    row.columns |= {"phase": name(event.phase), "execution_updated_at": _when(event.occurred_at)}
    state.executions.write(name_of(event.execution_id), row)
    return WorkflowExecutionEventResponse()


def create_node_event(state: State, request: Any) -> NodeExecutionEventResponse:
    """CreateNodeEvent."""
    event = request.event
    execution = name_of(event.id.execution_id)
    if execution not in state.executions.rows:
        missing = not_found("execution", event.id.execution_id)
        raise Refused(
            missing.code,
            f"Failed to get existing execution id: [{text(event.id.execution_id)}] with err: "
            f"{missing}",
        )
    key = (*execution, event.id.node_id)
    row = state.node_executions.rows.get(key)
    if row is None:
        row = Row(NodeExecution(id=event.id), _node_columns(state, event))
        row.message.closure.created_at.CopyFrom(event.occurred_at)
        row.message.metadata.retry_group = event.retry_group
        row.message.metadata.spec_node_id = event.spec_node_id
    else:
        _check_node(row, event)
    message = edit(row)
    message.input_uri = message.input_uri or event.input_uri
    closure, metadata = message.closure, message.metadata
    closure.updated_at.CopyFrom(_reported(event))
    closure.deck_uri = event.deck_uri
    _progress(row, event, event.phase == NodePhases.RUNNING, event.phase in ENDED_NODES)
    metadata.is_parent_node |= event.is_parent
    metadata.is_dynamic |= event.is_dynamic
    metadata.is_array |= event.is_array
    if event.HasField("task_node_metadata"):
        given = event.task_node_metadata
        closure.task_node_metadata.checkpoint_uri = given.checkpoint_uri
        closure.task_node_metadata.cache_status = given.cache_status
        if given.HasField("dynamic_workflow"):
            row.sent = given.dynamic_workflow
            closure.dynamic_job_spec_uri = given.dynamic_workflow.dynamic_job_spec_uri
    row.columns["phase"] = NodePhases.Phase.Name(event.phase)
    state.node_executions.write(key, row)
    return NodeExecutionEventResponse()


def create_task_event(state: State, request: Any) -> TaskExecutionEventResponse:
    """CreateTaskEvent."""
    event = request.event
    node = (*name_of(event.parent_node_execution_id.execution_id),
            event.parent_node_execution_id.node_id)  # fmt: skip
    if node not in state.node_executions.rows:
        raise Refused(
            StatusCode.NOT_FOUND,
            f"Failed to get existing node execution id: [{text(event.parent_node_execution_id)}]",
        )
    key = (*node, *(getattr(event.task_id, field) for field in ("name", "version")),
           str(event.retry_attempt))  # fmt: skip
    row = state.task_executions.rows.get(key)
    if row is None:
        row = Row(TaskExecution(id=_task_id(event), input_uri=event.input_uri), {})
        row.columns.update(_task_columns(event))
        row.message.closure.created_at.CopyFrom(event.occurred_at)
        row.message.closure.task_type = event.task_type
    else:
        _check_task_event(row, event)
    _merge_task(row, event)
    state.task_executions.write(key, row)
    return TaskExecutionEventResponse()


def _check_node(row: Row, event: Any) -> None:
    was, name = row.message.closure.phase, NodePhases.Phase.Name
    if was == event.phase:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            f"This phase was already recorded {name(was)} for {text(event.id)}",
        )
    if was in ENDED_NODES:
        raise _ended(
            f"Invalid phase change from {name(was)} to {name(event.phase)} for node execution "
            f"{row.columns['id']}",
            name(event.phase),
        )


def _check_task_event(row: Row, event: Any) -> None:
    was, name = row.message.closure.phase, TaskPhases.Phase.Name
    if was == event.phase and row.columns["phase_version"] >= event.phase_version:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            f"have already recorded task execution phase {name(event.phase)} "
            f"(version: {event.phase_version}) for {text(row.message.id)}",
        )
    if was in ENDED_TASKS:
        raise _ended(
            f"invalid phase change from {name(was)} to {name(event.phase)} for task execution "
            f"{text(row.message.id)}",
            name(event.phase),
        )


def _merge_task(row: Row, event: Any) -> None:
    closure = edit(row).closure
    closure.updated_at.CopyFrom(_reported(event))
    started = event.phase == TaskPhases.RUNNING and not closure.HasField("started_at")
    _progress(row, event, started, event.phase in ENDED_TASKS)
    logs = _merged_logs(closure.logs, event.logs)
    _replace(closure.logs, [log for log in logs if _is_shown(log, event.phase)])
    if event.HasField("custom_info"):
        closure.custom_info.update(event.custom_info)
    for reason in event.reasons:
        closure.reasons.append(Reason(occurred_at=reason.occurred_at, message=reason.reason))
    if event.reason and closure.reason != event.reason:
        closure.reasons.append(Reason(occurred_at=event.occurred_at, message=event.reason))
    if closure.reasons:
        closure.reason = closure.reasons[-1].message
    resources = _merged_resources(
        closure.metadata.external_resources, event.metadata.external_resources
    )
    closure.metadata.MergeFrom(event.metadata)
    _replace(closure.metadata.external_resources, resources)
    closure.event_version = max(closure.event_version, event.event_version)
    row.columns |= {
        "phase": TaskPhases.Phase.Name(event.phase),
        "phase_version": event.phase_version,
    }


def _progress(row: Row, event: Any, started: bool, ended: bool) -> None:
    """What an event of any kind changes of a closure."""
    closure = row.message.closure
    closure.phase = event.phase
    if started:
        closure.started_at.CopyFrom(event.occurred_at)
        row.columns["started_at"] = _when(event.occurred_at)
    if ended and closure.HasField("started_at"):
        lasted = event.occurred_at.ToNanoseconds() - closure.started_at.ToNanoseconds()
        closure.duration.FromNanoseconds(max(0, lasted))
    result = event.WhichOneof("output_result")
    if not ended or result is None:
        return
    if result == "error":
        closure.error.CopyFrom(event.error)
        row.columns |= {"error_kind": event.error.kind, "error_code": event.error.code}
    elif result == "output_data":
        closure.output_data.CopyFrom(event.output_data)
    elif hasattr(closure, "outputs"):  # an execution's
        closure.outputs.uri = event.output_uri
    else:
        closure.output_uri = event.output_uri


def _replace(field: Any, messages: Sequence[Any]) -> None:
    """Set a repeated field; the messages may be its own."""
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def _merged_logs(old: Sequence[TaskLog], new: Sequence[TaskLog]) -> list[TaskLog]:
    """New logs, and of the old ones those whose URI and name are not among them."""
    uris, names = {log.uri for log in new}, {log.name for log in new if log.name}
    kept = [log for log in old if log.uri not in uris and log.name not in names]
    return [*new, *kept]


def _is_shown(log: TaskLog, phase: int) -> bool:
    if phase in ENDED_TASKS and log.HideOnceFinished:
        return False
    return bool(phase not in PENDING_TASKS or log.ShowWhilePending)


def _merged_resources(
    old: Sequence[ExternalResourceInfo], new: Sequence[ExternalResourceInfo]
) -> list[ExternalResourceInfo]:
    """The parts of a task, as the elements of an array are, by index and attempt."""
    merged = {(part.index, part.retry_attempt): part for part in old}
    for part in new:
        known = merged.get((part.index, part.retry_attempt))
        update = ExternalResourceInfo()
        update.CopyFrom(part)
        if known is not None:
            _replace(update.logs, _merged_logs(known.logs, part.logs))
            update.external_id = part.external_id or known.external_id
        merged[part.index, part.retry_attempt] = update
    return [merged[key] for key in sorted(merged)]


def _node_columns(state: State, event: Any) -> dict[str, Any]:
    execution = event.id.execution_id
    columns: dict[str, Any] = {
        name: getattr(execution, name) for name in ("project", "domain", "name")
    }
    parent: int | None = None
    if event.HasField("parent_node_metadata"):
        key = (*name_of(execution), event.parent_node_metadata.node_id)
        if key not in state.node_executions.rows:
            raise not_found("node execution", event.id)
        parent = state.node_executions.rows[key].columns["id"]
    created = _when(event.occurred_at)
    return columns | {
        "node_id": event.id.node_id,
        "parent_id": parent,
        "created_at": created,
        "node_execution_created_at": created,
    }


def _task_columns(event: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: getattr(event.task_id, name) for name in ("project", "domain", "name", "version")
    }
    return columns | {
        "node_id": event.parent_node_execution_id.node_id,
        "retry_attempt": event.retry_attempt,
        "phase_version": event.phase_version,
        "created_at": _when(event.occurred_at),
        "task_execution_created_at": _when(event.occurred_at),
    }


def _task_id(event: Any) -> TaskExecutionIdentifier:
    return TaskExecutionIdentifier(
        task_id=event.task_id,
        node_execution_id=event.parent_node_execution_id,
        retry_attempt=event.retry_attempt,
    )


def _reported(event: Any) -> Any:
    return event.reported_at if event.reported_at.ToNanoseconds() else event.occurred_at


def _when(stamp: Any) -> datetime:
    when: datetime = stamp.ToDatetime(tzinfo=timezone.utc)
    return when


def _ended(message: str, phase: str) -> Refused:
    state = EventErrorAlreadyInTerminalState(current_phase=phase)
    return Refused(
        StatusCode.FAILED_PRECONDITION,
        message,
        EventFailureReason(already_in_terminal_state=state),
    )
