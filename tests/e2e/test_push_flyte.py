"""examples/train pushed to a registry of Debian and to a double of flyteadmin, by command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Runner, run_tool
from tests.flyteadmin.double import Double, flyteadmin
from tests.push.pushing import PROJECT, write_policy
from tests.registry import docker_registry

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[2]
NEW = {
    "GetLaunchPlan": 1,
    "CreateUploadLocation": 2,  # whether it is there, and where it may be put
    "PUT": 1,
    "GetTask": 3,
    "CreateTask": 3,
    "GetWorkflow": 1,
    "CreateWorkflow": 1,
    "CreateLaunchPlan": 1,
}
"""The calls that register TrainFlow for the first time."""


@dataclass(frozen=True)
class Servers:
    registry: str
    double: Double

    def calls(self) -> Mapping[str, int]:
        """The calls since the last time."""
        found = dict(self.double.calls)
        self.double.calls.clear()
        return found


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        registry = stack.enter_context(docker_registry(folder / "registry"))
        double = stack.enter_context(flyteadmin(folder / "admin", projects=[PROJECT]))
        yield Servers(registry, double)


@pytest.fixture(scope="module")
def train(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    shutil.copy(ROOT / "examples/train/flow.py", folder / "train.py")
    shutil.copy(ROOT / "BUILD.lock", folder)
    write_policy(folder, servers.double.endpoint, servers.registry)
    return folder


def pushed(mfbuild: Runner, folder: Path, *words: str) -> dict[str, Any]:
    (found,) = mfbuild("push", "--json", *words, cwd=folder).json()["pushed"]
    return dict(found)


def test_from_staging_to_production(mfbuild: Runner, servers: Servers, train: Path) -> None:
    first = pushed(mfbuild, train, "train.py", "-d", "staging")
    assert servers.calls() == NEW
    assert len(first["sent"]) == 5
    for image in set(first["images"].values()):
        assert image.startswith(f"{servers.registry}/staging/trainflow@sha256:")
        run_tool("skopeo", "inspect", "--tls-verify=false", f"docker://{image}")

    again = pushed(mfbuild, train, "-d", "staging")
    assert (again["version"], again["sent"]) == (first["version"], [])
    assert servers.calls() == {"GetLaunchPlan": 1}

    flow = train / "train.py"
    flow.write_text(flow.read_text() + "\n# one more line\n")
    changed = pushed(mfbuild, train, "train.py", "-d", "staging")
    version = changed["version"]
    assert changed["sent"] == [f"TrainFlow@{version}"] * 2
    assert changed["images"] == first["images"]
    got = {"GetLaunchPlan": 1, "GetTask": 3, "GetWorkflow": 1}
    sent = {"CreateUploadLocation": 2, "PUT": 1, "CreateWorkflow": 1, "CreateLaunchPlan": 1}
    assert servers.calls() == {**got, **sent}

    listed = mfbuild("versions", "TrainFlow", "-d", "staging", "--json", cwd=train).json()
    assert [v["version"] for v in listed["versions"]] == [version, first["version"]]
    difference = mfbuild("diff", f"TrainFlow@{first['version']}", "TrainFlow", "-d", "staging",
                         cwd=train)  # fmt: skip
    assert difference.out.startswith("code: file train.py "), difference.err
    servers.calls()

    flow.unlink()  # no source tree is needed any more
    words = ("promote", f"TrainFlow@{version[:10]}", "--from", "staging", "--to", "production")
    (promoted,) = mfbuild(*words, "--json", cwd=train).json()["pushed"]
    assert (promoted["version"], promoted["active"]) == (version, True)
    calls = dict(servers.calls())
    assert calls.pop("ListLaunchPlans") == 1
    assert calls == {**NEW, "UpdateLaunchPlan": 1}
    staged, live = first["images"]["train"], promoted["images"]["train"]
    assert live == staged.replace("/staging/", "/production/")
    run_tool("skopeo", "inspect", "--tls-verify=false", f"docker://{live}")

    (train / "BUILD.lock").unlink()
    reference = f"oci://{servers.registry}/production/trainflow:{version}"
    elsewhere = pushed(mfbuild, train, reference, "-d", "production", "-p", PROJECT)
    assert (elsewhere["version"], elsewhere["sent"]) == (version, [])
    assert servers.calls() == {"GetLaunchPlan": 1}


def test_ci_packages_and_another_job_pushes(
    mfbuild: Runner, servers: Servers, train: Path, tmp_path: Path
) -> None:
    ci, deploy = tmp_path / "ci", tmp_path / "deploy"
    for folder in (ci, deploy):
        folder.mkdir()
        shutil.copy(train / "BUILD.toml", folder)
    shutil.copy(ROOT / "examples/hello/flow.py", ci / "hello.py")
    where = f"oci://{servers.registry}/bundles:nightly"
    done = mfbuild("package", "-q", "hello.py", "-o", where, cwd=ci)
    assert done.code == 0, done.err
    version = done.out.strip().rpartition("-")[2]
    found = pushed(mfbuild, deploy, where, "-d", "staging")
    assert (found["name"], found["version"]) == ("HelloFlow", version)
    image = found["images"]["start"]
    assert image.startswith(f"{servers.registry}/staging/helloflow@sha256:")
    run_tool("skopeo", "inspect", "--tls-verify=false", f"docker://{image}")
    servers.calls()


def test_what_is_missing_for_pods_is_said_before_anything_is_sent(
    mfbuild: Runner, servers: Servers, train: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(train, tmp_path / "flow", ignore=shutil.ignore_patterns(".mfbuild"))
    shutil.copy(ROOT / "examples/hello/flow.py", folder / "hello.py")
    endpoint = servers.double.endpoint
    (folder / "BUILD.toml").write_text(
        f'[workspace]\nplatforms = ["linux/amd64"]\n[flyte]\nendpoint = "http://{endpoint}"\n'
    )
    servers.calls()
    done = mfbuild("push", "-q", "hello.py", cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: nothing says which Flyte project to use\n"
        "  hint: give --project, or `project` in [flyte] of BUILD.toml; there are `flows`\n"
    )
    done = mfbuild("push", "-q", "hello.py", "-p", PROJECT, cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert [line for line in done.err.splitlines() if line.startswith("error")] == [
        "error: the domain `development` has no registry for its images",
        "error: Metaflow's datastore is `local`, which pods do not share",
    ]
    assert servers.calls() == {"ListProjects": 1}
