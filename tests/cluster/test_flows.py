"""Flows packaged and run on the engine: the same artifacts as from Metaflow's own run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.engine import Engine
from tests.cluster.flows import (
    FLOWS,
    package,
    push,
    run_here,
    seen_here,
    seen_on,
    start,
    workspace,
)

FIRST = ("foreach_in_switch", "nested_foreach", "parameters")
"""Those that run without --all: between them all kinds of nodes, and all kinds of Parameters."""
NOT_RUN = {"decorated": "asks a cloud for secrets"}
PARAMETERS = {"parameters": {"needed": "given"}}


@pytest.fixture(scope="module")
def folder(flyte: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("work") / "flows", flyte)


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_a_flow_leaves_the_artifacts_that_it_leaves_with_metaflow(
    name: str, folder: Path, flyte: Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if name in NOT_RUN:
        pytest.skip(f"{name} {NOT_RUN[name]}")
    if name not in FIRST and not pytestconfig.getoption("all"):
        pytest.skip("runs with `scripts/test --cluster --all`")
    file, parameters = folder / f"{name}.py", PARAMETERS.get(name, {})
    bundle = package(file)
    result = start(push(bundle, flyte), flyte, **parameters)
    assert result.phase == "succeeded", result
    seen = seen_on(flyte, bundle.manifest.flow, result)
    options = [word for key, value in parameters.items() for word in (f"--{key}", value)]
    here = seen_here(bundle.manifest.flow, run_here(file, tmp_path, *options), tmp_path)
    assert seen == here
    assert seen.successful
    assert len(result.pods) == seen.attempts
