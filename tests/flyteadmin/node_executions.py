"""Executions of nodes and of tasks: read and listed, a level at a time."""

from __future__ import annotations

from typing import Any

from flyteidl.admin.node_execution_pb2 import (
    DynamicNodeWorkflowResponse,
    DynamicWorkflowNodeMetadata,
    NodeExecution,
    NodeExecutionGetDataResponse,
    NodeExecutionList,
)
from flyteidl.admin.task_execution_pb2 import TaskExecution, TaskExecutionList
from grpc import StatusCode

from tests.flyteadmin.executions import trimmed
from tests.flyteadmin.executor import name_of
from tests.flyteadmin.listing import matching, ordered, page
from tests.flyteadmin.refusals import (
    Refused,
    invalid_argument,
    missing_argument,
    not_found,
)
from tests.flyteadmin.state import Row, State


def get_node_execution(state: State, request: Any) -> NodeExecution:
    """GetNodeExecution."""
    return _node(state, request.id).message


def get_node_execution_data(state: State, request: Any) -> NodeExecutionGetDataResponse:
    """GetNodeExecutionData: of a dynamic node, the workflow that it made."""
    row = _node(state, request.id)
    response = NodeExecutionGetDataResponse(full_outputs=row.message.closure.output_data)
    if row.sent is not None:
        response.dynamic_workflow.CopyFrom(
            DynamicWorkflowNodeMetadata(
                id=row.sent.id,
                compiled_workflow=row.sent.compiled_workflow,
                dynamic_job_spec_uri=row.sent.dynamic_job_spec_uri,
            )
        )
    return response


def get_dynamic_node_workflow(state: State, request: Any) -> DynamicNodeWorkflowResponse:
    """GetDynamicNodeWorkflow."""
    row = _node(state, request.id)
    if row.sent is None:
        raise Refused(StatusCode.NOT_FOUND, "node does not contain dynamic workflow")
    return DynamicNodeWorkflowResponse(compiled_workflow=row.sent.compiled_workflow)


def list_node_executions(state: State, request: Any) -> NodeExecutionList:
    """ListNodeExecutions: the nodes of the workflow itself, or of one parent."""
    execution = request.workflow_execution_id
    if not all(name_of(execution)):
        raise missing_argument("execution_id")
    if not request.limit:
        raise invalid_argument("limit")
    parent = None
    if request.unique_parent_id:
        key = (*name_of(execution), request.unique_parent_id)
        if key not in state.node_executions.rows:
            raise not_found("node execution", execution)
        parent = state.node_executions.rows[key].columns["id"]
    rows = [
        row
        for row in state.node_executions.in_order()
        if name_of(row.message.id.execution_id) == name_of(execution)
        and row.columns["parent_id"] == parent
    ]
    rows, token = _asked(rows, "node_execution", request, "ListNodeExecutions")
    return NodeExecutionList(node_executions=[trimmed(row.message) for row in rows], token=token)


def get_task_execution(state: State, request: Any) -> TaskExecution:
    """GetTaskExecution."""
    for row in state.task_executions.rows.values():
        if row.message.id == request.id:
            return row.message
    raise not_found("task execution", request.id)


def list_task_executions(state: State, request: Any) -> TaskExecutionList:
    """ListTaskExecutions: the attempts of one node."""
    if not request.node_execution_id.node_id:
        raise missing_argument("node_id")
    if not request.limit:
        raise invalid_argument("limit")
    rows = [
        row
        for row in state.task_executions.in_order()
        if row.message.id.node_execution_id == request.node_execution_id
    ]
    rows, token = _asked(rows, "task_execution", request, "ListTaskExecutions")
    return TaskExecutionList(task_executions=[trimmed(row.message) for row in rows], token=token)


def _node(state: State, identifier: Any) -> Row:
    row = state.node_executions.rows.get((*name_of(identifier.execution_id), identifier.node_id))
    if row is None:
        raise not_found("node execution", identifier)
    return row


def _asked(rows: list[Row], kind: str, request: Any, call: str) -> tuple[list[Row], str]:
    sort = request.sort_by if request.HasField("sort_by") else None
    rows = ordered(matching(rows, kind, request.filters), kind, sort)
    return page(rows, request.limit, request.token, call)
