"""Tasks and workflows: registered once, compared by digest, read and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timezone
from typing import Any

from flyteidl.admin.common_pb2 import NamedEntityIdentifier, NamedEntityIdentifierList
from flyteidl.admin.launch_plan_pb2 import LaunchPlanList
from flyteidl.admin.task_pb2 import Task, TaskClosure, TaskCreateResponse, TaskList
from flyteidl.admin.workflow_pb2 import (
    Workflow,
    WorkflowClosure,
    WorkflowCreateResponse,
    WorkflowList,
)
from flyteidl.core.compiler_pb2 import CompiledTask, CompiledWorkflow, CompiledWorkflowClosure
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW, Identifier
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from tests.flyteadmin.closures import compile_workflow
from tests.flyteadmin.listing import matching, ordered, page
from tests.flyteadmin.refusals import (
    differs,
    exists,
    invalid,
    invalid_argument,
    missing_argument,
    not_found,
    text,
)
from tests.flyteadmin.state import Row, State, Table, digest_of, key_of, now
from tests.flyteadmin.validation import check_identifier, check_new, check_place, check_task

MAX_NODES = 100
_SYSTEM_NODES = 2  # start-node and end-node


def create_task(state: State, request: Any) -> TaskCreateResponse:
    """CreateTask."""
    check_task(state, request)
    compiled = CompiledTask(template=request.spec.template)
    compiled.template.id.CopyFrom(request.id)
    digest = digest_of(compiled)
    if old := state.tasks.rows.get(key_of(request.id)):
        if old.digest == digest:
            raise exists("task", request.id)
        raise differs("task", request.id, old.message.closure.compiled_task, compiled)
    closure = TaskClosure(compiled_task=compiled, created_at=now())
    message = Task(
        id=request.id,
        closure=closure,
        short_description=request.spec.description.short_description,
    )
    columns = columns_of(request.id, closure.created_at) | {"type": compiled.template.type}
    state.tasks.write(key_of(request.id), Row(message, columns, digest))
    return TaskCreateResponse()


def create_workflow(state: State, request: Any) -> WorkflowCreateResponse:
    """CreateWorkflow: compiles with every task that it names, as they are registered."""
    check_identifier(request.id if request.HasField("id") else None, WORKFLOW)
    check_place(state, request.id.project, request.id.domain)
    if not request.HasField("spec") or not request.spec.HasField("template"):
        raise missing_argument("spec")
    check_new(request.id)
    template = WorkflowTemplate()
    template.CopyFrom(request.spec.template)
    template.id.CopyFrom(request.id)
    sent, compiled = compile_workflow(state, template, request.spec.sub_workflows)
    nodes = len(compiled.primary.template.nodes) - _SYSTEM_NODES
    if nodes > MAX_NODES:
        raise invalid(
            f"number of nodes in workflow [{text(request.id)}] exceeds limit "
            f"({nodes} > {MAX_NODES})"
        )
    digest = digest_of(compiled)
    if old := state.workflows.rows.get(key_of(request.id)):
        if old.digest == digest:
            raise exists("workflow", request.id)
        raise differs("workflow", request.id, old.message.closure.compiled_workflow, compiled)
    closure = WorkflowClosure(compiled_workflow=compiled, created_at=now())
    message = Workflow(
        id=request.id,
        closure=closure,
        short_description=request.spec.description.short_description,
    )
    columns = columns_of(request.id, closure.created_at)
    state.workflows.write(key_of(request.id), Row(message, columns, digest, sent))
    return WorkflowCreateResponse()


def get_task(state: State, request: Any) -> Any:
    """GetTask."""
    return _get(state.tasks, request, TASK)


def get_workflow(state: State, request: Any) -> Any:
    """GetWorkflow, with the closure as it was compiled."""
    return _get(state.workflows, request, WORKFLOW)


def get_launch_plan(state: State, request: Any) -> Any:
    """GetLaunchPlan."""
    return _get(state.launch_plans, request, LAUNCH_PLAN)


def list_tasks(state: State, request: Any) -> TaskList:
    """ListTasks."""
    rows, token = listed(state.tasks, "task", request, "ListTasks")
    return TaskList(tasks=[row.message for row in rows], token=token)


def list_workflows(state: State, request: Any) -> WorkflowList:
    """ListWorkflows: of each closure there is the interface alone."""
    rows, token = listed(state.workflows, "workflow", request, "ListWorkflows")
    return WorkflowList(workflows=[_outline(row.message) for row in rows], token=token)


def list_launch_plans(state: State, request: Any) -> LaunchPlanList:
    """ListLaunchPlans."""
    rows, token = listed(state.launch_plans, "launch_plan", request, "ListLaunchPlans")
    return LaunchPlanList(launch_plans=[row.message for row in rows], token=token)


def list_ids(table: str, call: str) -> Callable[[State, Any], NamedEntityIdentifierList]:
    """ListTaskIds and its like: each name once."""

    def answer(state: State, request: Any) -> NamedEntityIdentifierList:
        for name in ("project", "domain"):
            if not getattr(request, name):
                raise missing_argument(name)
        if not request.limit:
            raise invalid_argument("limit")
        found = getattr(state, f"{table}s").in_order()
        names = {row.columns["name"]: row for row in _within(found, request)}
        rows = ordered(list(names.values()), table, _sort(request))
        rows, token = page(rows, request.limit, request.token, call)
        identifiers = [
            NamedEntityIdentifier(
                project=request.project, domain=request.domain, name=row.columns["name"]
            )
            for row in rows
        ]
        return NamedEntityIdentifierList(entities=identifiers, token=token)

    return answer


def listed(table: Table, kind: str, request: Any, call: str) -> tuple[list[Row], str]:
    """The rows that a ResourceListRequest asks for, and the next page's token."""
    if not request.HasField("id"):
        raise missing_argument("id")
    for name in ("project", "domain"):
        if not getattr(request.id, name):
            raise missing_argument(name)
    if not request.limit:
        raise invalid_argument("limit")
    rows = [
        row
        for row in _within(table.in_order(), request.id)
        if request.id.name in ("", row.columns["name"])
    ]
    rows = ordered(matching(rows, kind, request.filters), kind, _sort(request))
    return page(rows, request.limit, request.token, call)


def columns_of(identifier: Identifier, created: Any) -> dict[str, Any]:
    """The columns that all entities have."""
    names = ("project", "domain", "name", "version")
    columns: dict[str, Any] = {name: getattr(identifier, name) for name in names}
    when = created.ToDatetime(tzinfo=timezone.utc)
    return columns | {"created_at": when, "updated_at": when}


def _get(table: Table, request: Any, type_: int) -> Any:
    check_identifier(request.id if request.HasField("id") else None, type_)
    if row := table.rows.get(key_of(request.id)):
        return row.message
    raise not_found(table.kind, request.id)


def _outline(workflow: Workflow) -> Workflow:
    interface = workflow.closure.compiled_workflow.primary.template.interface
    primary = CompiledWorkflow(template=WorkflowTemplate(interface=interface))
    return Workflow(
        id=workflow.id,
        short_description=workflow.short_description,
        closure=WorkflowClosure(
            compiled_workflow=CompiledWorkflowClosure(primary=primary),
            created_at=workflow.closure.created_at,
        ),
    )


def _within(rows: Iterable[Row], place: Any) -> list[Row]:
    wanted = (place.project, place.domain)
    return [row for row in rows if (row.columns["project"], row.columns["domain"]) == wanted]


def _sort(request: Any) -> Any:
    return request.sort_by if request.HasField("sort_by") else None
