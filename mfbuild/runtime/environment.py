"""The environment variables that Metaflow expects of a scheduler's pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .arguments import Arguments

_USERS = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def metaflow_environment(
    arguments: Arguments, folder: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """What to add to `environ` before metaflow is imported; `folder` has the unpacked code."""
    added = {
        "METAFLOW_RUNTIME_NAME": environ.get("METAFLOW_RUNTIME_NAME", "flyte"),
        "METAFLOW_RUN_ID": arguments.run.id,
        "METAFLOW_EXTRACTED_ROOT": str(folder),
        "PYTHONUNBUFFERED": "x",
    }
    return {**added, **_person(arguments, environ), **_code(folder, environ), **_pod(environ)}


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
