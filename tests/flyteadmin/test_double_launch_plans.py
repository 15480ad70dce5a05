"""Launch plans: what fits their workflow, what is added, schedules, and the one active version."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from flyteidl.admin.common_pb2 import NamedEntityIdentifier, Notification
from flyteidl.admin.launch_plan_pb2 import (
    ACTIVE,
    INACTIVE,
    ActiveLaunchPlanListRequest,
    ActiveLaunchPlanRequest,
    LaunchPlanSpec,
    LaunchPlanUpdateRequest,
)
from flyteidl.admin.schedule_pb2 import MINUTE, FixedRate
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, Identifier
from flyteidl.core.interface_pb2 import Parameter, Variable
from flyteidl.core.literals_pb2 import Literal, Primitive, Scalar, Union, Void
from flyteidl.core.types_pb2 import DATETIME, INTEGER, NONE, STRING, LiteralType, UnionType
from grpc import StatusCode

from tests.cluster import handmade
from tests.cluster.handmade import DOMAIN, NUMBER, PROJECT, TEXT, text
from tests.flyteadmin.double import Client, Double
from tests.flyteadmin.entities import (
    DEFAULT,
    create_launch_plan,
    create_workflow,
    got,
    identifier,
    launch_plan,
    refusal,
    registered,
)

INVALID = StatusCode.INVALID_ARGUMENT
FIXED = {"code": text("s3://code")}
ONE = Literal(scalar=Scalar(primitive=Primitive(integer=1)))
NAME = NamedEntityIdentifier(project=PROJECT, domain=DOMAIN, name="flow")


def update(client: Client, of: Identifier, state: int = ACTIVE) -> None:
    client.admin.UpdateLaunchPlan(LaunchPlanUpdateRequest(id=of, state=state))


def required(type_: LiteralType = TEXT) -> Parameter:
    return Parameter(var=Variable(type=type_), required=True)


def test_free_inputs_of_the_workflow_become_required_ones(client: Client) -> None:
    registered(client)
    made = create_launch_plan(client, launch_plan())
    found = got(client.admin.GetLaunchPlan, made)
    assert dict(found.spec.default_inputs.parameters) == {"code": required()}
    assert found.closure.expected_inputs == found.spec.default_inputs
    assert found.closure.state == INACTIVE
    assert found.closure.created_at == found.closure.updated_at


def test_fixed_and_default_inputs_stay_as_they_are(client: Client) -> None:
    registered(client)
    fixed = create_launch_plan(client, launch_plan(FIXED), version="1")
    assert not got(client.admin.GetLaunchPlan, fixed).spec.default_inputs.parameters
    given = create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}), version="2")
    found = got(client.admin.GetLaunchPlan, given)
    assert dict(found.closure.expected_inputs.parameters) == {"code": DEFAULT}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown fixed": ({"fixed": {"other": text("a")}}, "unexpected fixed_input other"),
    "unknown default": ({"defaults": {"other": DEFAULT}}, "unexpected default_input other"),
    "fixed of another type": (
        {"fixed": {"code": ONE}},
        "invalid fixed_input wrong type code, expected simple: STRING, got another instead",
    ),
    "default of another type": (
        {"defaults": {"code": required(NUMBER)}},
        "invalid default_input wrong type code, expected simple: INTEGER, "
        "got simple: STRING instead",
    ),
    "fixed without a value": (
        {"fixed": {"code": Literal()}},
        "missing valid literal in fixed_inputs code",
    ),
    "default without a type": (
        {"defaults": {"code": Parameter(default=text("a"))}},
        "The Variable component of the Parameter code in default_inputs either is missing, or has "
        "a missing Type",
    ),
    "neither default nor required": (
        {"defaults": {"code": Parameter(var=Variable(type=TEXT))}},
        "Invalid variable code in default_inputs - variable has neither default, nor is required. "
        "One must be specified",
    ),
    "default unlike its own type": (
        {"defaults": {"code": Parameter(var=Variable(type=TEXT), default=ONE)}},
        "Type mismatch for Parameter code in default_inputs has type simple: STRING, expected "
        "that of its default",
    ),
    "schedule with a free input": (
        {"cron": "0 3 * * *"},
        "Cannot create a launch plan with a schedule if there is an unbound required input. "
        "[code] is required",
    ),
    "no schedule": (
        {"fixed": FIXED, "cron": "whenever"},
        "invalid cron schedule: expected exactly 5 fields, found 1: ['whenever']",
    ),
    "a schedule of six fields": (
        {"fixed": FIXED, "cron": "0 0 3 * * *"},
        "invalid cron schedule: expected exactly 5 fields, found 6: ['0', '0', '3', '*', '*', '*']",
    ),
    "an unknown zone": (
        {"fixed": FIXED, "cron": "CRON_TZ=Mars/Base 0 3 * * *"},
        "invalid cron schedule: provided bad location CRON_TZ=Mars/Base: "
        "'No time zone found with key Mars/Base'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_launch_plan_that_flyteadmin_refuses(double: Double, client: Client, case: str) -> None:
    registered(client)
    fields, message = REFUSED[case]
    assert refusal(create_launch_plan, client, launch_plan(**fields)) == (INVALID, message)
    assert not double.state.launch_plans.rows


def test_its_workflow_must_be_there(client: Client) -> None:
    code, message = refusal(create_launch_plan, client, launch_plan())
    assert code == StatusCode.NOT_FOUND
    assert message.startswith("missing entity of type WORKFLOW with identifier ")


def test_a_kickoff_time_is_a_free_input_of_its_type(client: Client) -> None:
    when = LiteralType(simple=DATETIME)
    registered(client)
    create_workflow(client, handmade.workflow("timed", [handmade.runs("start", {
        "code": handmade.output("", "code")})], {"code": TEXT, "when": when}))  # fmt: skip

    def timed(argument: str) -> LaunchPlanSpec:
        spec = launch_plan(FIXED, cron="@daily", workflow="timed")
        spec.entity_metadata.schedule.kickoff_time_input_arg = argument
        return spec

    assert "[when] is required" in refusal(create_launch_plan, client, timed(""))[1]
    assert "[when] is required" in refusal(create_launch_plan, client, timed("code"))[1]
    create_launch_plan(client, timed("when"))
    plain = launch_plan({"code": text("a")}, cron="@daily")
    plain.entity_metadata.schedule.kickoff_time_input_arg = "code"
    assert (
        "[code] is not free or does not exist." in (refusal(create_launch_plan, client, plain)[1])
    )


def test_a_notification_has_recipients_and_comes_at_the_end(client: Client) -> None:
    registered(client)
    spec = launch_plan(FIXED)
    notification: Notification = spec.entity_metadata.notifications.add()
    assert refusal(create_launch_plan, client, spec)[1] == "invalid value for notification type"
    notification.email.SetInParent()
    assert refusal(create_launch_plan, client, spec)[1] == "missing recipients"
    notification.email.recipients_email.append("a@example.com")
    notification.phases.append(WorkflowExecution.RUNNING)
    assert refusal(create_launch_plan, client, spec)[1] == "invalid value for phase"
    notification.phases[:] = [WorkflowExecution.FAILED]
    create_launch_plan(client, spec)


@pytest.mark.parametrize("label", [{"a b": "c"}, {"a": "b c"}, {"/a": ""}, {"A/b": ""}])
def test_labels_are_those_of_kubernetes(client: Client, label: dict[str, str]) -> None:
    registered(client)
    spec = launch_plan()
    spec.labels.values.update({"example.com/team": "data", "empty": ""})
    create_launch_plan(client, spec)
    spec.labels.values.update(label)
    assert refusal(create_launch_plan, client, spec, "other")[1].startswith("invalid label ")


def test_the_same_again_exists(client: Client) -> None:
    registered(client)
    create_launch_plan(client, launch_plan())
    known = (StatusCode.ALREADY_EXISTS, "launch plan with identical structure already exists")
    assert refusal(create_launch_plan, client, launch_plan()) == known
    # What the server adds may as well be sent.
    explicit = launch_plan(defaults={"code": required()})
    assert refusal(create_launch_plan, client, explicit) == known


def test_another_with_the_same_default_inputs_is_taken_for_the_same(client: Client) -> None:
    """As in flyteadmin since 1.14: so that it exists is never to be believed."""
    registered(client)
    made = create_launch_plan(client, launch_plan(FIXED))
    other = launch_plan({"code": text("s3://other")}, cron="@daily")
    assert refusal(create_launch_plan, client, other) == (
        StatusCode.ALREADY_EXISTS,
        "launch plan with identical structure already exists",
    )
    assert got(client.admin.GetLaunchPlan, made).spec.fixed_inputs.literals["code"] == text(
        "s3://code"
    )


def test_another_with_other_default_inputs_is_refused(client: Client) -> None:
    registered(client)
    create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}))
    other = Parameter(var=Variable(type=TEXT), default=text("b"))
    code, message = refusal(create_launch_plan, client, launch_plan(defaults={"code": other}))
    assert code == INVALID
    assert message == (
        "flow launch plan with different structure already exists. "
        "(Please register a new version of the launch plan):\n"
        "/default_inputs/parameters/code/default/scalar/primitive/string_value:\n\t- a \n\t+ b"
    )


def test_a_union_takes_its_variants_plain_or_wrapped(client: Client) -> None:
    registered(client)
    nothing = LiteralType(simple=NONE)
    union = LiteralType(union_type=UnionType(variants=[NUMBER, nothing]))
    step = handmade.runs("start", {"code": handmade.output("", "code")})
    create_workflow(client, handmade.workflow("maybe", [step], {"code": TEXT, "count": union}))
    void = Literal(scalar=Scalar(none_type=Void()))
    wrapped = Literal(scalar=Scalar(union=Union(value=ONE, type=LiteralType(simple=INTEGER))))
    for number, value in enumerate((ONE, void, wrapped)):
        given = {"count": Parameter(var=Variable(type=union), default=value)}
        spec = launch_plan(FIXED, given, workflow="maybe")
        create_launch_plan(client, spec, version=str(number))
    given = {"count": Parameter(var=Variable(type=union), default=text("1"))}
    spec = launch_plan(FIXED, given, workflow="maybe")
    assert "Type mismatch for Parameter count" in refusal(create_launch_plan, client, spec)[1]
    other = LiteralType(simple=STRING)
    given = {"count": Parameter(var=Variable(type=other), default=text("1"))}
    assert (
        "wrong type count"
        in (refusal(create_launch_plan, client, launch_plan(FIXED, given, workflow="maybe"))[1])
    )


def test_one_version_is_active_in_place_of_another(client: Client) -> None:
    registered(client)
    ask = ActiveLaunchPlanRequest(id=NAME)
    assert refusal(client.admin.GetActiveLaunchPlan, ask) == (
        StatusCode.NOT_FOUND,
        "No active launch plan could be found: flows:test:flow",
    )
    one, two = (create_launch_plan(client, launch_plan(FIXED), version=v) for v in "12")
    update(client, one)
    update(client, two)
    assert client.admin.GetActiveLaunchPlan(ask).id == two
    found = got(client.admin.GetLaunchPlan, one).closure
    assert found.state == INACTIVE
    assert found.updated_at != found.created_at
    everything = ActiveLaunchPlanListRequest(project=PROJECT, domain=DOMAIN, limit=9)
    listed = client.admin.ListActiveLaunchPlans(everything)
    assert [plan.id for plan in listed.launch_plans] == [two]
    update(client, two, INACTIVE)
    assert refusal(client.admin.GetActiveLaunchPlan, ask)[0] == StatusCode.NOT_FOUND


def test_what_is_not_there_is_not_activated(client: Client) -> None:
    missing = identifier(LAUNCH_PLAN, "flow")
    assert refusal(update, client, missing)[0] == StatusCode.NOT_FOUND
    assert refusal(update, client, missing, 7)[0] == INVALID


def test_an_aws_expression_is_registered_but_not_activated(client: Client) -> None:
    registered(client)
    spec = launch_plan(FIXED)
    spec.entity_metadata.schedule.cron_expression = "0 3 * * ? *"
    made = create_launch_plan(client, spec)
    code, message = refusal(update, client, made)
    assert code == StatusCode.INTERNAL
    assert message.startswith("failed adding schedule for unknown schedule expression type")
    assert got(client.admin.GetLaunchPlan, made).closure.state == INACTIVE


def test_a_rate_needs_bound_inputs_too(client: Client) -> None:
    registered(client)
    spec = launch_plan()
    spec.entity_metadata.schedule.rate.CopyFrom(FixedRate(value=5, unit=MINUTE))
    assert "[code] is required" in refusal(create_launch_plan, client, spec)[1]


def test_many_at_once_never_leave_two_active(double: Double) -> None:
    with double.connect() as client:
        registered(client)
        made = [
            create_launch_plan(client, launch_plan(FIXED), version=str(version))
            for version in range(4)
        ]
        seen: list[int] = []
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                with double.state.lock:
                    rows = double.state.launch_plans.rows.values()
                    seen.append(sum(row.message.closure.state == ACTIVE for row in rows))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(update, client, of) for of in made * 20]:
                done.result()
        over.set()
        watcher.join()
        assert set(seen) <= {0, 1}
        active = client.admin.GetActiveLaunchPlan(ActiveLaunchPlanRequest(id=NAME)).id
        assert [got(client.admin.GetLaunchPlan, of).closure.state for of in made] == [
            ACTIVE if of == active else INACTIVE for of in made
        ]


def test_many_at_once_register_once(double: Double) -> None:
    with double.connect() as client:
        registered(client)

        def create(number: int) -> str:
            spec = launch_plan(defaults={"code": Parameter(
                var=Variable(type=TEXT), default=text(str(number % 2)))})  # fmt: skip
            try:
                create_launch_plan(client, spec)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(create, range(16)))
        assert ends.count("OK") == 1
        assert ends.count("ALREADY_EXISTS") == 7
        assert ends.count("INVALID_ARGUMENT") == 8
