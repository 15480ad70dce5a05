"""Pods: what @kubernetes asks for and a container of Flyte's own cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mfbuild.flow.spec import Resources as Asked
from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.quantities import DEFAULTS, GPU, devices, mebibytes

_TMPFS = "tmpfs"


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


def _has_tmpfs(step: StepSpec) -> bool:
    return bool(step.kubernetes.get("use_tmpfs") or step.kubernetes.get("tmpfs_size"))


def _path(step: StepSpec) -> str:
    return str(step.kubernetes.get("tmpfs_path") or "/metaflow_temp")


def _tmpfs(step: StepSpec) -> dict[str, Any]:
    """As Metaflow does, half of the memory where no size is given."""
    size = step.kubernetes.get("tmpfs_size")
    amount = int(size) if size else int(step.resources.memory or DEFAULTS["memory"]) // 2
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
