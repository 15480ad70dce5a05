"""The CI files of examples/ci/: their commands, in their order, bring a flow to production."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mfbuild.oci.archive import host_platform
from tests.e2e.conftest import Runner, write_flow

CI = Path(__file__).parents[2] / "examples/ci"


def commands(value: Any) -> Iterator[str]:
    """The command lines of mfbuild in a CI file, in their order."""
    if isinstance(value, str) and value.startswith("mfbuild "):
        yield from value.splitlines()
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from commands(inner)


@pytest.mark.parametrize("file", ["github.yml", "gitlab.yml"])
def test_a_flow_comes_to_production(mfbuild: Runner, tmp_path: Path, file: str) -> None:
    write_flow(tmp_path)
    (tmp_path / "BUILD.toml").touch()
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MFBUILD_STORE": str(mfbuild.store),
        "MFBUILD_PLATFORMS": str(host_platform()),
        "FLOW": "SmallFlow",
    }
    assert mfbuild("lock", cwd=tmp_path, **env).code == 0
    found = list(commands(yaml.safe_load((CI / file).read_text())))
    assert [command.split()[1] for command in found] == ["package", "push", "promote"]
    for command in found:
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    (bundle,) = (tmp_path / ".mfbuild/dist").glob("SmallFlow-*")
    live = mfbuild("versions", "SmallFlow", "-d", "production", "--json", cwd=tmp_path, **env)
    assert [(f"SmallFlow-{v['version']}", v["active"]) for v in live.json()["versions"]] == [
        (bundle.name, True)
    ]


def test_what_a_pull_request_runs_has_no_secret() -> None:
    jobs = yaml.safe_load((CI / "github.yml").read_text())["jobs"]
    assert "secrets" not in str(jobs["package"])


@pytest.mark.parametrize("file", ["github.yml", "gitlab.yml"])
def test_the_document_has_the_commands(file: str) -> None:
    text = (CI.parents[1] / "docs/ci.md").read_text()
    found = commands(yaml.safe_load((CI / file).read_text()))
    assert [command for command in found if f"`{command}`" not in text] == []
