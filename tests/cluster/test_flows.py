"""Flows packaged and run on the engine: the same artifacts as from Metaflow's own run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.engine import Engine
from tests.cluster.executions import Result
from tests.cluster.flows import MFBUILD, only_with_all, package, policy, push, seen_on, start
from tests.threeways.seen import Seen, python_for, run_by_metaflow, seen
from tests.threeways.workspace import (
    FAILING_FLOW,
    FLOWS,
    LOCKED,
    PARAMETERS,
    PLACES,
    run_first,
    workspace,
)

FIRST = (
    "flows/foreach_in_switch.py",
    "flows/nested_foreach.py",
    "flows/parameters.py",
    LOCKED,
)
"""Those that run without --all: between them all kinds of nodes, of Parameters, and packages."""
FAILING_FIRST = ("nowhere", "start", "body")


@pytest.fixture(scope="module")
def folder(flyte: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("work") / "flows", policy(flyte))


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_leaves_the_artifacts_that_it_leaves_with_metaflow(
    name: str, folder: Path, flyte: Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    only_with_all(pytestconfig, name, FIRST)
    result, found = both(name, folder, flyte, tmp_path, **PARAMETERS.get(name, {}))
    assert result.phase == "succeeded", result
    assert found.successful


@pytest.mark.parametrize("failing", PLACES)
def test_a_flow_that_fails_has_the_attempts_and_the_state_that_it_has_with_metaflow(
    failing: str, folder: Path, flyte: Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    only_with_all(pytestconfig, failing, FAILING_FIRST)
    result, found = both(FAILING_FLOW, folder, flyte, tmp_path, failing=failing)
    assert (result.phase == "succeeded") == found.successful == (failing == "nowhere"), result


def both(
    name: str, folder: Path, flyte: Engine, root: Path, **parameters: str
) -> tuple[Result, Seen]:
    """Run a flow on the engine and by Metaflow, and see the same, and a pod of each attempt."""
    python = python_for(name, folder, MFBUILD)
    for flow in run_first(name):
        given = parameters if flow == name else {}
        bundle = package(flow, folder)
        result = start(push(bundle, flyte), flyte, **given)
        here = run_by_metaflow(flow, folder, root, given, python)
    (found,) = seen_on(flyte, bundle.manifest.flow, f"flyte-{result.execution}")
    assert [found] == seen(bundle.manifest.flow, [here], root), result
    assert len(result.pods) == found.attempts
    return result, found
