"""`python flow.py …` and the Deployer on the engine: deployed, run, resumed; single steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import CACHE
from tests.cluster.engine import DOMAIN, PROJECT, Engine
from tests.cluster.flows import admin_policy, settings, variables
from tests.flyteadmin.double import Double
from tests.metaflow_side.flows import hello

FLOW = """
import os
from metaflow import FlowSpec, Parameter, current, flyte, retry, step


@flyte(domain="DOMAIN")
class SideFlow(FlowSpec):
    count = Parameter("count", type=int, default=2)

    @step
    def start(self):
        self.items = list(range(self.count))
        self.next(self.body, foreach="items")

    WHERE
    @retry(times=1, minutes_between_retries=0)
    @step
    def body(self):
        print("body", self.input, "attempt", current.retry_count)
        self.host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
        if self.input == 1 and current.retry_count == 0:
            raise ValueError("on purpose")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.hosts = [bool(i.host) for i in inputs]
        assert MENDED
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SideFlow()
"""

DEPLOYER = """
import sys
from metaflow import Deployer
run = Deployer(sys.argv[1], show_output=False).flyte().create().trigger(count=3)
run.wait_for_completion(check_interval=1)
print(run.status, run.run.data.hosts)
"""


BRANCHES = """
import sys
from metaflow import Deployer
runs = [
    Deployer(sys.argv[1], show_output=False, branch=branch).flyte().create().trigger(who=branch)
    for branch in ("one", "two")
]
for run in runs:
    run.wait_for_completion(check_interval=1)
    tags = [tag for tag in run.run.system_tags if tag.startswith("project_branch:")]
    print(run.status, run.run.data.greeting, *tags)
"""


@dataclass(frozen=True)
class Side:
    """A person's machine with a flow on it, whose Flyte is the engine's."""

    folder: Path
    engine: Engine
    metadata: Path

    def write(self, *, where: str = "", mended: str = "True") -> None:
        text = FLOW.replace("DOMAIN", DOMAIN).replace("WHERE", where).replace("MENDED", mended)
        (self.folder / "flow.py").write_text(text)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder.parent,
            env={
                **os.environ,
                **variables(self.engine, self.metadata),
                "MFBUILD_STORE": str(CACHE / "store"),
            },
            capture_output=True,
            text=True,
        )

    def flow(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.python(str(self.folder / "flow.py"), *words)

    def client(self, run: str, expression: str) -> Any:
        code = (
            "import json, metaflow; metaflow.namespace(None);"
            f"run = metaflow.Run('SideFlow/{run}'); print(json.dumps({expression}))"
        )
        done = self.python("-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def side(flyte: Engine, admin: Double, tmp_path: Path) -> Side:
    """With metadata in a folder that it shares with the pods, as it would share a service."""
    return workspace(flyte, admin, tmp_path, settings(flyte), flyte.shared)


@pytest.fixture
def apart(flyte: Engine, admin: Double, tmp_path: Path) -> Side:
    """With local metadata, of which pods know nothing."""
    own = {n: v for n, v in settings(flyte).items() if n != "datastore_sysroot_local"}
    return workspace(flyte, admin, tmp_path, own, tmp_path)


def workspace(
    engine: Engine, admin: Double, root: Path, of_pods: Mapping[str, str], metadata: Path
) -> Side:
    folder = root / "flows"
    folder.mkdir()
    (folder / "BUILD.toml").write_text(admin_policy(engine, admin, of_pods))
    return Side(folder, engine, metadata)


def test_a_flow_is_deployed_run_and_resumed(side: Side) -> None:
    run_id = side.folder / "run-id"
    side.write(mended="False")
    failed = side.flow("flyte", "run", "--run-id-file", str(run_id))
    assert failed.returncode == 1, failed.stderr
    origin = run_id.read_text()
    side.write()
    resumed = side.flow("flyte", "resume", origin, "--run-id-file", str(run_id))
    assert resumed.returncode == 0, resumed.stderr
    run = run_id.read_text()
    assert side.client(run, "[run.finished, run['join'].task.data.hosts]") == [True, [True, True]]
    cloned = "sorted(t.origin_pathspec.split('/')[1] for t in run['body'])"
    assert side.client(run, cloned) == [origin, origin]
    assert side.flow("flyte", "status", run).stdout == "Succeeded\n"
    listed = json.loads(side.flow("flyte", "list-runs", "--as-json").stdout)
    assert [(r["run_id"], r["status"]) for r in listed[:2]] == [
        (run, "Succeeded"),
        (origin, "Failed"),
    ]


def test_the_deployer(side: Side) -> None:
    side.write()
    done = side.python("-c", DEPLOYER, str(side.folder / "flow.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Succeeded [True, True, True]\n")


def test_two_branches_of_a_flow_in_a_package_at_once(side: Side) -> None:
    """The flow imports its neighbour."""
    above = f"from words import HELLO\n\n\n@flyte(domain={DOMAIN!r})\n@project(name='team')"
    flow = hello(side.folder / "package/flow.py", above)
    flow.write_text(flow.read_text().replace('f"hello, ', 'HELLO + f"'))
    flow.with_name("words.py").write_text("HELLO = 'good morning, '\n")
    flow.with_name("__init__.py").touch()
    done = side.python("-c", BRANCHES, str(flow))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"Succeeded good morning, {branch} project_branch:test.{branch}"
        for branch in ("one", "two")
    ]


def test_a_step_of_a_local_run_is_a_pod(apart: Side) -> None:
    """Its metadata comes back through the datastore, as with @kubernetes."""
    side = apart
    side.write(where="@flyte")
    run_id = side.folder / "run-id"
    done = side.flow("run", "--run-id-file", str(run_id))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"Task is starting on Flyte ({PROJECT}/{DOMAIN}/r") == 3
    assert "body 1 attempt 1" in done.stdout and "ValueError: on purpose" in done.stdout
    run = run_id.read_text()
    assert side.client(run, "[run['join'].task.data.hosts, bool(run['start'].task)]") == [
        [True, True],
        True,
    ]
