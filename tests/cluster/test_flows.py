"""Flows packaged and run on the engine: the same artifacts as from Metaflow's own run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.engine import Engine
from tests.cluster.executions import Result
from tests.cluster.flows import (
    FLOWS,
    Seen,
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
# Metaflow's own run takes no list as a default, which its deployers do.
PARAMETERS = {"parameters": {"needed": "given", "named": '["deploy", "named"]'}}

# It fails in the step that `failing` names, and in two steps that may.
FAILING = """
from metaflow import FlowSpec, Parameter, catch, current, retry, step


class FailingFlow(FlowSpec):
    failing = Parameter("failing")

    @step
    def start(self):
        assert self.failing != "start"
        self.items = [0, 1]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        assert self.failing != "body" or self.input != 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.tried)

    @retry(times=2, minutes_between_retries=0)
    @step
    def tried(self):
        self.attempt = current.retry_count
        assert self.attempt == 2
        self.next(self.caught)

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @step
    def caught(self):
        self.attempt = current.retry_count
        raise ValueError("always")
        self.next(self.end)

    @step
    def end(self):
        self.told = str(self.failure.exception)


if __name__ == "__main__":
    FailingFlow()
"""


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
        pytest.skip(f"{name} runs with `scripts/test --cluster --all`")
    result, seen = both(folder / f"{name}.py", flyte, tmp_path, **PARAMETERS.get(name, {}))
    assert result.phase == "succeeded", result
    assert seen.successful


@pytest.mark.parametrize("failing", ["nowhere", "start", "body"])
def test_a_flow_that_fails_has_the_attempts_and_the_state_that_it_has_with_metaflow(
    failing: str, folder: Path, flyte: Engine, tmp_path: Path
) -> None:
    file = folder / "failing.py"
    file.write_text(FAILING)
    result, seen = both(file, flyte, tmp_path, failing=failing)
    assert (result.phase == "succeeded") == seen.successful == (failing == "nowhere"), result


def both(file: Path, flyte: Engine, scratch: Path, **parameters: str) -> tuple[Result, Seen]:
    """Run a flow on the engine and by Metaflow, and see the same, and a pod of each attempt."""
    bundle = package(file)
    result = start(push(bundle, flyte), flyte, **parameters)
    seen = seen_on(flyte, bundle.manifest.flow, result)
    options = [word for name, value in parameters.items() for word in (f"--{name}", value)]
    here = run_here(file, scratch, *options)
    assert seen == seen_here(bundle.manifest.flow, here, scratch), result
    assert len(result.pods) == seen.attempts
    return result, seen
