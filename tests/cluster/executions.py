"""An execution on the engine: started, waited for, and what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.literals_pb2 import LiteralMap

from tests.cluster.compiler import resource
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.namespace import wait

# v1alpha1 of FlytePropeller, iface.go: WorkflowPhase and NodePhase.
WORKFLOW_PHASES = ("ready", "running", "succeeding", "succeeded", "failing", "failed", "aborted")
NODE_PHASES = ("not yet started", "queued", "running", "failing", "succeeding", "succeeded",
               "failed", "skipped", "retryable failure", "timing out", "timed out",
               "dynamic running", "recovered")  # fmt: skip
ENDED = ("succeeded", "failed", "aborted")


@dataclass(frozen=True)
class Pod:
    """A pod of an execution: its task's name, and how it ended; -1 is no exit code."""

    name: str
    task: str
    phase: str
    exit_code: int


@dataclass(frozen=True)
class Result:
    """What came of an execution. `nodes`: phase of each node, inner ones as `outer/inner`."""

    execution: str
    phase: str
    nodes: Mapping[str, str]
    pods: tuple[Pod, ...]
    errors: tuple[str, ...]


def execute(
    kubernetes: Kubernetes, templates: CompiledWorkflowClosure, inputs: LiteralMap, seconds: float
) -> Result:
    """Run a workflow to its end; ServerError if that takes more than `seconds`."""
    execution = f"f{secrets.token_hex(6)}"
    workflow = resource(templates, execution, inputs)
    namespace = workflow["metadata"]["namespace"]
    workflows = f"/apis/flyte.lyft.com/v1alpha1/namespaces/{namespace}/flyteworkflows"
    kubernetes.call("POST", workflows, workflow)

    def read() -> Result:
        status = kubernetes.call("GET", f"{workflows}/{execution}").get("status") or {}
        selector = f"labelSelector=execution-id%3D{execution}"
        pods = kubernetes.items(f"/api/v1/namespaces/{namespace}/pods?{selector}")
        return _result(execution, status, [_pod(pod) for pod in pods])

    wait(lambda: read().phase in ENDED, lambda: f"{read()}", seconds)
    return read()


def _result(execution: str, status: Any, pods: list[Pod]) -> Result:
    phase = status.get("phase", 0)
    nodes = dict(_nodes(status.get("nodeStatus") or {}))
    errors = [*_errors(status), *(e for node in nodes.values() for e in _errors(node))]
    return Result(
        execution,
        WORKFLOW_PHASES[phase] if phase < len(WORKFLOW_PHASES) else "failing",
        {name: NODE_PHASES[node.get("phase", 0)] for name, node in nodes.items()},
        tuple(sorted(pods, key=lambda pod: pod.name)),
        tuple(dict.fromkeys(errors)),
    )


def _nodes(statuses: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, status in statuses.items():
        yield prefix + name, status
        yield from _nodes(status.get("subNodeStatus") or {}, f"{prefix}{name}/")


def _errors(status: Any) -> Iterator[str]:
    if error := status.get("error"):
        yield f"{error.get('code')}: {error.get('message')}"


def _pod(pod: Any) -> Pod:
    ends = [c.get("state", {}).get("terminated") for c in pod["status"].get("containerStatuses", [])]
    codes = [end["exitCode"] for end in ends if end]
    return Pod(
        pod["metadata"]["name"],
        pod["metadata"]["labels"].get("task-name", ""),
        pod["status"]["phase"],
        codes[0] if codes else -1,
    )
