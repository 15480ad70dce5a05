"""The ports of `mfbuild.flyte.admin` on runs of the engine, told of by the real propeller."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, Identifier
from flyteidl.core.interface_pb2 import Parameter, Variable
from flyteidl.core.literals_pb2 import LiteralMap
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from mfbuild.flyte.backend import Execution, ExecutionId
from mfbuild.flyte.compare import differences
from tests.cluster.engine import Engine
from tests.cluster.handmade import DOMAIN, PROJECT, TEXT, runs, task, text, workflow
from tests.cluster.namespace import wait
from tests.cluster.test_engine import shapes
from tests.flyte.admin import Place, place
from tests.flyteadmin.engine_executor import flyteadmin_on
from tests.flyteadmin.entities import identifier, launch_plan

GIVEN = {"code": Parameter(var=Variable(type=TEXT), required=True)}


@pytest.fixture(scope="module")
def admin(flyte: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with flyteadmin_on(flyte, tmp_path_factory.mktemp("flyteadmin")) as double:
        yield place(double)


def register(
    admin: Place,
    template: WorkflowTemplate,
    tasks: list[TaskTemplate],
    parts: list[WorkflowTemplate],
) -> Identifier:
    """Register a workflow with a launch plan of its name, and look at what is there."""
    for each in tasks:
        assert admin.registrations.create(each.id, TaskSpec(template=each))
    spec = WorkflowSpec(template=template, sub_workflows=parts)
    assert admin.registrations.create(template.id, spec)
    found = admin.registrations.get(template.id)
    assert found is not None and differences(spec, found) == []
    plan = identifier(LAUNCH_PLAN, template.id.name)
    defaults = GIVEN if template.interface.inputs.variables else {}
    assert admin.registrations.create(
        plan, launch_plan(defaults=defaults, workflow=template.id.name)
    )
    return plan


def state(admin: Place, id: ExecutionId) -> Execution:
    found = admin.executions.get(id)
    assert found is not None
    return found


def test_a_run_with_all_kinds_of_nodes(flyte: Engine, admin: Place) -> None:
    templates = shapes(flyte.image)
    plan = register(
        admin,
        templates.primary.template,
        [each.template for each in templates.tasks],
        [part.template for part in templates.sub_workflows],
    )
    id = ExecutionId(PROJECT, DOMAIN, "port")
    admin.executions.start(id, plan, LiteralMap(literals={"code": text("s3://code")}))
    wait(lambda: state(admin, id).is_done, lambda: str(state(admin, id)), seconds=300)
    done = state(admin, id)
    assert (done.phase, done.error) == ("succeeded", None)
    tasks = {each.node: each for each in admin.executions.tasks(id)}
    assert {each.phase for each in tasks.values()} == {"succeeded"}
    assert sorted(tasks) == [
        "body/0",
        "body/1",
        "body/2",
        "choose/choose-left/inner",
        "dynamic",
        "dynamic/first",
        "dynamic/second/0",
        "dynamic/second/1",
        "end",
        "start",
    ]
    assert tasks["end"].attempt == 1
    assert tasks["start"].logs[0][1].startswith("http://logs.example.com/flows-test/port-")
    assert done.began is not None and done.ended is not None
    for each in tasks.values():
        assert each.began is None or done.began <= each.began


def test_a_run_that_is_terminated(flyte: Engine, admin: Place) -> None:
    sleeper = task("napper", flyte.image, "pause")
    plan = register(admin, workflow("napping", [runs("napper")]), [sleeper], [])
    id = ExecutionId(PROJECT, DOMAIN, "naps")
    admin.executions.start(id, plan, LiteralMap())

    def running() -> bool:
        return [each.phase for each in admin.executions.tasks(id)] == ["running"]

    wait(running, lambda: str(state(admin, id)), seconds=120)
    admin.executions.terminate(id, "no longer wanted")
    wait(lambda: state(admin, id).is_done, lambda: str(state(admin, id)), seconds=120)
    assert (state(admin, id).phase, state(admin, id).error) == ("aborted", "no longer wanted")
    [told] = admin.executions.tasks(id)
    assert told.phase == "aborted"
