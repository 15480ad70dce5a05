"""Executions on the engine of tests/cluster, whose propeller sends its events to the double."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier

from tests.cluster import compiler
from tests.cluster.engine import DOMAIN, PROJECT, Engine
from tests.cluster.kubernetes import add_namespace
from tests.flyteadmin.double import Double, flyteadmin
from tests.flyteadmin.executor import Run
from tests.flyteadmin.s3 import s3_bucket


@dataclass(frozen=True)
class _OnEngine:
    engine: Engine

    def start(self, run: Run) -> None:
        """As PrepareFlyteWorkflow and the K8sWorkflowExecutor of flyteadmin."""
        kubernetes = self.engine.kubernetes
        if not kubernetes.has(f"/api/v1/namespaces/{run.namespace}"):
            add_namespace(kubernetes, run.namespace, self.engine.shared)
        resource = compiler.resource(run.templates, run.id.name, run.inputs)
        metadata, spec = resource["metadata"], run.spec
        metadata["namespace"] = run.namespace
        metadata["labels"] = (metadata.get("labels") or {}) | dict(spec.labels.values)
        annotations = metadata.get("annotations") or {}
        metadata["annotations"] = annotations | dict(spec.annotations.values)
        resource["executionId"] = {
            "project": run.id.project,
            "domain": run.id.domain,
            "name": run.id.name,
        }
        config = resource["executionConfig"]
        config["MaxParallelism"] = spec.max_parallelism
        config["EnvironmentVariables"] = {pair.key: pair.value for pair in spec.envs.values}
        if account := spec.security_context.run_as.k8s_service_account:
            resource["serviceAccountName"] = account
        kubernetes.call("POST", _path(run.id), resource)

    def abort(self, id: WorkflowExecutionIdentifier) -> None:
        path = f"{_path(id)}/{id.name}"
        if self.engine.kubernetes.has(path):
            background: Any = {"propagationPolicy": "Background"}
            self.engine.kubernetes.call("DELETE", path, background)

    def close(self) -> None: ...


@contextmanager
def flyteadmin_on(engine: Engine, folder: Path, **options: Any) -> Iterator[Double]:
    """A double whose executions run on the engine, and whose uploads go to its bucket.

    `options` are those of `flyteadmin`; by default it has the engine's own project and domain.
    """
    given = {"projects": (PROJECT,), "domains": (DOMAIN,)} | options
    bucket = s3_bucket(engine.bucket)
    with (
        flyteadmin(folder, bucket=bucket, executor=lambda _: _OnEngine(engine), **given) as double,
        engine.propeller.reporting_to(double.endpoint),
    ):
        yield double


def _path(id: WorkflowExecutionIdentifier) -> str:
    namespace = f"{id.project}-{id.domain}"
    return f"/apis/flyte.lyft.com/v1alpha1/namespaces/{namespace}/flyteworkflows"
