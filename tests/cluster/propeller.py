"""FlytePropeller and the S3 server that it and all pods use."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.build import program
from tests.cluster.kubernetes import POD_TEMPLATE, Kubernetes
from tests.cluster.namespace import Namespace, listens

WORKFLOWS = "flyteworkflows.flyte.lyft.com"
LOGS = "http://logs.example.com/{{ .namespace }}/{{ .podName }}"
"""Where Flyte says that a pod's logs are."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server, and how to open it."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    name: str = "flyte"

    def pod_environment(self) -> Mapping[str, str]:
        """What Flyte gives every pod, and what Amazon's own client reads."""
        return {
            "FLYTE_AWS_ENDPOINT": self.endpoint,
            "FLYTE_AWS_ACCESS_KEY_ID": self.access_key,
            "FLYTE_AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


def start_storage(space: Namespace, port: int) -> Bucket:
    """Start versitygw with one bucket, its objects being files of the folder `s3`."""
    bucket = Bucket(f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
    (space.folder / "s3" / bucket.name).mkdir(parents=True)
    account = {"ROOT_ACCESS_KEY": bucket.access_key, "ROOT_SECRET_KEY": bucket.secret_key}
    space.start(
        [program("versitygw"), "--port", f"127.0.0.1:{port}", "posix", space.folder / "s3"],
        lambda: listens(port),
        account,
    )
    return bucket


@dataclass
class Propeller:
    """FlytePropeller, which defines the resource that it reads; `port`: its profiler."""

    space: Namespace
    kubernetes: Kubernetes
    bucket: Bucket
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, flyteadmin: str | None = None) -> None:
        """Start it; its events go to a flyteadmin, `host:port`, else to its log."""
        config = self.space.folder / "propeller.yaml"
        settings = _config(self.kubernetes.kubeconfig, self.bucket, self.port, flyteadmin)
        config.write_text(json.dumps(settings))
        kind = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{WORKFLOWS}"
        self.process = self.space.start(
            [program("flytepropeller"), "--config", config],
            lambda: self.kubernetes.has(kind) and listens(self.port),
            {"POD_NAMESPACE": "flyte"},
        )

    @contextmanager
    def reporting_to(self, flyteadmin: str) -> Iterator[None]:
        """Let its events go to a flyteadmin, as long as this lasts."""
        self._restart(flyteadmin)
        try:
            yield
        finally:
            self._restart(None)

    def _restart(self, flyteadmin: str | None) -> None:
        assert self.process
        self.space.stop(self.process, self.port)
        self.start(flyteadmin)


def _config(kubeconfig: Path, bucket: Bucket, port: int, flyteadmin: str | None) -> Any:
    container = {"container": "container", "python-task": "container", "sidecar": "sidecar"}
    s3 = {
        "region": "us-east-1",
        "disable_ssl": "true",
        "endpoint": bucket.endpoint,
        "auth_type": "accesskey",
        "access_key_id": bucket.access_key,
        "secret_key": bucket.secret_key,
    }
    return {
        "propeller": {
            "create-flyteworkflow-crd": True,
            "kube-config": str(kubeconfig),
            "rawoutput-prefix": f"s3://{bucket.name}/data",
            "metadata-prefix": "metadata/propeller",
            "workflow-reeval-duration": "1s",
            "downstream-eval-duration": "1s",
            "workers": 4,
            "prof-port": port,
        },
        "event": {"type": "admin" if flyteadmin else "log"},
        # Where there is none nothing listens: no launch plan is started.
        "admin": {"endpoint": f"dns:///{flyteadmin or '127.0.0.1:1'}", "insecure": True},
        "catalog-cache": {"type": "noop"},
        "storage": {
            "type": "stow",
            "container": bucket.name,
            "stow": {"kind": "s3", "config": s3},
        },
        "tasks": {
            "task-plugins": {
                "enabled-plugins": ["container", "sidecar", "k8s-array"],
                "default-for-task-types": container,
            }
        },
        "plugins": {
            "logs": {"kubernetes-enabled": True, "kubernetes-template-uri": LOGS},
            "k8s": {
                "default-pod-template-name": POD_TEMPLATE,
                "image-pull-backoff-grace-period": "5s",
                "default-env-vars": [{k: v} for k, v in bucket.pod_environment().items()],
            },
        },
    }
