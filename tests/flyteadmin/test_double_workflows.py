"""Workflows: compiled with the tasks that are registered, by Flyte's own compiler where it is."""

from __future__ import annotations

import pytest
from flyteidl.admin.workflow_pb2 import (
    CreateWorkflowFailureReason,
    WorkflowCreateRequest,
)
from flyteidl.core.identifier_pb2 import WORKFLOW
from grpc import StatusCode

from tests.cluster import handmade
from tests.cluster.handmade import TEXT
from tests.flyteadmin.double import Client, Double
from tests.flyteadmin.entities import (
    CODE,
    create_task,
    create_workflow,
    details,
    got,
    identifier,
    refusal,
    registered,
    simple_task,
    simple_workflow,
)

INVALID = StatusCode.INVALID_ARGUMENT


def test_every_task_must_be_there(double: Double, client: Client) -> None:
    create_task(client, simple_task())
    code, message = refusal(create_workflow, client, simple_workflow("flow", "start", "end"))
    assert code == INVALID
    assert message.startswith("failed to compile workflow for [resource_type: WORKFLOW")
    assert "with err: missing entity of type TASK with identifier" in message
    assert 'name: "end"' in message
    assert not double.state.workflows.rows


def test_the_tasks_of_arms_maps_and_sub_workflows_too(client: Client) -> None:
    arm = handmade.chooses("which", handmade.output("", "code"), {"a": handmade.runs("arm", CODE)})
    mapped = handmade.maps("mapped", CODE)
    part = handmade.workflow("part", [handmade.runs("inner", CODE)], {"code": TEXT})
    for workflow in (
        handmade.workflow("flow", [arm], {"code": TEXT}),
        handmade.workflow("flow", [mapped], {"code": TEXT}),
    ):
        assert "missing entity of type TASK" in refusal(create_workflow, client, workflow)[1]
    whole = handmade.workflow("flow", [handmade.contains("part", CODE)], {"code": TEXT})
    assert 'name: "inner"' in refusal(create_workflow, client, whole, [part])[1]


def test_the_same_again_exists_and_another_is_refused(client: Client) -> None:
    registered(client)
    template = simple_workflow()
    assert refusal(create_workflow, client, template) == (
        StatusCode.ALREADY_EXISTS,
        "workflow with identical structure already exists",
    )
    reason = details(create_workflow, CreateWorkflowFailureReason, client, template)
    assert reason.exists_identical_structure.id == template.id
    other = simple_workflow()
    other.nodes[0].metadata.name = "another"
    code, message = refusal(create_workflow, client, other)
    assert code == INVALID
    assert message.startswith("flow workflow with different structure already exists. ")
    reason = details(create_workflow, CreateWorkflowFailureReason, client, other)
    assert reason.exists_different_structure.id == template.id


def test_the_order_of_a_maps_keys_is_no_difference(client: Client) -> None:
    registered(client)
    one, other = simple_workflow("both"), simple_workflow("both")
    for template, names in ((one, "ab"), (other, "ba")):
        for name in names:
            template.interface.inputs.variables[name].type.CopyFrom(TEXT)
    create_workflow(client, one)
    assert refusal(create_workflow, client, other)[0] == StatusCode.ALREADY_EXISTS


def test_more_than_a_hundred_nodes(client: Client) -> None:
    names = [f"n{number}" for number in range(101)]
    for name in names:
        create_task(client, simple_task(name))
    code, message = refusal(create_workflow, client, simple_workflow("flow", *names))
    assert code == INVALID
    assert message.startswith("number of nodes in workflow [")
    assert message.endswith("] exceeds limit (101 > 100)")
    create_workflow(client, simple_workflow("flow", *names[:-1]))


def test_what_is_asked_of_a_request(client: Client) -> None:
    create = client.admin.CreateWorkflow
    assert refusal(create, WorkflowCreateRequest()) == (INVALID, "missing id")
    request = WorkflowCreateRequest(id=identifier(WORKFLOW, "flow"))
    assert refusal(create, request) == (INVALID, "missing spec")
    request.id.project = "nowhere"
    assert "project [nowhere] not found" in refusal(create, request)[1]


@pytest.mark.usefixtures("compiler")
def test_what_does_not_compile_is_refused_in_the_compilers_words(client: Client) -> None:
    create_task(client, simple_task())
    unbound = handmade.workflow("flow", [handmade.runs("start")])
    code, message = refusal(create_workflow, client, unbound)
    assert code == INVALID
    assert "failed to compile workflow for [" in message
    assert "ParameterNotBound" in message


@pytest.mark.usefixtures("compiler")
def test_what_is_read_is_what_the_compiler_made(client: Client) -> None:
    create_task(client, simple_task())
    create_task(client, simple_task("end"))
    part = handmade.workflow("part", [handmade.runs("end", CODE)], {"code": TEXT})
    nodes = [handmade.runs("start", CODE), handmade.contains("part", CODE)]
    nodes[1].upstream_node_ids.append("start")
    template = handmade.workflow("flow", nodes, {"code": TEXT})
    create_workflow(client, template, [part])
    compiled = got(client.admin.GetWorkflow, template.id).closure.compiled_workflow
    primary = compiled.primary
    assert {node.id for node in primary.template.nodes} == {
        "start-node",
        "start",
        "part",
        "end-node",
    }
    (start,) = (node for node in primary.template.nodes if node.id == "start")
    # The compiler writes out which node gives the workflow's inputs.
    template.nodes[0].inputs[0].binding.promise.node_id = "start-node"
    assert start == template.nodes[0]
    assert list(primary.connections.downstream["start"].ids) == ["part"]
    assert [sub.template.id.name for sub in compiled.sub_workflows] == ["part"]
    assert {task.template.id.name for task in compiled.tasks} == {"start", "end"}


def test_a_task_of_another_version_is_another_workflow(client: Client) -> None:
    registered(client)
    newer = simple_task()
    newer.id.version = "2"
    create_task(client, newer)
    template = simple_workflow()
    template.nodes[0].task_node.reference_id.version = "2"
    assert "different structure" in refusal(create_workflow, client, template)[1]
