"""A flow's templates: what `compile` leaves, a bundle keeps, and `resolve` fills in."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.tasks_pb2 import Container, Resources, TaskTemplate
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate
from google.protobuf.message import Message

from mfbuild.engine.model import Digest, canonical
from mfbuild.errors import BundleError, FlyteError
from mfbuild.flyte.literals import literal
from mfbuild.flyte.pod_text import escaped, expanded_environment
from mfbuild.flyte.quantities import GPU

FORMAT = 1
TEMPLATES = "application/vnd.mfbuild.flyte.v1+json"
PRIMARY = "primary"
_CONFIG = "primary_container_name"

_NUMBERS = {
    "cpu": Resources.CPU,
    "memory": Resources.MEMORY,
    "ephemeral-storage": Resources.EPHEMERAL_STORAGE,
    GPU: Resources.GPU,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}

Expansions = Mapping[str, Any]
"""The plan's `steps`: what each dynamic step starts, as JSON (docs/flyte.md)."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A flow as templates: ids have names alone, images are `mfbuild:<step>`.

    `tasks` are by step; `parts` are the sub-workflows of `workflow` and of the plan, by node id;
    `expansions` are the plan's `steps`, empty where no container starts others.
    """

    flow: str
    tasks: Mapping[str, TaskTemplate]
    workflow: WorkflowTemplate
    parts: Mapping[str, WorkflowTemplate]
    launch_plan: LaunchPlanSpec
    expansions: Expansions

    def encode(self) -> bytes:
        """The bytes that a bundle keeps, media type TEMPLATES."""
        value = {
            "format": FORMAT,
            "flow": self.flow,
            "tasks": {name: encode(task) for name, task in self.tasks.items()},
            "workflow": encode(self.workflow),
            "parts": {name: encode(part) for name, part in self.parts.items()},
            "launch_plan": encode(self.launch_plan),
            "expansions": self.expansions,
        }
        return f"{canonical(value)}\n".encode()

    @classmethod
    def decode(cls, data: bytes) -> Compiled:
        """What `encode` wrote; BundleError if it is anything else."""
        from google.protobuf.message import DecodeError

        try:
            return _decoded(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
            raise BundleError(f"the templates of Flyte cannot be read: {error}") from error


def encode(message: Message) -> str:
    """The bytes of a message in base64, the same in every process."""
    return b64encode(message.SerializeToString(deterministic=True)).decode("ascii")


def decode_node(text: str) -> Node:
    """The node of an expansion."""
    return Node.FromString(b64decode(text))


def inner_nodes(node: Node) -> Iterator[Node]:
    """The nodes within a node: the arms of a choice, the task of an array."""
    if node.HasField("branch_node"):
        choice = node.branch_node.if_else
        yield from (block.then_node for block in (choice.case, *choice.other))
    if node.HasField("array_node"):
        yield node.array_node.node


def references(nodes: Iterable[Node]) -> Iterator[Identifier]:
    """The identifiers of the tasks and sub-workflows that nodes run, as they stand in the nodes."""
    for node in nodes:
        if node.HasField("task_node"):
            yield node.task_node.reference_id
        if node.HasField("workflow_node"):
            yield node.workflow_node.sub_workflow_ref
        yield from references(inner_nodes(node))


def to_pod(template: TaskTemplate, pod: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    """Make the template's container the only one of a pod with these further fields."""
    primary = _container(template.container) | dict(container)
    further = container.get("resources", {})
    amounts = {
        kind: own | further.get(kind, {})
        for kind, own in _resources(template.container.resources).items()
    }
    if any(amounts.values()):
        primary["resources"] = {kind: values for kind, values in amounts.items() if values}
    template.k8s_pod.primary_container_name = PRIMARY  # takes the place of `container`
    template.k8s_pod.pod_spec.update({"containers": [primary], **pod})
    template.config[_CONFIG] = PRIMARY


def set_image(template: TaskTemplate, image: str) -> None:
    """Give the template's container its image."""
    if template.HasField("container"):
        template.container.image = image
    else:
        template.k8s_pod.pod_spec["containers"][0]["image"] = image


def environment_of(template: TaskTemplate) -> dict[str, str]:
    """The variables of the template's container, as its process will see them."""
    if template.HasField("container"):
        return expanded_environment({pair.key: pair.value for pair in template.container.env})
    variables = template.k8s_pod.pod_spec["containers"][0]["env"]
    return expanded_environment({v["name"]: v["value"] for v in variables})


