"""Executions without an engine: what is asked of them, and how one goes as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.common_pb2 import NamedEntityIdentifier, ResourceListRequest, Sort
from flyteidl.admin.event_pb2 import EventFailureReason
from flyteidl.admin.execution_pb2 import (
    Execution,
    ExecutionCreateRequest,
    ExecutionSpec,
    ExecutionTerminateRequest,
    WorkflowExecutionGetDataRequest,
    WorkflowExecutionGetRequest,
)
from flyteidl.admin.node_execution_pb2 import NodeExecutionListRequest
from flyteidl.admin.task_execution_pb2 import TaskExecutionListRequest
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.core.identifier_pb2 import (
    LAUNCH_PLAN,
    TASK,
    WORKFLOW,
    Identifier,
    WorkflowExecutionIdentifier,
)
from flyteidl.core.literals_pb2 import Literal, LiteralMap
from grpc import StatusCode

from tests.cluster import handmade
from tests.cluster.handmade import DOMAIN, PROJECT, TEXT, numbers, text
from tests.cluster.namespace import wait
from tests.flyteadmin.double import Client, Double, flyteadmin
from tests.flyteadmin.entities import (
    CODE,
    DEFAULT,
    create_launch_plan,
    create_task,
    create_workflow,
    details,
    got,
    identifier,
    launch_plan,
    refusal,
    registered,
    simple_task,
)
from tests.flyteadmin.node_ids import short_id, unique_id
from tests.flyteadmin.script import Script
from tests.flyteadmin.single_task import node_id

INVALID = StatusCode.INVALID_ARGUMENT
PLACE = NamedEntityIdentifier(project=PROJECT, domain=DOMAIN)


def request(
    name: str = "r1", of: Identifier | None = None, **inputs: Literal
) -> ExecutionCreateRequest:
    spec = ExecutionSpec(launch_plan=of or identifier(LAUNCH_PLAN, "flow"))
    return ExecutionCreateRequest(
        project=PROJECT,
        domain=DOMAIN,
        name=name,
        spec=spec,
        inputs=LiteralMap(literals=inputs),
    )


def read(client: Client, name: str = "r1") -> Execution:
    return client.admin.GetExecution(WorkflowExecutionGetRequest(id=execution(name)))


def execution(name: str = "r1") -> WorkflowExecutionIdentifier:
    return WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=name)


def phase(client: Client, name: str = "r1") -> str:
    return str(WorkflowExecution.Phase.Name(read(client, name).closure.phase))


def reaches(client: Client, wanted: str, name: str = "r1") -> None:
    wait(lambda: phase(client, name) == wanted, lambda: phase(client, name))


def nodes(client: Client, parent: str = "", name: str = "r1") -> dict[str, Any]:
    """The node executions of one level, by id."""
    asked = NodeExecutionListRequest(
        workflow_execution_id=execution(name), limit=99, unique_parent_id=parent
    )
    found = client.admin.ListNodeExecutions(asked).node_executions
    return {node.id.node_id: node for node in found}


def tasks(client: Client, node: Any) -> list[Any]:
    asked = TaskExecutionListRequest(node_execution_id=node.id, limit=99)
    return list(client.admin.ListTaskExecutions(asked).task_executions)


@contextmanager
def scripted(folder: Path, script: Script) -> Iterator[tuple[Double, Client]]:
    with (
        flyteadmin(folder, projects=(PROJECT,), domains=(DOMAIN,), executor=script) as double,
        double.connect() as client,
    ):
        registered(client)
        create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}))
        yield double, client


def named(name: str) -> Callable[[ExecutionCreateRequest], None]:
    return lambda request: setattr(request, "name", name)


def placed(**place: str) -> Callable[[ExecutionCreateRequest], None]:
    def change(request: ExecutionCreateRequest) -> None:
        for field, value in place.items():
            setattr(request, field, value)

    return change


def given(**inputs: Literal) -> Callable[[ExecutionCreateRequest], None]:
    return lambda request: request.inputs.CopyFrom(LiteralMap(literals=inputs))


def of_workflow(request: ExecutionCreateRequest) -> None:
    request.spec.launch_plan.resource_type = WORKFLOW


REFUSED: dict[str, tuple[Callable[[ExecutionCreateRequest], None], str]] = {
    "no project": (placed(project=""), "missing project"),
    "no domain": (placed(domain=""), "missing domain"),
    "unknown domain": (placed(domain="moon"), "domain [moon] is unrecognized by system"),
    "a digit first": (named("1r"), "invalid name format: 1r"),
    "an underscore": (named("r_1"), "invalid name format: r_1"),
    "a long name": (named("r" * 64), "size of name exceeded length 63 : " + "r" * 64),
    "no spec": (lambda request: request.ClearField("spec"), "missing spec"),
    "no launch plan": (lambda request: request.spec.ClearField("launch_plan"), "missing id"),
    "a workflow": (
        of_workflow,
        "Invalid reference entity resource type [WORKFLOW], only "
        "[map[LAUNCH_PLAN:<nil> TASK:<nil>]] allowed",
    ),
    "an unknown input": (given(other=text("a")), "invalid input other"),
    "an input of another type": (
        given(code=numbers([1])),
        "invalid code input wrong type. Expected simple: STRING, "
        "but got collection_type { simple: INTEGER }",
    ),
    "an input without a value": (given(code=Literal()), "missing valid literal in inputs code"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_execution_that_flyteadmin_refuses(double: Double, client: Client, case: str) -> None:
    registered(client)
    create_launch_plan(client, launch_plan())
    change, message = REFUSED[case]
    asked = request(code=text("a"))
    change(asked)
    assert refusal(client.admin.CreateExecution, asked) == (INVALID, message)
    assert not double.state.executions.rows


def test_inputs_are_required_fixed_or_by_default(client: Client) -> None:
    registered(client)
    required = create_launch_plan(client, launch_plan(), version="1")
    fixed = create_launch_plan(client, launch_plan({"code": text("f")}), version="2")
    default = create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}), version="3")

    def inputs(name: str, of: Identifier, **given: Literal) -> dict[str, Literal]:
        client.admin.CreateExecution(request(name, of, **given))
        data = WorkflowExecutionGetDataRequest(id=execution(name))
        return dict(client.admin.GetExecutionData(data).full_inputs.literals)

    create = client.admin.CreateExecution
    assert refusal(create, request(of=required)) == (INVALID, "expected_inputs code missing")
    assert refusal(create, request(of=fixed, code=text("a"))) == (INVALID, "invalid input code")
    assert inputs("r1", required, code=text("a")) == {"code": text("a")}
    assert inputs("r2", fixed) == {"code": text("f")}
    assert inputs("r3", default) == {"code": text("a")}
    assert inputs("r4", default, code=text("b")) == {"code": text("b")}


def test_a_name_is_taken_once(client: Client) -> None:
    registered(client)
    create_launch_plan(client, launch_plan())
    asked = request(code=text("a"))
    assert client.admin.CreateExecution(asked).id == execution()
    assert refusal(client.admin.CreateExecution, asked) == (
        StatusCode.ALREADY_EXISTS,
        "value with matching already exists "
        '(duplicate key value violates unique constraint "executions_pkey")',
    )
    asked.name = ""
    made = client.admin.CreateExecution(asked).id.name
    assert len(made) == 20 and made[0] == "f"


def test_it_has_no_phase_until_the_engine_tells_one(client: Client) -> None:
    registered(client)
    create_launch_plan(client, launch_plan())
    client.admin.CreateExecution(request(code=text("a")))
    found = read(client)
    assert phase(client) == "UNDEFINED"
    assert found.closure.workflow_id == identifier(WORKFLOW, "flow")
    assert found.spec.launch_plan == identifier(LAUNCH_PLAN, "flow")
    assert found.spec.metadata.system_metadata.namespace == f"{PROJECT}-{DOMAIN}"
    assert not found.closure.HasField("started_at")


def test_what_is_not_there(client: Client) -> None:
    missing = WorkflowExecutionGetRequest(id=execution("none"))
    assert refusal(client.admin.GetExecution, missing) == (
        StatusCode.NOT_FOUND,
        'missing entity of type execution with identifier project: "flows" domain: "test" '
        'name: "none"',
    )
    assert refusal(client.admin.GetExecution, WorkflowExecutionGetRequest())[1] == "missing id"
    ended = ExecutionTerminateRequest(id=execution("none"))
    assert refusal(client.admin.TerminateExecution, ended)[0] == StatusCode.NOT_FOUND
    plan = request(of=identifier(LAUNCH_PLAN, "none"))
    assert refusal(client.admin.CreateExecution, plan)[0] == StatusCode.NOT_FOUND
    task = request(of=identifier(TASK, "none"))
    assert refusal(client.admin.CreateExecution, task)[0] == StatusCode.NOT_FOUND


def test_an_execution_goes_to_its_end(tmp_path: Path) -> None:
    script = Script(held=True)
    with scripted(tmp_path, script) as (_, client):
        client.admin.CreateExecution(request())
        reaches(client, "RUNNING")
        wait(lambda: "start" in nodes(client), lambda: "no node")
        assert not read(client).closure.HasField("duration")
        script.release()
        reaches(client, "SUCCEEDED")
        closure = read(client).closure
        assert closure.HasField("duration") and closure.HasField("started_at")
        found = nodes(client)
        assert set(found) >= {"start"}
        (task,) = tasks(client, found["start"])
        assert task.id.task_id.name == "start"
        assert [log.uri for log in task.closure.logs] == ["http://logs.example.com/r1/start"]


def test_an_execution_fails_with_its_node(tmp_path: Path) -> None:
    message = "it broke: " + "x" * 200
    with scripted(tmp_path, Script(failing={"start": message})) as (_, client):
        client.admin.CreateExecution(request())
        reaches(client, "FAILED")
        assert read(client).closure.error.message == message
        # Lists show the beginning alone.
        node = nodes(client)["start"]
        assert node.closure.error.message == message[:100]
        (task,) = tasks(client, node)
        assert task.closure.error.code == "USER:Error"
        (listed,) = client.admin.ListExecutions(
            ResourceListRequest(id=PLACE, limit=9, filters="eq(phase,FAILED)")
        ).executions
        assert listed.closure.error.message == message[:100]


def test_an_execution_is_ended(tmp_path: Path) -> None:
    with scripted(tmp_path, Script(held=True)) as (_, client):
        client.admin.CreateExecution(request())
        wait(lambda: "start" in nodes(client), lambda: "no node")
        ended = ExecutionTerminateRequest(id=execution(), cause="no longer wanted")
        client.admin.TerminateExecution(ended)
        reaches(client, "ABORTED")
        assert read(client).closure.abort_metadata.cause == "no longer wanted"
        code, message = refusal(client.admin.TerminateExecution, ended)
        assert (code, message) == (
            StatusCode.FAILED_PRECONDITION,
            "Cannot abort an already terminate workflow execution",
        )
        reason = details(client.admin.TerminateExecution, EventFailureReason, ended)
        assert reason.already_in_terminal_state.current_phase == "ABORTED"


def test_it_is_aborting_as_long_as_the_engine_says_nothing(client: Client) -> None:
    registered(client)
    create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}))
    client.admin.CreateExecution(request())
    client.admin.TerminateExecution(ExecutionTerminateRequest(id=execution()))
    assert phase(client) == "ABORTING"


@pytest.mark.usefixtures("compiler")
def test_nodes_below_nodes(tmp_path: Path) -> None:
    long = "a-node-with-a-long-name"
    part = handmade.workflow("part", [handmade.runs(long, CODE)], {"code": TEXT})
    arm = handmade.chooses("which", handmade.output("", "code"), {"a": handmade.runs("arm", CODE)})
    mapped = handmade.maps("mapped", {**CODE, "of": handmade.constants([1, 2])}, ["code"])
    whole = [mapped, handmade.contains("part", CODE), arm]
    with scripted(tmp_path, Script()) as (_, client):
        for name in (long, "arm"):
            create_task(client, simple_task(name))
        create_task(client, handmade.task("mapped", "image", "x", inputs={
            "code": TEXT, "of": handmade.NUMBERS}))  # fmt: skip
        create_workflow(client, handmade.workflow("whole", whole, {"code": TEXT}), [part])
        create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}, workflow="whole"), "w")
        client.admin.CreateExecution(request(of=identifier(LAUNCH_PLAN, "w")))
        reaches(client, "SUCCEEDED")
        top = nodes(client)
        assert set(top) == {"start-node", "mapped", "part", "which", "end-node"}
        assert top["part"].metadata.is_parent_node
        assert top["mapped"].metadata.is_array
        below = nodes(client, "part")
        hidden = short_id(f"part-0-{long}")
        assert set(below) == {"part-0-start-node", hidden, "part-0-end-node"}
        assert below[hidden].metadata.spec_node_id == long
        assert not top["which"].metadata.is_parent_node  # and yet:
        assert set(nodes(client, "which")) == {"which-0-which-arm"}
        (task,) = tasks(client, top["mapped"])
        parts = task.closure.metadata.external_resources
        assert [(part.index, part.logs[0].name) for part in parts] == [
            (0, "Kubernetes Logs-0"),
            (1, "Kubernetes Logs-1"),
        ]


def test_a_task_runs_alone_in_a_skeleton(tmp_path: Path) -> None:
    with scripted(tmp_path, Script()) as (_, client):
        task = identifier(TASK, "start")
        create = client.admin.CreateExecution
        assert refusal(create, request(of=task)) == (INVALID, "expected_inputs code missing")
        create(request(of=task, code=text("a")))
        reaches(client, "SUCCEEDED")
        workflow = read(client).closure.workflow_id
        assert workflow == identifier(WORKFLOW, ".flytegen.start")
        assert got(client.admin.GetWorkflow, workflow)
        assert "start" in nodes(client)
        listed = ResourceListRequest(id=PLACE, limit=9, filters="eq(task.name,start)")
        assert len(client.admin.ListExecutions(listed).executions) == 1
        create(request("r2", task, code=text("b")))


def test_lists(client: Client) -> None:
    registered(client)
    for name in ("flow", "other"):
        create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}), name)
    for name in ("r1", "r2", "r3"):
        client.admin.CreateExecution(request(name))
    client.admin.CreateExecution(request("o1", identifier(LAUNCH_PLAN, "other")))
    newest = Sort(key="created_at", direction=Sort.DESCENDING)

    def found(**fields: Any) -> list[str]:
        asked = ResourceListRequest(**({"id": PLACE, "limit": 9, "sort_by": newest} | fields))
        return [each.id.name for each in client.admin.ListExecutions(asked).executions]

    assert found() == ["o1", "r3", "r2", "r1"]
    assert found(filters="eq(launch_plan.name,flow)") == ["r3", "r2", "r1"]
    assert found(filters="eq(launch_plan.name,flow)", limit=1, token="1") == ["r2"]
    assert found(filters="eq(workflow.name,flow)+ne(name,r2)") == ["o1", "r3", "r1"]
    assert found(filters="value_in(phase,RUNNING;QUEUED)") == []


def test_ids_of_nodes() -> None:
    # The first two are what flyteplugins' encoder_test.go has.
    assert short_id("x" * 24) == "fuaa3aji"
    assert short_id("xxxxx") == "xxxxx"
    assert short_id("x" * 20) == "x" * 20
    assert unique_id("", "start") == "start"
    assert unique_id("part", "start") == "part-0-start"
    assert node_id("Flow.a_step") == "Flowastep"
