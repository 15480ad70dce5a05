"""Flows brought to the engine from Metaflow: by `flow.py flyte run`, and by the Deployer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.engine import DOMAIN, Engine
from tests.cluster.flows import MFBUILD, admin_policy, only_with_all, seen_on, variables
from tests.flyteadmin.double import Double
from tests.metaflow_side.ways import Person, runs_of
from tests.threeways.seen import environment, python_for, run_by_metaflow, seen
from tests.threeways.workspace import FLOWS, PARAMETERS, run_first, workspace

FIRST = ("flows/foreach.py", "flows/parameters.py", "examples/branch/flow.py")
"""Those that run without --all."""


@pytest.fixture(scope="module")
def folder(flyte: Engine, admin: Double, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("work") / "flows", admin_policy(flyte, admin))


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_leaves_what_it_leaves_with_metaflow(
    name: str, folder: Path, flyte: Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """With metadata in a folder that its people share with the pods, as they would a service."""
    only_with_all(pytestconfig, name, FIRST)
    python = python_for(name, folder, MFBUILD)
    chosen = {"MFBUILD_STORE": str(MFBUILD.store), "MFBUILD_DOMAIN": DOMAIN}
    its = environment(flyte.shared, **variables(flyte, flyte.shared), **chosen)
    flow, runs = runs_of(name, folder, Person(tmp_path, flyte.shared, its))
    for each in run_first(name):
        own = run_by_metaflow(each, folder, tmp_path, PARAMETERS.get(each, {}), python)
    (expected,) = seen(flow, [own], tmp_path)
    assert expected.successful
    assert seen_on(flyte, flow, *runs) == [expected] * len(runs)
