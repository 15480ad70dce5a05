"""Executions: started with inputs that fit, read, listed, ended."""

from __future__ import annotations

import random
import re
import string
from datetime import timezone
from typing import Any

from flyteidl.admin.execution_pb2 import (
    AbortMetadata,
    Execution,
    ExecutionClosure,
    ExecutionCreateResponse,
    ExecutionList,
    ExecutionSpec,
    ExecutionTerminateResponse,
    WorkflowExecutionGetDataResponse,
)
from flyteidl.admin.launch_plan_pb2 import LaunchPlan
from flyteidl.core.execution_pb2 import ExecutionError, WorkflowExecution
from flyteidl.core.identifier_pb2 import (
    LAUNCH_PLAN,
    TASK,
    ResourceType,
    WorkflowExecutionIdentifier,
)
from flyteidl.core.literals_pb2 import LiteralMap
from grpc import StatusCode

from tests.flyteadmin.executor import Run, name_of
from tests.flyteadmin.literal_types import castable, type_of
from tests.flyteadmin.refusals import (
    Refused,
    ended_already,
    invalid,
    missing_argument,
    not_found,
    text,
)
from tests.flyteadmin.registration import listed
from tests.flyteadmin.single_task import launch_plan_of_task
from tests.flyteadmin.state import Row, State, key_of, now
from tests.flyteadmin.validation import check_fields, check_place

LONGEST_NAME = 63
TRIMMED = 100
"""What lists show of an error's message, in bytes."""
ENDED = frozenset(
    {
        WorkflowExecution.SUCCEEDED,
        WorkflowExecution.FAILED,
        WorkflowExecution.TIMED_OUT,
        WorkflowExecution.ABORTED,
    }
)
_NAME = re.compile(r"[a-z][a-z\-0-9]*")
_RANDOM = random.SystemRandom()


def create_execution(state: State, request: Any) -> ExecutionCreateResponse:
    """CreateExecution, of a launch plan or of a single task."""
    check_request(state, request)
    of = request.spec.launch_plan
    plan = launch_plan_of_task(state, of) if of.resource_type == TASK else _plan(state, of)
    given = request.inputs if request.inputs.literals else request.spec.inputs
    inputs = complete_inputs(given, plan)
    workflow = state.workflows.rows[key_of(plan.spec.workflow_id)]
    name = request.name or "f" + "".join(
        _RANDOM.choices(string.ascii_lowercase + string.digits, k=19)
    )
    identifier = WorkflowExecutionIdentifier(
        project=request.project, domain=request.domain, name=name
    )
    if name_of(identifier) in state.executions.rows:
        raise Refused(
            StatusCode.ALREADY_EXISTS,
            "value with matching already exists "
            '(duplicate key value violates unique constraint "executions_pkey")',
        )
    spec = _spec(request, plan)
    run = Run(identifier, workflow.sent, workflow.message.closure.compiled_workflow, inputs, spec)
    message = _started(state, run, workflow.message.id)
    row = Row(message, {}, sent=inputs)
    row.columns.update(_columns(message))
    state.executions.write(name_of(identifier), row)
    return ExecutionCreateResponse(id=identifier)


def get_execution(state: State, request: Any) -> Execution:
    """GetExecution."""
    return found(state, request).message


def get_execution_data(state: State, request: Any) -> WorkflowExecutionGetDataResponse:
    """GetExecutionData: what it was given, and what it gave."""
    row = found(state, request)
    return WorkflowExecutionGetDataResponse(
        full_inputs=row.sent, full_outputs=row.message.closure.output_data
    )


def list_executions(state: State, request: Any) -> ExecutionList:
    """ListExecutions: those that are not archived, with the beginnings of errors."""
    rows, token = listed(state.executions, "execution", request, "ListExecutions")
    return ExecutionList(executions=[trimmed(row.message) for row in rows], token=token)


def terminate_execution(state: State, request: Any) -> ExecutionTerminateResponse:
    """TerminateExecution: it is ABORTING, until its events say that it has ended."""
    row = found(state, request)
    if row.message.closure.phase in ENDED:
        raise ended_already(WorkflowExecution.Phase.Name(row.message.closure.phase))
    closure = edit(row).closure
    closure.phase = WorkflowExecution.ABORTING
    closure.abort_metadata.CopyFrom(AbortMetadata(cause=request.cause))
    row.columns["phase"] = "ABORTING"
    state.executions.write(name_of(request.id), row)
    state.executor.abort(row.message.id)
    return ExecutionTerminateResponse()


def found(state: State, request: Any) -> Row:
    """The execution that a request is about."""
    if not request.HasField("id"):
        raise missing_argument("id")
    for field in ("project", "domain", "name"):
        if not getattr(request.id, field):
            raise missing_argument(field)
    row = state.executions.rows.get(name_of(request.id))
    if row is None:
        raise not_found("execution", request.id)
    return row


def edit(row: Row) -> Any:
    """A copy of a row's message in its place, since the old one may be on its way to a client."""
    copy = type(row.message)()
    copy.CopyFrom(row.message)
    row.message = copy
    return copy


