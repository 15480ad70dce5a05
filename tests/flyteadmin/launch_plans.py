"""Launch plans: what they must fit, what the server adds to them, and which version is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyteidl.admin.launch_plan_pb2 import (
    ACTIVE,
    INACTIVE,
    LaunchPlan,
    LaunchPlanClosure,
    LaunchPlanCreateResponse,
    LaunchPlanList,
    LaunchPlanSpec,
    LaunchPlanUpdateResponse,
)
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, WORKFLOW
from flyteidl.core.interface_pb2 import Parameter, ParameterMap, TypedInterface, Variable
from flyteidl.core.types_pb2 import DATETIME
from grpc import StatusCode

from tests.flyteadmin.cron import check_cron
from tests.flyteadmin.listing import ordered, page
from tests.flyteadmin.literal_types import castable, type_of
from tests.flyteadmin.refusals import (
    Refused,
    differs,
    exists,
    invalid,
    invalid_argument,
    missing_argument,
    not_found,
    text,
)
from tests.flyteadmin.registration import columns_of
from tests.flyteadmin.state import Row, State, digest_of, key_of, now
from tests.flyteadmin.validation import (
    check_identifier,
    check_labels,
    check_new,
    check_place,
)

_ENDED = (
    WorkflowExecution.SUCCEEDED,
    WorkflowExecution.FAILED,
    WorkflowExecution.TIMED_OUT,
    WorkflowExecution.ABORTED,
)


def create_launch_plan(state: State, request: Any) -> LaunchPlanCreateResponse:
    """CreateLaunchPlan: inactive, with a default input for each of the workflow's that is free."""
    workflow_id = request.spec.workflow_id
    check_identifier(workflow_id if request.spec.HasField("workflow_id") else None, WORKFLOW)
    workflow = state.workflows.rows.get(key_of(workflow_id))
    if workflow is None:
        raise not_found("WORKFLOW", workflow_id)
    check_identifier(request.id if request.HasField("id") else None, LAUNCH_PLAN)
    check_place(state, request.id.project, request.id.domain)
    check_new(request.id)
    interface = workflow.message.closure.compiled_workflow.primary.template.interface
    spec = checked_spec(request.spec, interface)
    closure = LaunchPlanClosure(
        expected_inputs=spec.default_inputs, expected_outputs=interface.outputs
    )
    message = LaunchPlan(id=request.id, spec=spec, closure=closure)
    digest = digest_of(message)
    if old := state.launch_plans.rows.get(key_of(request.id)):
        # So flyteadmin does since 1.14: two launch plans with the same default inputs are told to
        # be identical, whatever else differs (IsSameDCFormat in pkg/errors).
        if old.digest == digest or _same_defaults(old.message.spec, spec):
            raise exists("launch plan", request.id)
        raise differs("launch plan", request.id, old.message.spec, spec)
    closure.state = INACTIVE
    closure.created_at.CopyFrom(now())
    closure.updated_at.CopyFrom(closure.created_at)
    message.closure.CopyFrom(closure)
    columns = columns_of(request.id, closure.created_at) | {
        "state": INACTIVE,
        "workflow.name": workflow_id.name,
        "workflow.version": workflow_id.version,
        "schedule_type": _schedule_type(spec),
    }
    state.launch_plans.write(key_of(request.id), Row(message, columns, digest))
    return LaunchPlanCreateResponse()


def update_launch_plan(state: State, request: Any) -> LaunchPlanUpdateResponse:
    """UpdateLaunchPlan: active in place of the version that was, or inactive."""
    if request.state not in (ACTIVE, INACTIVE):
        raise invalid(
            f"Unrecognized launch plan state {request.state} for update for launch plan "
            f"[{text(request.id)}]"
        )
    check_identifier(request.id if request.HasField("id") else None, LAUNCH_PLAN)
    row = state.launch_plans.rows.get(key_of(request.id))
    if row is None:
        raise not_found("LAUNCH_PLAN", request.id)
    if request.state == ACTIVE:
        _check_activation(row.message.spec)
        if former := active(state, request.id):
            _set_state(state, former, INACTIVE)
    _set_state(state, row, request.state)
    return LaunchPlanUpdateResponse()


