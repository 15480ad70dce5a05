"""Every flow through `flow.py flyte run` and through the Deployer: what Metaflow's own run leaves.

A chosen few by default; all of them where MFBUILD_TEST_ALL is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mfbuild.oci.archive import host_platform
from tests.e2e.conftest import Runner
from tests.e2e.conftest import mfbuild as mfbuild
from tests.e2e.conftest import session_store as session_store
from tests.threeways.seen import environment, options, python_for, run_by_metaflow, seen
from tests.threeways.workspace import FLOWS, PARAMETERS, run_first, workspace

FIRST = ("flows/nested_foreach.py", "flows/parameters.py", "examples/branch/flow.py")
NOT_DEPLOYED = {
    "tutorials/03-playlist-redux/playlist.py": "reads a run of another flow, in its own namespace"
}
"""What is deployed has a namespace of its own, that of its production token."""
TYPED: Mapping[str, Mapping[str, Any]] = {
    "flows/parameters.py": {"needed": "given", "named": ["deploy", "named"]}
}
"""Parameters as the Deployer takes them."""

DEPLOYER = """
import json, sys
from metaflow import Deployer

flow, options, given = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
deployed = Deployer(flow, show_output=False, **options).flyte().create()
run = deployed.trigger(**given)
run.wait_for_completion(check_interval=1)
print(run.status, run.pathspec)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = f'[workspace]\nplatforms = ["{host_platform()}"]\n'
    return workspace(tmp_path_factory.mktemp("work") / "flows", policy)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_leaves_what_it_leaves_with_metaflow(
    name: str, folder: Path, tmp_path: Path, mfbuild: Runner
) -> None:
    if name not in FIRST and not os.environ.get("MFBUILD_TEST_ALL"):
        pytest.skip(f"{name} runs with MFBUILD_TEST_ALL=1")
    python = python_for(name, folder, mfbuild)
    runs = []
    ways = (by_command_line,) if name in NOT_DEPLOYED else (by_command_line, by_deployer)
    for way in ways:
        for flow in run_first(name):
            run = way(folder, flow, tmp_path, mfbuild)
        runs.append(run.rpartition("/")[2])
    for flow in run_first(name):
        own = run_by_metaflow(flow, folder, tmp_path, PARAMETERS.get(flow, {}), python)
    expected, *found = seen(run.partition("/")[0], [own, *runs], tmp_path)
    assert expected.successful
    for each in found:
        assert each == expected


def by_command_line(folder: Path, flow: str, root: Path, mfbuild: Runner) -> str:
    """The pathspec of a run by `flow.py flyte run`, started in another folder."""
    file, run_id = folder / flow, root / "flyte-run-id"
    given = options(PARAMETERS.get(flow, {}))
    words = [*top(file), "flyte", "run", "--run-id-file", str(run_id), *given]
    done = python(root, mfbuild, str(file), *words)
    assert done.returncode == 0, done.stderr
    (found,) = root.glob(f".metaflow/*/{run_id.read_text()}")
    return f"{found.parent.name}/{found.name}"


def by_deployer(folder: Path, flow: str, root: Path, mfbuild: Runner) -> str:
    """The pathspec of a run by the Deployer, in a process that is in another folder."""
    given, file = json.dumps(TYPED.get(flow, {})), folder / flow
    chosen = json.dumps({"environment": "pypi"} if top(file) else {})
    done = python(root, mfbuild, "-c", DEPLOYER, str(file), chosen, given)
    assert done.returncode == 0, done.stderr
    status, pathspec = done.stdout.split()[-2:]
    assert status == "Succeeded"
    return pathspec


def top(file: Path) -> list[str]:
    """Metaflow wants to be told that @pypi is meant."""
    return ["--environment=pypi"] if "@pypi(" in file.read_text() else []


def python(root: Path, mfbuild: Runner, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env=environment(root, MFBUILD_STORE=str(mfbuild.store)),
        capture_output=True,
        text=True,
    )
