"""What a step asks for, in its task and its node."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core.security_pb2 import Secret
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from flyteidl.core.workflow_pb2 import Node
from google.protobuf.json_format import MessageToDict

from mfbuild.flow.spec import Catch, FlowSpec, Retry, StepSpec
from mfbuild.flow.spec import Resources as Asked
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.templates import Compiled, environment_of
from mfbuild.local.sandbox.pod import container_of
from tests.specs import flow, step

Load = Callable[[str], FlowSpec]


def compiled(only: StepSpec, **more: Any) -> Compiled:
    return compile_flow(flow(only), **more)


def task(**changes: Any) -> TaskTemplate:
    return compiled(replace(step(kind="end"), **changes)).tasks["start"]


def node(**changes: Any) -> Node:
    return compiled(replace(step(kind="end"), **changes)).workflow.nodes[0]


def arguments(name: str, load: Load, of: str) -> list[str]:
    template = compile_flow(load(f"tests/flows/{name}.py")).tasks[of]
    assert list(template.container.command) == ["/opt/venv/bin/python", "-m", "mfbuild_runtime"]
    return list(template.container.args)


TRAVELLING = [
    word
    for name in ("code", "plan", "run", "person")
    for word in (f"--{name}", "{{.inputs._" + name + "}}")
]
OUTPUT = ["--output", "{{.outputPrefix}}"]


def test_the_start_step_reads_the_parameters(loaded: Load) -> None:
    words = ["start", *TRAVELLING, *OUTPUT, "--input", "{{.input}}"]
    assert arguments("linear", loaded, "start") == words
    assert arguments("linear", loaded, "end") == ["end", *TRAVELLING, *OUTPUT]


def test_a_step_is_told_its_place(loaded: Load) -> None:
    def place(name: str, of: str) -> list[str]:
        words = arguments(name, loaded, of)[1 + len(TRAVELLING) :]
        return words[: words.index("--output")]

    path, split = ["--path", "{{.inputs._path}}"], ["--split", "{{.inputs._split}}"]
    count = ["--count", "{{.inputs._count}}"]
    iteration = ["--iteration", "{{.inputs._iteration}}"]
    assert place("foreach", "body") == split
    assert place("foreach", "join") == count
    assert place("nested_foreach", "outer") == path
    assert place("nested_foreach", "inner") == path + split
    assert place("nested_foreach", "inner_join") == path + count
    assert place("nested_foreach", "outer_join") == count
    assert place("recursive_switch", "loop") == iteration
    assert place("recursive_in_foreach", "loop") == path + iteration


def outputs(name: str, load: Load, of: str) -> dict[str, Any]:
    template = compile_flow(load(f"tests/flows/{name}.py")).tasks[of]
    types: dict[str, Any] = MessageToDict(template.interface.outputs).get("variables", {})
    return {name: variable["type"] for name, variable in types.items()}


def test_a_step_puts_out_what_decides_the_nodes_after_it(loaded: Load) -> None:
    integer, integers = {"simple": "INTEGER"}, {"collectionType": {"simple": "INTEGER"}}
    assert outputs("foreach", loaded, "start") == {"count": integer, "splits": integers}
    assert outputs("foreach", loaded, "body") == {}
    assert outputs("long_foreach", loaded, "start") == {"count": integer}
    assert outputs("switch", loaded, "start") == {"choice": {"simple": "STRING"}}
    assert outputs("recursive_switch", loaded, "loop") == {}


def test_retries_are_those_of_the_user_and_one_of_catch() -> None:
    caught, retried = Catch(var=None, print_exception=True), Retry(3, 0.0)
    assert task().metadata.retries.retries == 0
    assert task(retry=retried).metadata.retries.retries == 3
    assert task(retry=retried, catch=caught).metadata.retries.retries == 4
    assert task(retry=Retry(5, 0.0), catch=caught).metadata.retries.retries == 5
    assert node(retry=retried, catch=caught).metadata.retries.retries == 4


def test_the_runtime_knows_of_retries_and_of_the_delay_between_them() -> None:
    assert container_of(task(retry=Retry(2, 0.0))).command[-2:] == ("--user-retries", "2")
    delayed = container_of(task(retry=Retry(2, 1.51))).command
    assert delayed[-4:] == ("--user-retries", "2", "--retry-delay", "91")
    assert "--user-retries" not in container_of(task(retry=Retry(0, 2.0))).command


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [(None, 60 + 1800), (Retry(1, 0.0), 60 + 1800), (Retry(4, 2.0), (60 + 120 + 1800) * 5 / 2)],
)
def test_the_deadline_leaves_every_attempt_its_time(retry: Retry | None, seconds: float) -> None:
    """Propeller gives all attempts together twice the deadline."""
    assert node(timeout_seconds=60, retry=retry).metadata.timeout.seconds == seconds


def test_steps_that_start_others_have_no_deadline(loaded: Load) -> None:
    spec = loaded("tests/flows/long_foreach.py")
    timed = replace(spec, steps=tuple(replace(s, timeout_seconds=60) for s in spec.steps))
    result = compile_flow(timed)
    (part,) = result.parts.values()
    nodes = [*result.workflow.nodes, *part.nodes]
    assert {n.id: n.metadata.HasField("timeout") for n in nodes} == {
        "start": False,
        "join": True,
        "end": True,
        "first": True,
        "second": True,
    }


def test_an_array_has_deadline_and_retries_for_each_element(loaded: Load) -> None:
    spec = loaded("tests/flows/foreach.py")
    changed = {"timeout_seconds": 60, "retry": Retry(1, 0.0)}
    steps = tuple(replace(s, **changed) if s.name == "body" else s for s in spec.steps)  # type: ignore[arg-type]
    array = compile_flow(replace(spec, steps=steps)).workflow.nodes[1]
    assert not array.metadata.HasField("timeout") and not array.metadata.HasField("retries")
    inner = array.array_node.node.metadata
    assert [inner.timeout.seconds, inner.retries.retries] == [1860, 1]


def resources(template: TaskTemplate) -> dict[str, dict[str, str]]:
    amounts = template.container.resources
    name = Resources.ResourceName.Name
    return {
        kind: {name(e.name): e.value for e in entries}
        for kind, entries in (("requests", amounts.requests), ("limits", amounts.limits))
        if entries
    }


@pytest.mark.parametrize(
    ("cores", "quantity"),
    [(1, "1"), (0.5, "500m"), (2.0, "2"), (1.25, "1250m"), (0.0001, "1m"), (0.1, "100m")],
)
def test_cores(cores: float, quantity: str) -> None:
    assert resources(task(resources=Asked(cpu=cores))) == {"requests": {"CPU": quantity}}


def test_memory_disk_and_gpus() -> None:
    assert resources(task(resources=Asked(memory=8000, disk=20, gpu=2))) == {
        "requests": {"MEMORY": "8000Mi", "EPHEMERAL_STORAGE": "20Mi", "GPU": "2"},
        "limits": {"GPU": "2"},
    }
    assert resources(task(resources=Asked(cpu=0, gpu=0))) == {}


def test_a_guaranteed_step_has_limits() -> None:
    amounts = {"CPU": "1", "MEMORY": "10Mi"}
    asked = Asked(cpu=1, memory=10)
    assert resources(task(resources=asked, kubernetes={"qos": "Guaranteed"})) == {
        "requests": amounts,
        "limits": amounts,
    }


def test_resources_of_the_workspace_win() -> None:
    template = compiled(
        replace(step(kind="end"), resources=Asked(cpu=1, memory=10)),
        resources={"start": {"cpu": 2.5, "gpu": 1.0}},
    ).tasks["start"]
    assert resources(template)["requests"] == {"CPU": "2500m", "MEMORY": "10Mi", "GPU": "1"}


def test_shared_memory() -> None:
    memory = task(resources=Asked(shared_memory=64)).extended_resources.shared_memory
    assert [memory.mount_name, memory.mount_path, memory.size_limit] == [
        "shared-memory",
        "/dev/shm",
        "64Mi",
    ]
    assert not task().HasField("extended_resources")


def test_the_environment_is_sorted_and_the_runtimes_own_wins() -> None:
    variables = {"ZONE": "a", "METAFLOW_RUNTIME_NAME": "mine", "ALPHA": "é"}
    template = compiled(
        replace(step(kind="end"), environment=variables), options=["--with", "retry"]
    ).tasks["start"]
    assert environment_of(template) == {
        "ALPHA": "é",
        "METAFLOW_RUNTIME_NAME": "flyte",
        "MFBUILD_FLOW_FILE": "train.py",
        "MFBUILD_OPTIONS": '["--with", "retry"]',
        "ZONE": "a",
    }
    assert list(environment_of(template)) == sorted(environment_of(template))


def test_labels_and_annotations() -> None:
    asked = {"labels": {"team": "ml", "empty": None}, "annotations": {"example.com/note": 1}}
    template = task(kubernetes=asked)
    assert template.HasField("container")
    assert dict(template.metadata.metadata.labels) == {"team": "ml", "empty": ""}
    assert dict(template.metadata.metadata.annotations) == {"example.com/note": "1"}


def test_secrets_of_flyte_are_mounted_and_others_are_metaflows() -> None:
    sources = (
        "flyte.database/password",
        {"type": "flyte", "id": "tokens/api-key", "options": {"variable": "API_KEY"}},
        "aws-secrets-manager.db",
        {"type": "inline", "options": {"env_vars": {"A": "1"}}},
    )
    secrets = task(secrets=sources).security_context.secrets
    assert [(s.group, s.key, s.env_var, s.mount_requirement) for s in secrets] == [
        ("database", "password", "password", Secret.ENV_VAR),
        ("tokens", "api-key", "API_KEY", Secret.ENV_VAR),
    ]
    assert not task(secrets=sources[2:]).HasField("security_context")


def pod(**kubernetes: Any) -> dict[str, Any]:
    template = task(kubernetes=kubernetes, resources=Asked(cpu=1, memory=100, gpu=1))
    assert template.config["primary_container_name"] == "primary"
    assert template.k8s_pod.primary_container_name == "primary"
    spec: dict[str, Any] = MessageToDict(template.k8s_pod.pod_spec)
    return spec


def test_a_pod_holds_the_same_container() -> None:
    plain, template = task(), task(kubernetes={"service_account": "flows"})
    (container,) = MessageToDict(template.k8s_pod.pod_spec)["containers"]
    assert container["image"] == "mfbuild:start"
    assert container_of(template).command == container_of(plain).command
    assert environment_of(template) == environment_of(plain)
    assert "resources" not in container


def test_pods_say_what_containers_cannot() -> None:
    spec = pod(
        node_selector={"disk": "ssd"},
        compute_pool="large",
        tolerations=[{"key": "gpu", "operator": "Exists", "toleration_seconds": 30}],
        service_account="flows",
        image_pull_secrets=["registry"],
        persistent_volume_claims={"models": "/models", "data": "/data"},
        secrets="one,two",
        image_pull_policy="Always",
        port=8080,
        security_context={"run_as_user": 7, "capabilities": {"add": ["NET_ADMIN"]}},
    )
    (container,) = spec.pop("containers")
    assert spec == {
        "nodeSelector": {"disk": "ssd", "outerbounds.co/compute-pool": "large"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}],
        "serviceAccountName": "flows",
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
        ],
    }
    own = ("name", "image", "command", "args", "env")
    assert {name: value for name, value in container.items() if name not in own} == {
        "imagePullPolicy": "Always",
        "envFrom": [{"secretRef": {"name": "one"}}, {"secretRef": {"name": "two"}}],
        "ports": [{"containerPort": 8080}],
        "securityContext": {"runAsUser": 7, "capabilities": {"add": ["NET_ADMIN"]}},
        "resources": {
            "requests": {"cpu": "1", "memory": "100Mi", "nvidia.com/gpu": "1"},
            "limits": {"nvidia.com/gpu": "1"},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "models", "mountPath": "/models"},
        ],
    }


def test_devices_of_others() -> None:
    (container,) = pod(gpu_vendor="amd", extended_resources={"example.com/fpga": 2})["containers"]
    devices = {"amd.com/gpu": "1", "example.com/fpga": "2"}
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "100Mi", **devices},
        "limits": devices,
    }


@pytest.mark.parametrize(
    ("asked", "size", "path"),
    [
        ({"use_tmpfs": True}, "50Mi", "/metaflow_temp"),
        ({"tmpfs_size": 10, "tmpfs_path": "/fast"}, "10Mi", "/fast"),
    ],
)
def test_tmpfs(asked: dict[str, Any], size: str, path: str) -> None:
    spec = pod(**asked)
    (container,) = spec["containers"]
    empty = {"medium": "Memory", "sizeLimit": size}
    assert spec["volumes"] == [{"name": "tmpfs", "emptyDir": empty}]
    assert container["volumeMounts"] == [{"name": "tmpfs", "mountPath": path}]
    assert {"name": "METAFLOW_TEMPDIR", "value": path} in container["env"]


def test_tmpfs_without_a_temporary_folder() -> None:
    (container,) = pod(use_tmpfs=True, tmpfs_tempdir=False)["containers"]
    assert "METAFLOW_TEMPDIR" not in json.dumps(container)


def test_a_step_that_metaflow_decorated(loaded: Load) -> None:
    template = compile_flow(loaded("tests/flows/decorated.py")).tasks["start"]
    assert resources(template)["requests"] == {
        "CPU": "4",
        "MEMORY": "8000Mi",
        "EPHEMERAL_STORAGE": "20000Mi",
        "GPU": "1",
    }
    assert template.metadata.retries.retries == 2
    assert container_of(template).command[-4:] == ("--user-retries", "2", "--retry-delay", "30")
    assert dict(template.metadata.metadata.labels) == {"team": "ml"}
    assert environment_of(template).items() >= {"MODE": "test", "LEVEL": "3"}.items()
