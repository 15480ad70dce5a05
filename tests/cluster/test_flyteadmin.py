"""The double of flyteadmin in front of the engine: executions, told of by the real propeller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flyteidl.admin.execution_pb2 import ExecutionTerminateRequest
from flyteidl.core.execution_pb2 import NodeExecution, TaskExecution
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK
from flyteidl.core.interface_pb2 import Parameter, Variable
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from tests.cluster.engine import Engine
from tests.cluster.handmade import TEXT, runs, task, text, workflow
from tests.cluster.namespace import wait
from tests.cluster.test_engine import shapes
from tests.flyteadmin.double import Client
from tests.flyteadmin.engine_executor import flyteadmin_on
from tests.flyteadmin.entities import (
    create_launch_plan,
    create_task,
    create_workflow,
    identifier,
    launch_plan,
)
from tests.flyteadmin.test_double_executions import (
    execution,
    nodes,
    phase,
    read,
    request,
    tasks,
)

GIVEN = {"code": Parameter(var=Variable(type=TEXT), required=True)}
SHAPES = dict.fromkeys(
    ["start-node", "start", "body", "choose", "dynamic", "end", "end-node", "choose/choose-left",
     *(f"choose/choose-left/{name}" for name in ("start-node", "inner", "end-node")),
     *(f"dynamic/{name}" for name in ("start-node", "first", "second", "end-node"))],
    "SUCCEEDED",
)  # fmt: skip
"""What becomes of the nodes of `shapes`; nothing is told of an arm that is not taken."""


@pytest.fixture(scope="module")
def admin(flyte: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a double whose executions run on the engine."""
    with (
        flyteadmin_on(flyte, tmp_path_factory.mktemp("flyteadmin")) as double,
        double.connect() as client,
    ):
        yield client


def ends(admin: Client, name: str) -> str:
    """The phase with which an execution ends."""
    known = ("SUCCEEDED", "FAILED", "ABORTED")
    wait(lambda: phase(admin, name) in known, lambda: str(read(admin, name)), seconds=300)
    return phase(admin, name)


def phases(admin: Client, name: str, parent: str = "") -> dict[str, str]:
    """The phase of each node, inner ones as `outer/inner`, by the ids that they have in specs."""
    found: dict[str, str] = {}
    for unique, node in nodes(admin, parent, name).items():
        spec = node.metadata.spec_node_id
        found[spec] = NodeExecution.Phase.Name(node.closure.phase)
        inner = phases(admin, name, unique)
        found |= {f"{spec}/{below}": value for below, value in inner.items()}
    return found


def _flags(node: Any) -> tuple[bool, bool, bool]:
    metadata = node.metadata
    return metadata.is_parent_node, metadata.is_dynamic, metadata.is_array


def attempts(admin: Client, node: Any) -> list[str]:
    return [TaskExecution.Phase.Name(each.closure.phase) for each in tasks(admin, node)]


def test_all_kinds_of_nodes(flyte: Engine, admin: Client) -> None:
    templates = shapes(flyte.image)
    for each in templates.tasks:
        create_task(admin, each.template)
    parts = [part.template for part in templates.sub_workflows]
    create_workflow(admin, templates.primary.template, parts)
    name = templates.primary.template.id.name
    plan = create_launch_plan(admin, launch_plan(defaults=GIVEN, workflow=name), name)
    admin.admin.CreateExecution(request("shapes", plan, code=text("s3://code")))
    assert ends(admin, "shapes") == "SUCCEEDED", read(admin, "shapes")
    top = nodes(admin, "", "shapes")
    assert sorted(phases(admin, "shapes").items()) == sorted(SHAPES.items())
    flags = {name: _flags(node) for name, node in top.items() if any(_flags(node))}
    # A branch says of itself that it is no parent.
    assert flags == {"body": (False, False, True), "dynamic": (True, True, False)}
    assert attempts(admin, top["end"]) == ["FAILED", "SUCCEEDED"]
    (mapped,) = tasks(admin, top["body"])
    parts_of = mapped.closure.metadata.external_resources
    assert {part.index for part in parts_of} == {0, 1, 2}
    (started,) = tasks(admin, top["start"])
    assert started.closure.logs[0].uri.startswith("http://logs.example.com/flows-test/shapes-")


def test_an_execution_is_ended(flyte: Engine, admin: Client) -> None:
    sleeper = task("sleeper", flyte.image, "pause")
    template = register(admin, workflow("sleeping", [runs("sleeper")]), sleeper)
    plan = create_launch_plan(admin, launch_plan(workflow=template.id.name), template.id.name)
    admin.admin.CreateExecution(request("sleeps", plan))

    def running() -> bool:
        found = nodes(admin, "", "sleeps")
        return "sleeper" in found and attempts(admin, found["sleeper"]) == ["RUNNING"]

    wait(running, lambda: str(read(admin, "sleeps")), seconds=120)
    cause = "no longer wanted"
    admin.admin.TerminateExecution(ExecutionTerminateRequest(id=execution("sleeps"), cause=cause))
    assert ends(admin, "sleeps") == "ABORTED"
    assert read(admin, "sleeps").closure.abort_metadata.cause == cause
    assert phases(admin, "sleeps")["sleeper"] == "ABORTED"


def test_a_task_alone_that_fails(flyte: Engine, admin: Client) -> None:
    create_task(admin, task("failing", flyte.image, "unknown"))
    admin.admin.CreateExecution(request("fails", identifier(TASK, "failing")))
    assert ends(admin, "fails") == "FAILED"
    assert "unknown command" in read(admin, "fails").closure.error.message


def register(admin: Client, template: WorkflowTemplate, *made: Any) -> WorkflowTemplate:
    for each in made:
        create_task(admin, each)
    create_workflow(admin, template)
    return template


def test_what_the_engine_refuses_has_failed(admin: Client) -> None:
    """A launch plan of a workflow whose execution's name Kubernetes does not take."""
    missing = identifier(LAUNCH_PLAN, "sleeping")
    admin.admin.CreateExecution(request("ends-with-", missing))
    assert phase(admin, "ends-with-") == "FAILED"
    assert "Invalid value" in read(admin, "ends-with-").closure.error.message
