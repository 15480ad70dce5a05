"""Registrations at a Flyte: what is there stays, whoever registers what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW, Identifier
from flyteidl.core.tasks_pb2 import Resources

from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.backend import Spec
from mfbuild.flyte.compare import differences
from tests.cluster.handmade import DOMAIN, PROJECT, text
from tests.flyte.admin import Place, place
from tests.flyteadmin.double import flyteadmin
from tests.flyteadmin.entities import identifier, launch_plan, simple_task, simple_workflow


@pytest.fixture
def flyte(tmp_path: Path) -> Iterator[Place]:
    with flyteadmin(tmp_path, projects=(PROJECT, "other"), domains=(DOMAIN, "staging")) as double:
        yield place(double)


TASK_ID, WORKFLOW_ID = identifier(TASK, "start"), identifier(WORKFLOW, "flow")
PLAN_ID = identifier(LAUNCH_PLAN, "flow")
ENTITIES: dict[str, tuple[Identifier, Spec]] = {
    "task": (TASK_ID, TaskSpec(template=simple_task())),
    "workflow": (WORKFLOW_ID, WorkflowSpec(template=simple_workflow())),
    "launch plan": (PLAN_ID, launch_plan(fixed={"code": text("s3://code")})),
}


def other(kind: str) -> Spec:
    """The same kind of entity under the same identifier with another content."""
    if kind == "task":
        task = simple_task()
        task.container.args.append("more")
        return TaskSpec(template=task)
    if kind == "workflow":
        workflow = simple_workflow()
        workflow.nodes[0].metadata.retries.retries = 3
        return WorkflowSpec(template=workflow)
    return launch_plan(fixed={"code": text("s3://other")})


def register(flyte: Place, *kinds: str) -> None:
    for kind in kinds:
        assert flyte.registrations.create(*ENTITIES[kind])


def found(flyte: Place, kind: str) -> Spec | None:
    if kind == "launch plan":
        plan = flyte.registrations.launch_plan(PLAN_ID)
        return plan and plan.spec
    return flyte.registrations.get(ENTITIES[kind][0])


@pytest.mark.parametrize("kind", ENTITIES)
def test_what_is_registered_stays(flyte: Place, kind: str) -> None:
    identifier, spec = ENTITIES[kind]
    before = list(ENTITIES)[: list(ENTITIES).index(kind)]
    register(flyte, *before)
    assert found(flyte, kind) is None
    assert flyte.registrations.create(identifier, spec) is True
    there = found(flyte, kind)
    assert there is not None and differences(spec, there) == []
    assert flyte.registrations.create(identifier, spec) is False
    assert flyte.registrations.create(identifier, other(kind)) is False
    still = found(flyte, kind)
    assert still is not None and differences(spec, still) == []
    assert len(differences(other(kind), still)) == 1
    assert flyte.waited == []


def test_a_no_op_is_one_call(flyte: Place) -> None:
    register(flyte, *ENTITIES)
    flyte.double.calls.clear()
    assert flyte.registrations.launch_plan(PLAN_ID) is not None
    assert dict(flyte.double.calls) == {"GetLaunchPlan": 1}


def test_what_a_launch_plan_is(flyte: Place) -> None:
    register(flyte, *ENTITIES)
    plan = flyte.registrations.launch_plan(PLAN_ID)
    assert plan is not None
    assert (plan.id, plan.active) == (PLAN_ID, False)
    assert plan.created is not None and plan.created <= datetime.now(timezone.utc)


def test_one_version_is_active(flyte: Place) -> None:
    register(flyte, *ENTITIES)
    ids = [identifier(LAUNCH_PLAN, "flow", version) for version in ("1", "2", "3")]
    for each in ids[1:]:
        assert flyte.registrations.create(each, ENTITIES["launch plan"][1])

    def active() -> list[str]:
        plans = flyte.registrations.launch_plans(PROJECT, DOMAIN, "flow")
        return [plan.id.version for plan in plans if plan.active]

    flyte.registrations.set_active(ids[0], active=True)
    assert active() == ["1"]
    flyte.registrations.set_active(ids[2], active=True)
    flyte.registrations.set_active(ids[2], active=True)
    assert active() == ["3"]
    flyte.registrations.set_active(ids[2], active=False)
    flyte.registrations.set_active(ids[2], active=False)
    assert active() == []


def test_more_versions_than_a_page_newest_first(flyte: Place) -> None:
    register(flyte, "task", "workflow")
    versions = [f"{number:040x}" for number in range(230)]
    for version in versions:
        spec = launch_plan(fixed={"code": text("c")})
        assert flyte.registrations.create(identifier(LAUNCH_PLAN, "flow", version), spec)
    listed = flyte.registrations.launch_plans(PROJECT, DOMAIN, "flow")
    assert [plan.id.version for plan in listed] == versions[::-1]
    assert flyte.double.calls["ListLaunchPlans"] == 3
    assert list(flyte.registrations.launch_plans(PROJECT, DOMAIN, "nothing")) == []


def test_projects_and_domains(flyte: Place) -> None:
    projects = flyte.registrations.projects()
    assert set(projects) == {PROJECT, "other"}
    assert list(projects[PROJECT]) == [DOMAIN, "staging"]


def test_a_project_that_is_not_there(flyte: Place) -> None:
    task = simple_task()
    task.id.project = "nowhere"
    with pytest.raises(Refusal) as caught:
        flyte.registrations.create(task.id, TaskSpec(template=task))
    assert str(caught.value).startswith(
        f"`{flyte.double.endpoint}` refuses to register task `start`: "
    )
    assert "nowhere" in str(caught.value)
    assert caught.value.problems[0].hint == f"there are the projects {PROJECT}, other"
    task.id.project, task.id.domain = PROJECT, "stagin"
    with pytest.raises(Refusal) as caught:
        flyte.registrations.create(task.id, TaskSpec(template=task))
    assert caught.value.problems[0].hint == f"`{PROJECT}` has the domains {DOMAIN}, staging"
    assert flyte.waited == []
    assert list(flyte.registrations.launch_plans("nowhere", DOMAIN, "flow")) == []


def test_a_workflow_whose_task_is_not_there(flyte: Place) -> None:
    with pytest.raises(Refusal) as caught:
        flyte.registrations.create(*ENTITIES["workflow"])
    assert caught.value.code in ("INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND")
    assert flyte.double.calls["CreateWorkflow"] == 1
    assert found(flyte, "workflow") is None


def test_a_task_over_the_limits(tmp_path: Path) -> None:
    with flyteadmin(
        tmp_path, projects=(PROJECT,), domains=(DOMAIN,), limits={"CPU": "1"}
    ) as double:
        task = simple_task()
        task.container.resources.requests.add(name=Resources.CPU, value="2")
        with pytest.raises(Refusal) as caught:
            place(double).registrations.create(task.id, TaskSpec(template=task))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_launch_plan_of_a_workflow_that_has_a_parameter(flyte: Place) -> None:
    """The server says of each input that has no value that it is required."""
    register(flyte, "task", "workflow")
    bare = LaunchPlanSpec(workflow_id=WORKFLOW_ID)
    assert flyte.registrations.create(PLAN_ID, bare)
    plan = flyte.registrations.launch_plan(PLAN_ID)
    assert plan is not None and list(plan.spec.default_inputs.parameters) == ["code"]
    assert differences(bare, plan.spec) == []
    fixed = launch_plan(fixed={"code": text("c")})
    assert differences(fixed, plan.spec) == [
        'fixed_inputs[code]: {scalar { primitive { string_value: "c" } }} here, nothing there'
    ]


def test_control_characters_of_a_server_are_not_shown(flyte: Place) -> None:
    task = simple_task()
    task.id.project = "\x1b[31m" + json.dumps("é\n") * 500
    with pytest.raises(Refusal) as caught:
        flyte.registrations.create(task.id, TaskSpec(template=task))
    assert all(character.isprintable() for character in str(caught.value))
    assert len(str(caught.value)) < 700
