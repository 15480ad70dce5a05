"""Every flow through `flow.py flyte run` and through the Deployer: what Metaflow's own run leaves.

A chosen few by default; all of them where MFBUILD_TEST_ALL is set.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfbuild.oci.archive import host_platform
from tests.e2e.conftest import Runner
from tests.e2e.conftest import mfbuild as mfbuild
from tests.e2e.conftest import session_store as session_store
from tests.metaflow_side.ways import FIRST, Person, runs_of
from tests.threeways.seen import environment, python_for, run_by_metaflow, seen
from tests.threeways.workspace import FLOWS, PARAMETERS, run_first, workspace


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
    variables = environment(tmp_path, MFBUILD_STORE=str(mfbuild.store))
    flow, runs = runs_of(name, folder, Person(tmp_path, tmp_path, variables))
    for each in run_first(name):
        own = run_by_metaflow(each, folder, tmp_path, PARAMETERS.get(each, {}), python)
    expected, *found = seen(flow, [own, *runs], tmp_path)
    assert expected.successful
    assert found == [expected] * len(runs)
