"""An execution on the engine: started, waited for, and what came of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.literals_pb2 import LiteralMap

from tests.cluster.compiler import resource
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.namespace import ServerError

# v1alpha1 of FlytePropeller, iface.go: WorkflowPhase and NodePhase.
WORKFLOW_PHASES = ("ready", "running", "succeeding", "succeeded", "failing", "failed", "aborted",
                   "handling failure")  # fmt: skip
NODE_PHASES = ("not yet started", "queued", "running", "failing", "succeeding", "succeeded",
               "failed", "skipped", "retryable failure", "timing out", "timed out",
               "dynamic running", "recovered")  # fmt: skip
ENDED = ("succeeded", "failed", "aborted")


@dataclass(frozen=True)
class Pod:
    """A pod of an execution: its task, arguments, and how it ended; -1 is no exit code."""

    name: str
    task: str
    args: tuple[str, ...]
    phase: str
    exit_code: int


@dataclass(frozen=True)
class Result:
    """What came of an execution.

    `nodes`: the phase of each node, inner ones as `outer/inner`, which Flyte forgets once the outer
    one has succeeded; `pods`: one of each attempt, by name; `errors`: also of attempts that failed
    before one that succeeded.
    """

    execution: str
    phase: str
    nodes: Mapping[str, str]
    pods: tuple[Pod, ...]
    errors: tuple[str, ...]


def execute(
    kubernetes: Kubernetes,
    templates: CompiledWorkflowClosure,
    inputs: LiteralMap,
    parallelism: int,
    seconds: float,
) -> Result:
    """Run a workflow to its end; ServerError if that takes more than `seconds`.

    `parallelism` is how many of its nodes run at once, 0 for no bound.
    """
    execution = f"f{secrets.token_hex(6)}"
    workflow = resource(templates, execution, inputs)
    workflow["executionConfig"]["MaxParallelism"] = parallelism
    namespace = workflow["metadata"]["namespace"]
    workflows = f"/apis/flyte.lyft.com/v1alpha1/namespaces/{namespace}/flyteworkflows"
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=execution-id%3D{execution}"
    version = kubernetes.call("GET", path)["metadata"]["resourceVersion"]
    kubernetes.call("POST", workflows, workflow)
    deadline = time.monotonic() + seconds
    pods: dict[str, Pod] = {}
    status: Any = {}
    while True:
        # Watched and not listed at the end, because Flyte deletes the pods of some attempts.
        for pod in kubernetes.changes(path, version):
            version = pod["metadata"]["resourceVersion"]
            pods[pod["metadata"]["name"]] = _pod(pod)
        result = _result(execution, status, pods)
        if result.phase in ENDED:  # as it was before the pods were looked at
            return result
        if time.monotonic() > deadline:
            raise ServerError(f"not done in {seconds:.0f} seconds: {result}")
        status = kubernetes.call("GET", f"{workflows}/{execution}").get("status") or {}


def _result(execution: str, status: Any, pods: Mapping[str, Pod]) -> Result:
    nodes = dict(_nodes(status.get("nodeStatus") or {}))
    errors = [*_errors(status), *(e for node in nodes.values() for e in _errors(node))]
    return Result(
        execution,
        WORKFLOW_PHASES[status.get("phase", 0)],
        {name: NODE_PHASES[node.get("phase", 0)] for name, node in nodes.items()},
        tuple(pods[name] for name in sorted(pods)),
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
    ends = [
        c.get("state", {}).get("terminated") for c in pod["status"].get("containerStatuses", [])
    ]
    codes = [end["exitCode"] for end in ends if end]
    return Pod(
        pod["metadata"]["name"],
        pod["metadata"]["labels"].get("task-name", ""),
        tuple(pod["spec"]["containers"][0].get("args", [])),
        pod["status"]["phase"],
        codes[0] if codes else -1,
    )