def trimmed(message: Any) -> Any:
    """The same as lists have it."""
    if message.closure.WhichOneof("output_result") != "error":
        return message
    short = type(message)()
    short.CopyFrom(message)
    cut = message.closure.error.message.encode()[:TRIMMED]
    short.closure.error.message = cut.decode(errors="ignore")
    return short


def check_request(state: State, request: Any) -> None:
    """An ExecutionCreateRequest, but for its inputs."""
    for field in ("project", "domain"):
        if not getattr(request, field):
            raise missing_argument(field)
    if len(request.name) > LONGEST_NAME:
        raise invalid(f"size of name exceeded length {LONGEST_NAME} : {request.name.lower()}")
    if request.name and not _NAME.fullmatch(request.name.lower()):
        raise invalid(f"invalid name format: {request.name.lower()}")
    check_place(state, request.project, request.domain)
    if not request.HasField("spec"):
        raise missing_argument("spec")
    of = request.spec.launch_plan
    check_fields(of if request.spec.HasField("launch_plan") else None)
    if of.resource_type not in (LAUNCH_PLAN, TASK):
        raise invalid(
            "Invalid reference entity resource type "
            f"[{ResourceType.Name(of.resource_type)}], only [map[LAUNCH_PLAN:<nil> TASK:<nil>]] "
            "allowed"
        )
    for name, literal in request.inputs.literals.items():
        if not name:
            raise invalid("missing key in inputs")
        if literal.WhichOneof("value") is None and not literal.HasField("offloaded_metadata"):
            raise invalid(f"missing valid literal in inputs {name}")
    if request.name != request.name.lower():
        # Kubernetes refuses it as a resource's name, and the execution is never there.
        raise Refused(
            StatusCode.INTERNAL, f"failed to create workflow in propeller: {request.name}"
        )


def complete_inputs(given: LiteralMap, plan: LaunchPlan) -> LiteralMap:
    """The inputs of an execution: given, else by default; and those that are fixed."""
    expected = plan.closure.expected_inputs.parameters
    inputs = dict(given.literals)
    for name in inputs:
        if name not in expected:
            raise invalid(f"invalid input {name}")
    for name, parameter in expected.items():
        if name not in inputs:
            if parameter.required:
                raise invalid(f"expected_inputs {name} missing")
            inputs[name] = parameter.default
        elif not castable(type_of(inputs[name]), parameter.var.type):
            raise invalid(
                f"invalid {name} input wrong type. Expected {text(parameter.var.type)}, "
                f"but got {text(type_of(inputs[name]))}"
            )
    for name, literal in plan.spec.fixed_inputs.literals.items():
        if name in inputs:
            raise invalid(f"fixed_inputs {name} cannot be overridden")
        inputs[name] = literal
    return LiteralMap(literals=inputs)


def _plan(state: State, identifier: Any) -> LaunchPlan:
    row = state.launch_plans.rows.get(key_of(identifier))
    if row is None:
        raise not_found("LAUNCH_PLAN", identifier)
    return row.message


def _spec(request: Any, plan: LaunchPlan) -> ExecutionSpec:
    spec = ExecutionSpec()
    spec.CopyFrom(request.spec)
    if not spec.max_parallelism:
        spec.max_parallelism = plan.spec.max_parallelism
    for field in ("labels", "annotations", "envs", "security_context"):
        if not spec.HasField(field) and plan.spec.HasField(field):
            getattr(spec, field).CopyFrom(getattr(plan.spec, field))
    system = spec.metadata.system_metadata
    system.namespace = f"{request.project}-{request.domain}"
    return spec


def _started(state: State, run: Run, workflow_id: Any) -> Execution:
    created = now()
    closure = ExecutionClosure(workflow_id=workflow_id, created_at=created, updated_at=created)
    closure.state_change_details.occurred_at.CopyFrom(created)
    try:
        state.executor.start(run)
    except Exception as error:
        # As flyteadmin: the execution is there, and has failed.
        closure.phase = WorkflowExecution.FAILED
        closure.error.CopyFrom(
            ExecutionError(code="Internal", message=str(error), kind=ExecutionError.SYSTEM)
        )
    return Execution(id=run.id, spec=run.spec, closure=closure)


def _columns(message: Execution) -> dict[str, Any]:
    of, workflow = message.spec.launch_plan, message.closure.workflow_id
    created = message.closure.created_at.ToDatetime(tzinfo=timezone.utc)
    columns = {name: getattr(message.id, name) for name in ("project", "domain", "name")}
    columns |= {f"execution_{name}": value for name, value in columns.items()}
    entity = "task" if of.resource_type == TASK else "launch_plan"
    for kind, identifier in ((entity, of), ("workflow", workflow)):
        for name in ("project", "domain", "name", "version"):
            columns[f"{kind}.{name}"] = getattr(identifier, name)
    return columns | {
        "phase": WorkflowExecution.Phase.Name(message.closure.phase),
        "created_at": created,
        "updated_at": created,
        "execution_created_at": created,
        "execution_updated_at": created,
        "launch_entity": entity,
        "mode": message.spec.metadata.mode,
        "state": 0,
        "user": message.spec.metadata.principal,
    }
