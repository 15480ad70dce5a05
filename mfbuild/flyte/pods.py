"""Pods: what @kubernetes asks for and a container of Flyte's own cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flyteidl.core.tasks_pb2 import Container, Resources, TaskTemplate

from mfbuild.flow.spec import Resources as Asked
from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.quantities import GPU, devices, mebibytes

PRIMARY = "primary"
_CONFIG = "primary_container_name"
_DEFAULT_MEMORY = 4096
_TMPFS = "tmpfs"

_NAMES = {
    Resources.CPU: "cpu",
    Resources.MEMORY: "memory",
    Resources.EPHEMERAL_STORAGE: "ephemeral-storage",
    Resources.GPU: GPU,
}


def pod_fields(step: StepSpec) -> dict[str, Any]:
    """The fields of a PodSpec that a step asks for, as JSON; empty if the defaults will do."""
    asked = step.kubernetes
    selector = dict(asked.get("node_selector") or {})
    if asked.get("compute_pool"):
        selector["outerbounds.co/compute-pool"] = asked["compute_pool"]
    claims = asked.get("persistent_volume_claims") or {}
    wanted = {
        "nodeSelector": selector,
        "tolerations": [_camel(t) for t in asked.get("tolerations") or []],
        "serviceAccountName": asked.get("service_account"),
        "imagePullSecrets": [{"name": n} for n in asked.get("image_pull_secrets") or []],
        "volumes": [
            *([_tmpfs(step)] if _has_tmpfs(step) else []),
            *({"name": c, "persistentVolumeClaim": {"claimName": c}} for c in sorted(claims)),
        ],
    }
    return {name: value for name, value in wanted.items() if value}


def container_fields(step: StepSpec, resources: Asked) -> dict[str, Any]:
    """The fields of the container that only a pod can have, as JSON; empty if it needs none."""
    asked = step.kubernetes
    claims = asked.get("persistent_volume_claims") or {}
    extended = {k: v for k, v in devices(step, resources).items() if k != GPU}
    tmpfs = _path(step)
    wanted = {
        "imagePullPolicy": asked.get("image_pull_policy"),
        "envFrom": [{"secretRef": {"name": name}} for name in _names(asked.get("secrets"))],
        "ports": [{"containerPort": int(asked["port"])}] if asked.get("port") else [],
        "securityContext": _camel(asked.get("security_context") or {}),
        "resources": {"requests": extended, "limits": extended} if extended else {},
        "volumeMounts": [
            *([{"name": _TMPFS, "mountPath": tmpfs}] if _has_tmpfs(step) else []),
            *({"name": claim, "mountPath": claims[claim]} for claim in sorted(claims)),
        ],
    }
    return {name: value for name, value in wanted.items() if value}


def pod_environment(step: StepSpec) -> dict[str, str]:
    """The variables that tell Metaflow of what the pod has."""
    if _has_tmpfs(step) and step.kubernetes.get("tmpfs_tempdir", True):
        return {"METAFLOW_TEMPDIR": _path(step)}
    return {}


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


def image_of(template: TaskTemplate) -> str:
    """The image of the template's container."""
    if template.HasField("container"):
        return str(template.container.image)
    return str(template.k8s_pod.pod_spec["containers"][0]["image"])


def environment_of(template: TaskTemplate) -> dict[str, str]:
    """The variables of the template's container."""
    if template.HasField("container"):
        return {pair.key: pair.value for pair in template.container.env}
    return {e["name"]: e["value"] for e in template.k8s_pod.pod_spec["containers"][0]["env"]}


def set_environment(template: TaskTemplate, variables: Mapping[str, str]) -> None:
    """Give the template's container these variables and no others."""
    ordered = sorted(variables.items())
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


def _has_tmpfs(step: StepSpec) -> bool:
    return bool(step.kubernetes.get("use_tmpfs") or step.kubernetes.get("tmpfs_size"))


def _path(step: StepSpec) -> str:
    return str(step.kubernetes.get("tmpfs_path") or "/metaflow_temp")


def _tmpfs(step: StepSpec) -> dict[str, Any]:
    """As Metaflow does, half of the memory where no size is given."""
    size = step.kubernetes.get("tmpfs_size")
    amount = int(size) if size else (step.resources.memory or _DEFAULT_MEMORY) // 2
    return {"name": _TMPFS, "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(amount)}}


def _names(value: Any) -> list[str]:
    """Metaflow takes one name, several with commas, or a list."""
    listed = value.split(",") if isinstance(value, str) else value or []
    return [str(name) for name in listed]


def _camel(value: Any) -> Any:
    """The names of the Kubernetes client for Python as the API writes them."""
    if isinstance(value, Mapping):
        return {_camel_name(str(name)): _camel(inner) for name, inner in value.items()}
    return [_camel(inner) for inner in value] if isinstance(value, list) else value


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
