"""Entities made by hand, and how they are registered with the double."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import pytest
from flyteidl.admin.common_pb2 import ObjectGetRequest
from flyteidl.admin.launch_plan_pb2 import LaunchPlanCreateRequest, LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskCreateRequest, TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowCreateRequest, WorkflowSpec
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, WORKFLOW, Identifier
from flyteidl.core.interface_pb2 import Parameter, ParameterMap, Variable
from flyteidl.core.literals_pb2 import Literal, LiteralMap
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate
from google.rpc.status_pb2 import Status

from tests.cluster import handmade
from tests.cluster.handmade import DOMAIN, PROJECT, TEXT, text
from tests.flyteadmin.double import Client

PLACE = (PROJECT, DOMAIN)
IMAGE = "registry.example.com/image@sha256:" + "0" * 64
CODE = {"code": handmade.output("", "code")}
DEFAULT = Parameter(var=Variable(type=TEXT), default=text("a"))


def simple_task(name: str = "start") -> TaskTemplate:
    """A task with an input, `code`."""
    return handmade.task(name, IMAGE, "nothing", inputs={"code": TEXT})


def simple_workflow(name: str = "flow", *steps: str) -> WorkflowTemplate:
    """A workflow with an input, `code`, that runs tasks one after the other."""
    names = steps or ("start",)
    nodes = [handmade.runs(name, CODE, *names[:index][-1:]) for index, name in enumerate(names)]
    return handmade.workflow(name, nodes, {"code": TEXT})


def create_task(client: Client, template: TaskTemplate) -> None:
    request = TaskCreateRequest(spec=TaskSpec(template=template))
    if template.HasField("id"):
        request.id.CopyFrom(template.id)
    client.admin.CreateTask(request)


def create_workflow(
    client: Client, template: WorkflowTemplate, parts: Sequence[WorkflowTemplate] = ()
) -> None:
    spec = WorkflowSpec(template=template, sub_workflows=parts)
    client.admin.CreateWorkflow(WorkflowCreateRequest(id=template.id, spec=spec))


def identifier(type_: int, name: str, version: str = "1") -> Identifier:
    return Identifier(
        resource_type=type_, project=PROJECT, domain=DOMAIN, name=name, version=version
    )


def launch_plan(
    fixed: Mapping[str, Literal] | None = None,
    defaults: Mapping[str, Parameter] | None = None,
    cron: str = "",
    workflow: str = "flow",
) -> LaunchPlanSpec:
    spec = LaunchPlanSpec(
        workflow_id=identifier(WORKFLOW, workflow),
        fixed_inputs=LiteralMap(literals=fixed or {}),
        default_inputs=ParameterMap(parameters=defaults or {}),
    )
    if cron:
        spec.entity_metadata.schedule.cron_schedule.schedule = cron
    return spec


def create_launch_plan(
    client: Client, spec: LaunchPlanSpec, name: str = "flow", version: str = "1"
) -> Identifier:
    made = identifier(LAUNCH_PLAN, name, version)
    client.admin.CreateLaunchPlan(LaunchPlanCreateRequest(id=made, spec=spec))
    return made


def registered(client: Client) -> None:
    """Register a task and a workflow for launch plans."""
    create_task(client, simple_task())
    create_workflow(client, simple_workflow())


def got(call: Any, made: Identifier) -> Any:
    """What a Get answers for an identifier."""
    return call(ObjectGetRequest(id=made))


def refusal(call: Any, *arguments: Any) -> tuple[grpc.StatusCode, str]:
    """The code and message with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    return caught.value.code(), caught.value.details() or ""


def details(call: Any, kind: Any, *arguments: Any) -> Any:
    """The detail of a kind of message with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    trailer: Any = caught.value.trailing_metadata()
    packed = dict(trailer)["grpc-status-details-bin"]
    status = Status.FromString(packed)
    assert status.code == caught.value.code().value[0]
    (detail,) = status.details
    found = kind()
    assert detail.Unpack(found)
    return found
