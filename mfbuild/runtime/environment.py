"""The environment variables that Metaflow expects of a scheduler's pod."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from .arguments import Arguments
from .cgroups import Limits

_USERS = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
_S3_WORKERS = "METAFLOW_S3_WORKER_COUNT"
_WORKER = 32 << 20
"""Bytes of one of the processes with which Metaflow's client reads S3: each loads boto3's models
(measured with boto3 1.44 and Metaflow 2.19: 43 MB and 31.5 MB for each of 1, 2, 4, … 32)."""
_SHARE = 8
"""The part of the memory that they may take together; the rest is the step's own."""
_WORKERS_OF_A_CPU = 4
"""They wait for S3 most of the time, but take 0.09 s of a CPU to start."""
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def metaflow_environment(
    arguments: Arguments, folder: Path, environ: Mapping[str, str], limits: Limits
) -> dict[str, str]:
    """What to add to `environ` before metaflow is imported; `folder` has the unpacked code.

    `limits` are those of the container.
    """
    added = {
        "METAFLOW_RUNTIME_NAME": environ.get("METAFLOW_RUNTIME_NAME", "flyte"),
        "METAFLOW_RUN_ID": arguments.run.id,
        "METAFLOW_EXTRACTED_ROOT": str(folder),
        "PYTHONUNBUFFERED": "x",
    }
    if environ.get(_S3_WORKERS) is None and (workers := s3_workers(limits)):
        added[_S3_WORKERS] = str(workers)
    return {**added, **_person(arguments, environ), **_code(folder, environ), **_pod(environ)}


def s3_workers(limits: Limits) -> int | None:
    """How many processes Metaflow's S3 client may start, 64 as it would at most; None for no limit.

    A join of five and more reads through them, whatever the size of what it reads.
    """
    bounds = []
    if limits.memory is not None:
        bounds.append(limits.memory // _SHARE // _WORKER)
    if limits.cpus is not None:
        bounds.append(math.ceil(limits.cpus * _WORKERS_OF_A_CPU))
    return max(1, min(*bounds, 64)) if bounds else None


def user_of(environ: Mapping[str, str]) -> str | None:
    """The person as Metaflow knows them (metaflow/util.py, `get_username`), in this order.

    None for nobody and for root, for whom it refuses to run.
    """
    found = (environ.get(name) for name in _USERS)
    return next((name for name in found if name and name != "root"), None)


def _person(arguments: Arguments, environ: Mapping[str, str]) -> dict[str, str]:
    """Options of @project go in as variables: they do no harm to a flow without it."""
    person = arguments.person
    user = person.user or (None if user_of(environ) else "flyte")
    given = {
        "METAFLOW_USER": user,
        "METAFLOW_OWNER": person.user,
        "METAFLOW_PRODUCTION_TOKEN": person.production_token,
        "METAFLOW_FLOW_BRANCH": person.branch,
        "METAFLOW_FLOW_PRODUCTION": "True" if person.production else None,
    }
    return {name: value for name, value in given.items() if value}


def _code(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Packaged modules, and the values of each Config, which Metaflow wrote when it packaged."""
    added = {}
    modules = folder / ".mf_code"
    if modules.is_dir():
        known = environ.get("PYTHONPATH")
        added["PYTHONPATH"] = f"{modules}:{known}" if known else str(modules)
    config = folder / ".mf_meta" / "CONFIG"
    if config.is_file():
        names = json.loads(config.read_bytes()).get("user_configs", {})
        if names:
            keys = {name: f"kv.{name}" for name in names}
            added["METAFLOW_FLOW_CONFIG_VALUE"] = json.dumps(keys)
    return added


def _pod(environ: Mapping[str, str]) -> dict[str, str]:
    """What @kubernetes records of its pod; Metaflow fails without any of them."""
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return {}
    namespace = _NAMESPACE.read_text(encoding="utf-8") if _NAMESPACE.is_file() else ""
    known = {
        "METAFLOW_KUBERNETES_WORKLOAD": "1",
        "METAFLOW_RUNTIME_ENVIRONMENT": "kubernetes",
        "METAFLOW_KUBERNETES_POD_NAME": environ.get("HOSTNAME", ""),
        "METAFLOW_KUBERNETES_POD_NAMESPACE": namespace,
        "METAFLOW_KUBERNETES_POD_ID": "",
        "METAFLOW_KUBERNETES_SERVICE_ACCOUNT_NAME": "",
        "METAFLOW_KUBERNETES_NODE_IP": "",
    }
    return {name: environ.get(name, value) for name, value in known.items()}