def get_active_launch_plan(state: State, request: Any) -> LaunchPlan:
    """GetActiveLaunchPlan."""
    for name in ("project", "domain", "name"):
        if not getattr(request.id, name):
            raise missing_argument(name)
    if row := active(state, request.id):
        return row.message
    raise Refused(
        StatusCode.NOT_FOUND,
        "No active launch plan could be found: "
        f"{request.id.project}:{request.id.domain}:{request.id.name}",
    )


def list_active_launch_plans(state: State, request: Any) -> LaunchPlanList:
    """ListActiveLaunchPlans."""
    for name in ("project", "domain"):
        if not getattr(request, name):
            raise missing_argument(name)
    if not request.limit:
        raise invalid_argument("limit")
    wanted = (request.project, request.domain, ACTIVE)
    rows = [
        row
        for row in state.launch_plans.in_order()
        if tuple(row.columns[name] for name in ("project", "domain", "state")) == wanted
    ]
    sort = request.sort_by if request.HasField("sort_by") else None
    rows = ordered(rows, "launch_plan", sort)
    rows, token = page(rows, request.limit, request.token, "ListActiveLaunchPlans")
    return LaunchPlanList(launch_plans=[row.message for row in rows], token=token)


def active(state: State, identifier: Any) -> Row | None:
    """The active version of a launch plan's name."""
    wanted = (identifier.project, identifier.domain, identifier.name, ACTIVE)
    for row in state.launch_plans.rows.values():
        columns = row.columns
        if (columns["project"], columns["domain"], columns["name"], columns["state"]) == wanted:
            return row
    return None


def checked_spec(sent: LaunchPlanSpec, interface: TypedInterface) -> LaunchPlanSpec:
    """A spec that fits its workflow, with the default inputs that the server adds."""
    check_labels(sent.labels)
    for name, literal in sent.fixed_inputs.literals.items():
        if not name:
            raise invalid("missing key in fixed_inputs")
        if literal.WhichOneof("value") is None and not literal.HasField("offloaded_metadata"):
            raise invalid(f"missing valid literal in fixed_inputs {name}")
    for name, parameter in sent.default_inputs.parameters.items():
        _check_parameter(name, parameter)
    expected = _expected_inputs(sent, interface.inputs.variables)
    _check_schedule(sent, expected)
    for notification in sent.entity_metadata.notifications:
        _check_notification(notification)
    if sent.entity_metadata.HasField("launch_conditions"):
        raise invalid("Launch condition must be empty, found a condition")
    spec = LaunchPlanSpec()
    spec.CopyFrom(sent)
    spec.default_inputs.CopyFrom(ParameterMap(parameters=expected))
    return spec


def _expected_inputs(spec: LaunchPlanSpec, wanted: Mapping[str, Variable]) -> dict[str, Parameter]:
    defaults, fixed = spec.default_inputs.parameters, spec.fixed_inputs.literals
    for what, given in (("default", defaults), ("fixed", fixed)):
        if given and not wanted:
            raise invalid(
                f"invalid launch plan {what} inputs, expected none but found {len(given)}"
            )
        for name in given:
            if name not in wanted:
                raise invalid(f"unexpected {what}_input {name}")
    for name, parameter in defaults.items():
        if not castable(parameter.var.type, wanted[name].type):
            raise invalid(
                f"invalid default_input wrong type {name}, expected {text(parameter.var.type)}, "
                f"got {text(wanted[name].type)} instead"
            )
    for name, literal in fixed.items():
        if not castable(type_of(literal), wanted[name].type):
            raise invalid(
                f"invalid fixed_input wrong type {name}, expected {text(wanted[name].type)}, "
                "got another instead"
            )
    return {
        name: defaults[name] if name in defaults else _required(variable)
        for name, variable in wanted.items()
        if name in defaults or name not in fixed
    }


def _required(variable: Variable) -> Parameter:
    var = Variable(type=variable.type, description=variable.description)
    return Parameter(var=var, required=True)