def set_environment(template: TaskTemplate, variables: Mapping[str, str]) -> None:
    """Give the template's container these variables and no others."""
    ordered = sorted((name, escaped(value)) for name, value in variables.items())
    if template.HasField("container"):
        del template.container.env[:]
        for name, value in ordered:
            template.container.env.add(key=name, value=value)
    else:
        container = template.k8s_pod.pod_spec["containers"][0]
        container["env"] = [{"name": name, "value": value} for name, value in ordered]


def add_pull_secrets(template: TaskTemplate, names: Sequence[str]) -> None:
    """Let the pod pull its image with these secrets, besides those it has."""
    if template.HasField("container"):
        to_pod(template, {}, {})
    secrets = template.k8s_pod.pod_spec.get_or_create_list("imagePullSecrets")
    had = {secret["name"] for secret in secrets}
    secrets.extend({"name": name} for name in names if name not in had)


def add_requests(template: TaskTemplate, amounts: Mapping[str, str]) -> None:
    """Let the template's container ask for these amounts, by the names of Kubernetes, where it
    says nothing of them itself."""
    if template.HasField("container"):
        own = template.container.resources
        said = {_NAMES[entry.name] for entry in (*own.requests, *own.limits)}
        own.requests.extend(entries({n: a for n, a in amounts.items() if n not in said}))
        return
    container = template.k8s_pod.pod_spec["containers"][0]
    stated = container["resources"].values() if "resources" in container else ()
    said = {name for kind in stated for name in kind}
    if wanted := {name: amount for name, amount in amounts.items() if name not in said}:
        requests = container.get_or_create_struct("resources").get_or_create_struct("requests")
        requests.update(wanted)


def entries(amounts: Mapping[str, str]) -> list[Resources.ResourceEntry]:
    """Amounts by the names of Kubernetes, as a container of Flyte has them."""
    return [
        Resources.ResourceEntry(name=_NUMBERS[n], value=amount) for n, amount in amounts.items()
    ]


def runs(nodes: Iterable[Node], parts: Mapping[str, WorkflowTemplate]) -> tuple[set[str], set[str]]:
    """The names of the tasks and of the workflows that `nodes` run, directly or not.

    `parts` are the workflows that there are, by name.
    """
    tasks: set[str] = set()
    workflows: set[str] = set()
    pending = list(references(nodes))
    while pending:
        reference = pending.pop()
        if reference.resource_type == ResourceType.TASK:
            tasks.add(reference.name)
        elif reference.name not in workflows:
            workflows.add(reference.name)
            pending += references(parts[reference.name].nodes)
    return tasks, workflows


def fix(launch_plan: LaunchPlanSpec, texts: Mapping[str, str]) -> None:
    """Fix inputs of a launch plan."""
    for name, text in texts.items():
        launch_plan.fixed_inputs.literals[name].CopyFrom(literal(text))


def fixed(launch_plan: LaunchPlanSpec, name: str) -> str:
    """A text that a launch plan fixes; "" where it does not."""
    literals = launch_plan.fixed_inputs.literals
    return literals[name].scalar.primitive.string_value if name in literals else ""


def address(url: str, digest: Digest) -> str:
    """`<url>#sha256=<hex>`: where a blob is, and what it must be (docs/flyte.md).

    FlyteError for an address that Kubernetes would change on its way to a container.
    """
    if "$" in url:
        raise FlyteError(f"an upload is at `{url}`: no container can be told an address with `$`")
    return f"{url}#sha256={digest.hex}"


def _decoded(value: Any) -> Compiled:
    if value["format"] != FORMAT:
        raise ValueError(f"the format is `{value['format']}`, not `{FORMAT}`")

    def read(kind: Any, text: str) -> Any:
        return kind.FromString(b64decode(text, validate=True))

    return Compiled(
        flow=value["flow"],
        tasks={name: read(TaskTemplate, text) for name, text in value["tasks"].items()},
        workflow=read(WorkflowTemplate, value["workflow"]),
        parts={name: read(WorkflowTemplate, text) for name, text in value["parts"].items()},
        launch_plan=read(LaunchPlanSpec, value["launch_plan"]),
        expansions=value["expansions"],
    )


def _container(container: Container) -> dict[str, Any]:
    return {
        "name": PRIMARY,
        "image": container.image,
        "command": list(container.command),
        "args": list(container.args),
        "env": [{"name": pair.key, "value": pair.value} for pair in container.env],
    }


def _resources(resources: Resources) -> dict[str, dict[str, str]]:
    return {
        "requests": {_NAMES[entry.name]: entry.value for entry in resources.requests},
        "limits": {_NAMES[entry.name]: entry.value for entry in resources.limits},
    }
