"""The variables that Metaflow finds in a container."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import metaflow.metaflow_config
import metaflow.util
import pytest

from mfbuild.runtime.arguments import parse
from mfbuild.runtime.cgroups import Limits
from mfbuild.runtime.environment import metaflow_environment, user_of


def found(folder: Path, person: str = "{}", **environ: str) -> dict[str, str]:
    return limited(folder, Limits(), person, **environ)


def limited(folder: Path, limits: Limits, person: str = "{}", **environ: str) -> dict[str, str]:
    arguments = parse(["start", "--person", person], environ)
    return metaflow_environment(arguments, folder, environ, limits)


def test_s3_workers_are_bound_unless_somebody_has_set_them(tmp_path: Path) -> None:
    limits = Limits(memory=1 << 30)
    assert limited(tmp_path, limits)["METAFLOW_S3_WORKER_COUNT"] == "4"
    assert "METAFLOW_S3_WORKER_COUNT" not in found(tmp_path)
    told = limited(tmp_path, limits, METAFLOW_S3_WORKER_COUNT="16")
    assert "METAFLOW_S3_WORKER_COUNT" not in told


def test_what_every_step_has(tmp_path: Path) -> None:
    assert found(tmp_path, USER="ada", FLYTE_INTERNAL_EXECUTION_ID="f1") == {
        "METAFLOW_RUNTIME_NAME": "flyte",
        "METAFLOW_RUN_ID": "flyte-f1",
        "METAFLOW_EXTRACTED_ROOT": str(tmp_path),
        "PYTHONUNBUFFERED": "x",
    }


@pytest.mark.parametrize("environ", [{}, {"USER": "root"}, {"USER": "", "USERNAME": "root"}])
def test_a_container_of_nobody_has_a_user(environ: dict[str, str], tmp_path: Path) -> None:
    assert found(tmp_path, **environ)["METAFLOW_USER"] == "flyte"


def test_the_user_is_whom_metaflow_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER", "LOGNAME")
    theirs: Any = metaflow.util.get_username
    for values in product(("", "root", "ada"), repeat=len(names)):
        environ = {
            name: v and v.replace("ada", name) for name, v in zip(names, values, strict=True)
        }
        monkeypatch.setattr(metaflow.metaflow_config, "USER", environ["METAFLOW_USER"])
        for name in names:
            monkeypatch.setenv(name, environ[name])
        assert user_of(environ) == theirs()


def test_a_person_is_who_deployed(tmp_path: Path) -> None:
    person = {"user": "ada", "branch": "x", "production": True, "production_token": "t"}
    variables = found(tmp_path, json.dumps(person), METAFLOW_USER="other")
    theirs = {
        "METAFLOW_USER": "ada",
        "METAFLOW_OWNER": "ada",
        "METAFLOW_FLOW_BRANCH": "x",
        "METAFLOW_FLOW_PRODUCTION": "True",
        "METAFLOW_PRODUCTION_TOKEN": "t",
    }
    assert {name: variables[name] for name in theirs} == theirs


def test_packaged_modules_and_configs_are_found(tmp_path: Path) -> None:
    (tmp_path / ".mf_code").mkdir()
    (tmp_path / ".mf_meta").mkdir()
    configs = {"user_configs": {"settings": [{"a": 1}, False]}}
    (tmp_path / ".mf_meta/CONFIG").write_text(json.dumps(configs))
    variables = found(tmp_path, PYTHONPATH="/mine")
    assert variables["PYTHONPATH"] == f"{tmp_path}/.mf_code:/mine"
    assert json.loads(variables["METAFLOW_FLOW_CONFIG_VALUE"]) == {"settings": "kv.settings"}


def test_a_pod_is_described_as_kubernetes_of_metaflow_wants_it(tmp_path: Path) -> None:
    variables = found(
        tmp_path,
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        HOSTNAME="pod-1",
        METAFLOW_KUBERNETES_NODE_IP="10.0.0.7",
    )
    assert variables["METAFLOW_KUBERNETES_WORKLOAD"] == "1"
    assert variables["METAFLOW_KUBERNETES_POD_NAME"] == "pod-1"
    assert variables["METAFLOW_KUBERNETES_NODE_IP"] == "10.0.0.7"
    assert variables["METAFLOW_KUBERNETES_POD_ID"] == ""
