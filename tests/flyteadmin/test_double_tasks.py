"""Tasks: what the double asks of them, and what it says to one that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flyteidl.admin.project_pb2 import Project
from flyteidl.core.identifier_pb2 import TASK, WORKFLOW
from flyteidl.core.tasks_pb2 import K8sPod, Resources, RuntimeMetadata, TaskTemplate
from grpc import StatusCode

from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyteadmin.double import Client, Double, flyteadmin
from tests.flyteadmin.entities import create_task, got, identifier, refusal, simple_task

INVALID = StatusCode.INVALID_ARGUMENT
Change = Callable[[TaskTemplate], None]


def resources(requests: str, limits: str) -> Change:
    def change(task: TaskTemplate) -> None:
        for part, value in (("requests", requests), ("limits", limits)):
            if value:
                getattr(task.container.resources, part).add(name=Resources.MEMORY, value=value)

    return change


def clear(*path: str) -> Change:
    def change(task: TaskTemplate) -> None:
        message = task
        for name in path[:-1]:
            message = getattr(message, name)
        message.ClearField(path[-1])

    return change


def set_id(**fields: str) -> Change:
    def change(task: TaskTemplate) -> None:
        for name, value in fields.items():
            setattr(task.id, name, value)

    return change


def podless(task: TaskTemplate) -> None:
    task.k8s_pod.CopyFrom(K8sPod())


def unversioned_runtime(task: TaskTemplate) -> None:
    task.metadata.runtime.CopyFrom(RuntimeMetadata(flavor="python"))


REFUSED: dict[str, tuple[Change, str]] = {
    "no id": (clear("id"), "missing id"),
    "no name": (set_id(name=""), "missing name"),
    "no version": (set_id(version=""), "missing version"),
    "unknown project": (
        set_id(project="nowhere"),
        "failed to validate that project [nowhere] and domain [test] are registered, "
        "err: [project [nowhere] not found]",
    ),
    "unknown domain": (set_id(domain="nowhere"), "domain [nowhere] is unrecognized by system"),
    "archived project": (set_id(project="other"), "project [other] is not active"),
    "long name": (set_id(name="n" * 256), "name cannot exceed 255 characters"),
    "version with a slash": (
        set_id(version="a/b"),
        "version [a/b] must be url safe, cannot contains chars [!*'();:@&=+$,/?#[]]",
    ),
    "no type": (clear("type"), "missing type"),
    "no metadata": (clear("metadata"), "missing metadata"),
    "runtime without version": (unversioned_runtime, "missing runtime version"),
    "no interface": (clear("interface"), "missing typed interface"),
    "no image": (clear("container", "image"), "missing image"),
    "pod without a spec": (
        podless,
        "invalid TaskSpecification, pod tasks should specify their target as a K8sPod with a "
        "defined pod spec",
    ),
    "request above the limit": (
        resources("2Gi", "1Gi"),
        "Requested MEMORY default [2Gi] is greater than the limit [1Gi]. "
        "Please fix your configuration",
    ),
    "no quantity": (
        resources("much", ""),
        "Parsing of MEMORY request failed for value much - reason  quantities must match the "
        "regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'. Please follow K8s "
        "conventions for resources https://kubernetes.io/docs/concepts/configuration/"
        "manage-resources-containers/",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_task_that_flyteadmin_refuses(double: Double, client: Client, case: str) -> None:
    double.state.projects["other"].state = Project.ARCHIVED
    change, message = REFUSED[case]
    template = simple_task()
    change(template)
    assert refusal(create_task, client, template) == (INVALID, message)
    assert not double.state.tasks.rows


def test_a_container_with_inputs_needs_a_command(client: Client) -> None:
    template = simple_task()
    del template.container.args[:]
    code, message = refusal(create_task, client, template)
    assert code == StatusCode.INTERNAL
    assert "Value required [command]" in message


def test_the_type_of_the_identifier_counts(client: Client) -> None:
    template = simple_task()
    template.id.resource_type = WORKFLOW
    code, message = refusal(create_task, client, template)
    assert code == INVALID
    assert message.startswith("unexpected resource type workflow for identifier [")
    assert message.endswith("], expected task instead")


def test_what_was_registered_is_what_is_read(client: Client) -> None:
    template = simple_task()
    create_task(client, template)
    found = got(client.admin.GetTask, template.id)
    assert found.id == template.id
    assert found.closure.compiled_task.template == template
    assert found.closure.created_at.seconds


def test_the_same_again_exists_and_another_is_refused(double: Double, client: Client) -> None:
    create_task(client, simple_task())
    assert refusal(create_task, client, simple_task()) == (
        StatusCode.ALREADY_EXISTS,
        "task with identical structure already exists",
    )
    other = simple_task()
    other.container.image = "another"
    code, message = refusal(create_task, client, other)
    assert code == INVALID
    image = simple_task().container.image
    assert message == (
        "start task with different structure already exists. "
        "(Please register a new version of the task):\n"
        f"/template/container/image:\n\t- {image} \n\t+ another"
    )
    assert got(client.admin.GetTask, other.id).closure.compiled_task.template == simple_task()


def test_the_identifier_of_the_request_is_the_tasks_own(client: Client) -> None:
    template = simple_task()
    sent = template.id.version
    template.id.version = "2"
    create_task(client, template)
    assert refusal(got, client.admin.GetTask, identifier(TASK, "start", sent))[0] == (
        StatusCode.NOT_FOUND
    )
    assert got(client.admin.GetTask, template.id).closure.compiled_task.template.id == template.id


def test_a_task_that_is_not_there(client: Client) -> None:
    assert refusal(got, client.admin.GetTask, identifier(TASK, "start")) == (
        StatusCode.NOT_FOUND,
        'missing entity of type TASK with identifier resource_type: TASK project: "flows" '
        'domain: "test" name: "start" version: "1"',
    )


def test_a_platforms_limits(tmp_path: Path) -> None:
    with (
        flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,), limits={"MEMORY": "1Gi"}) as d,
        d.connect() as client,
    ):
        template = simple_task()
        resources("2Gi", "")(template)
        code, message = refusal(create_task, client, template)
        assert code == INVALID
        assert message.startswith(
            "Requested MEMORY default [2Gi] is greater than current limit set in the platform "
            "configuration [1Gi]."
        )
        resources("1024Mi", "")(small := simple_task())
        create_task(client, small)


@pytest.mark.parametrize(
    ("requests", "limits", "message"),
    [
        (("1", "1"), (), "can't specify GPU limit for task ["),
        (("1500m",), (), "gpu for ["),
        (("1",), ("2",), "For extended resource 'gpu' the default value must equal the limit"),
    ],
)
def test_devices_are_whole_and_as_many_as_the_limit(
    client: Client, requests: tuple[str, ...], limits: tuple[str, ...], message: str
) -> None:
    template = simple_task()
    for part, values in (("requests", requests), ("limits", limits)):
        for value in values:
            getattr(template.container.resources, part).add(name=Resources.GPU, value=value)
    code, said = refusal(create_task, client, template)
    assert (code, said[: len(message)]) == (INVALID, message)


def test_a_pods_containers_have_resources_too(client: Client) -> None:
    template = simple_task()
    container = {"name": "primary", "image": "image", "resources": {"requests": {"memory": "2Gi"}}}
    template.k8s_pod.pod_spec.update({"containers": [container]})
    create_task(client, template)
    container["resources"] = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    template.k8s_pod.pod_spec.update({"containers": [container]})
    assert "is greater than the limit [1Gi]" in refusal(create_task, client, template)[1]