def _check_parameter(name: str, parameter: Parameter) -> None:
    behavior = parameter.WhichOneof("behavior")
    if not name:
        raise invalid("missing key in default_inputs")
    if behavior in ("artifact_query", "artifact_id"):
        raise invalid(f"artifact mode not enabled but query found default_inputs {name}")
    if parameter.var.type.WhichOneof("type") is None:
        raise invalid(
            f"The Variable component of the Parameter {name} in default_inputs either is missing, "
            "or has a missing Type"
        )
    if behavior != "default" and not parameter.required:
        raise invalid(
            f"Invalid variable {name} in default_inputs - variable has neither default, nor is "
            "required. One must be specified"
        )
    if behavior == "default" and not castable(type_of(parameter.default), parameter.var.type):
        raise invalid(
            f"Type mismatch for Parameter {name} in default_inputs has type "
            f"{text(parameter.var.type)}, expected that of its default"
        )


def _check_schedule(spec: LaunchPlanSpec, expected: Mapping[str, Parameter]) -> None:
    schedule = spec.entity_metadata.schedule
    if _schedule_type(spec) == "NONE":
        return
    kickoff = schedule.kickoff_time_input_arg
    for name, parameter in expected.items():
        if parameter.required and name != kickoff:
            raise invalid(
                "Cannot create a launch plan with a schedule if there is an unbound required "
                f"input. [{name}] is required"
            )
    if kickoff and kickoff not in expected:
        raise invalid(
            "Cannot create a schedule with a KickoffTimeInputArg that does not point to a free "
            f"input. [{kickoff}] is not free or does not exist."
        )
    if kickoff and expected[kickoff].var.type.simple != DATETIME:
        raise invalid(
            f"KickoffTimeInputArg must reference a datetime input. [{kickoff}] is a "
            f"[{text(expected[kickoff].var.type)}]"
        )
    if schedule.WhichOneof("ScheduleExpression") == "cron_schedule":
        # flyteadmin takes any text; its scheduler logs what is none, and never starts anything.
        try:
            check_cron(schedule.cron_schedule.schedule)
        except ValueError as error:
            raise invalid(f"invalid cron schedule: {error}") from None


def _check_notification(notification: Any) -> None:
    kind = notification.WhichOneof("type")
    if kind is None:
        raise invalid_argument("notification type")
    recipients = getattr(notification, kind).recipients_email
    if not recipients:
        raise missing_argument("recipients")
    if not all(recipients):
        raise missing_argument("recipient")
    if not set(notification.phases) <= set(_ENDED):
        raise invalid_argument("phase")


def _check_activation(spec: LaunchPlanSpec) -> None:
    schedule = spec.entity_metadata.schedule
    if schedule.WhichOneof("ScheduleExpression") == "cron_expression" and schedule.cron_expression:
        # The native scheduler knows no AWS expressions (scheduler/dbapi/event_scheduler_impl.go).
        raise Refused(
            StatusCode.INTERNAL,
            "failed adding schedule for unknown schedule expression type "
            f"&{{{schedule.cron_expression}}}",
        )


def _set_state(state: State, row: Row, value: int) -> None:
    closure = row.message.closure
    if closure.state == value:
        return
    message = LaunchPlan()
    message.CopyFrom(row.message)  # the old one may be on its way to a client
    message.closure.state = value
    message.closure.updated_at.CopyFrom(now())
    row.message = message
    row.columns["state"] = value
    state.launch_plans.write(key_of(message.id), row)


def _schedule_type(spec: LaunchPlanSpec) -> str:
    schedule = spec.entity_metadata.schedule
    kind = schedule.WhichOneof("ScheduleExpression")
    if kind == "rate":
        return "RATE"
    if kind == "cron_schedule" or schedule.cron_expression:
        return "CRON"
    return "NONE"


def _same_defaults(old: LaunchPlanSpec, new: LaunchPlanSpec) -> bool:
    def defaults(spec: LaunchPlanSpec) -> dict[str, Any]:
        return {
            name: parameter.default if parameter.WhichOneof("behavior") == "default" else None
            for name, parameter in spec.default_inputs.parameters.items()
        }

    return defaults(old) == defaults(new)
