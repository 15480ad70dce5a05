"""What the rest of the project relies on, asked of the double, or of MFBUILD_TEST_FLYTE.

So that where a whole Flyte is at hand, the double is held against it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
import requests
from flyteidl.admin.common_pb2 import NamedEntityIdentifier, ObjectGetRequest
from flyteidl.admin.launch_plan_pb2 import (
    ACTIVE,
    INACTIVE,
    ActiveLaunchPlanRequest,
    LaunchPlanCreateRequest,
    LaunchPlanSpec,
    LaunchPlanUpdateRequest,
)
from flyteidl.admin.project_pb2 import ProjectListRequest
from flyteidl.admin.task_pb2 import TaskCreateRequest, TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowCreateRequest, WorkflowSpec
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW, Identifier
from flyteidl.core.interface_pb2 import Parameter, Variable
from flyteidl.core.workflow_pb2 import Node
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from flyteidl.service.dataproxy_pb2 import CreateUploadLocationRequest
from flyteidl.service.dataproxy_pb2_grpc import DataProxyServiceStub
from grpc import StatusCode

from tests.cluster.handmade import TEXT, text
from tests.flyteadmin.entities import refusal, simple_task, simple_workflow
from tests.flyteadmin.fixtures import Place, flyte_place

__all__ = ["flyte_place"]
DOMAIN = "development"


class Registry:
    """A flow of one step, under names that nobody else has."""

    def __init__(self, channel: grpc.Channel, project: str) -> None:
        self.admin: Any = AdminServiceStub(channel)
        self.data_proxy: Any = DataProxyServiceStub(channel)
        self.project = project
        self.name = f"mfbuild-tests-{secrets.token_hex(6)}"

    def id(self, type_: int, version: str = "1") -> Identifier:
        return Identifier(
            resource_type=type_,
            project=self.project,
            domain=DOMAIN,
            name=self.name,
            version=version,
        )

    def create_task(self, image: str = "registry.example.com/image:1") -> None:
        template = simple_task()
        template.id.CopyFrom(self.id(TASK))
        template.container.image = image
        spec = TaskSpec(template=template)
        self.admin.CreateTask(TaskCreateRequest(id=template.id, spec=spec))

    def create_workflow(self, node: str = "start") -> None:
        template = simple_workflow()
        template.id.CopyFrom(self.id(WORKFLOW))
        template.nodes[0].id = node
        template.nodes[0].task_node.reference_id.CopyFrom(self.id(TASK))
        spec = WorkflowSpec(template=template)
        self.admin.CreateWorkflow(WorkflowCreateRequest(id=template.id, spec=spec))

    def create_launch_plan(self, version: str = "1", **inputs: str | Parameter) -> None:
        spec = LaunchPlanSpec(workflow_id=self.id(WORKFLOW))
        for name, value in inputs.items():
            if isinstance(value, str):
                spec.fixed_inputs.literals[name].CopyFrom(text(value))
            else:
                spec.default_inputs.parameters[name].CopyFrom(value)
        made = self.id(LAUNCH_PLAN, version)
        self.admin.CreateLaunchPlan(LaunchPlanCreateRequest(id=made, spec=spec))

    def activate(self, version: str, state: int = ACTIVE) -> None:
        made = self.id(LAUNCH_PLAN, version)
        self.admin.UpdateLaunchPlan(LaunchPlanUpdateRequest(id=made, state=state))

    def active(self) -> str:
        name = NamedEntityIdentifier(project=self.project, domain=DOMAIN, name=self.name)
        found = self.admin.GetActiveLaunchPlan(ActiveLaunchPlanRequest(id=name))
        return str(found.id.version)


@pytest.fixture
def registry(flyte_place: Place) -> Iterator[Registry]:
    with _channel(flyte_place) as channel:
        yield Registry(channel, flyte_place.project)


@contextmanager
def _channel(place: Place) -> Iterator[grpc.Channel]:
    with ExitStack() as stack:
        if place.insecure:
            yield stack.enter_context(grpc.insecure_channel(place.endpoint))
        else:
            credentials = grpc.ssl_channel_credentials()
            yield stack.enter_context(grpc.secure_channel(place.endpoint, credentials))


def test_domains_come_with_projects(registry: Registry) -> None:
    projects = registry.admin.ListProjects(ProjectListRequest(limit=100)).projects
    (found,) = (project for project in projects if project.id == registry.project)
    assert {"development", "staging", "production"} <= {domain.id for domain in found.domains}


def test_a_task_is_registered_once(registry: Registry) -> None:
    registry.create_task()
    assert refusal(registry.create_task)[0] == StatusCode.ALREADY_EXISTS
    code, message = refusal(registry.create_task, "registry.example.com/another:1")
    assert code == StatusCode.INVALID_ARGUMENT
    assert "with different structure already exists" in message
    found = registry.admin.GetTask(ObjectGetRequest(id=registry.id(TASK)))
    assert found.closure.compiled_task.template.container.image == "registry.example.com/image:1"


def test_a_workflow_is_registered_once_and_after_its_tasks(registry: Registry) -> None:
    code, message = refusal(registry.create_workflow)
    assert code == StatusCode.INVALID_ARGUMENT
    assert "missing entity of type TASK" in message
    registry.create_task()
    registry.create_workflow()
    assert refusal(registry.create_workflow)[0] == StatusCode.ALREADY_EXISTS
    code, message = refusal(registry.create_workflow, "another")
    assert code == StatusCode.INVALID_ARGUMENT
    assert "with different structure already exists" in message


@pytest.mark.usefixtures("compiler")
def test_a_workflow_is_read_as_it_was_compiled(registry: Registry) -> None:
    registry.create_task()
    registry.create_workflow()
    found = registry.admin.GetWorkflow(ObjectGetRequest(id=registry.id(WORKFLOW)))
    nodes: dict[str, Node] = {
        node.id: node for node in found.closure.compiled_workflow.primary.template.nodes
    }
    assert set(nodes) == {"start-node", "start", "end-node"}
    assert nodes["start"].inputs[0].binding.promise.node_id == "start-node"


def test_a_launch_plan_is_inactive_and_has_all_inputs(registry: Registry) -> None:
    registry.create_task()
    registry.create_workflow()
    registry.create_launch_plan()
    found = registry.admin.GetLaunchPlan(ObjectGetRequest(id=registry.id(LAUNCH_PLAN)))
    assert found.closure.state == INACTIVE
    assert found.spec.default_inputs.parameters["code"] == Parameter(
        var=Variable(type=TEXT), required=True
    )


def test_a_launch_plan_with_other_fixed_inputs_is_taken_for_the_same(registry: Registry) -> None:
    registry.create_task()
    registry.create_workflow()
    registry.create_launch_plan(code="s3://one")

    def another() -> None:
        registry.create_launch_plan(code="s3://two")

    assert refusal(another)[0] == StatusCode.ALREADY_EXISTS


def test_one_version_is_active(registry: Registry) -> None:
    registry.create_task()
    registry.create_workflow()
    for version in "12":
        registry.create_launch_plan(version, code="s3://one")
        registry.activate(version)
    assert registry.active() == "2"
    first = registry.admin.GetLaunchPlan(ObjectGetRequest(id=registry.id(LAUNCH_PLAN, "1")))
    assert first.closure.state == INACTIVE
    registry.activate("2", INACTIVE)
    assert refusal(registry.active)[0] == StatusCode.NOT_FOUND


def test_code_is_uploaded_to_a_place_of_its_content(registry: Registry) -> None:
    data = registry.name.encode()
    digest = hashlib.md5(data).digest()
    asked = CreateUploadLocationRequest(
        project=registry.project, domain=DOMAIN, content_md5=digest, filename="code.tar"
    )
    found = registry.data_proxy.CreateUploadLocation(asked)
    root = base64.b32encode(digest).decode()
    assert found.native_url.endswith(f"/{registry.project}/{DOMAIN}/{root}/code.tar")
    headers = {name: value for name, value in found.headers.items() if name != "Content-Length"}
    assert requests.put(found.signed_url, data, headers=headers, timeout=60).ok
