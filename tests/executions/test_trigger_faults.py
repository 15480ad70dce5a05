"""Each call that starts a version and waits for it, failing in each way."""

from __future__ import annotations

import time
from typing import Any

import pytest
from grpc import StatusCode

from mfbuild.errors import FlyteError
from mfbuild.executions.trigger import trigger, wait
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.push.names import FlowWord, find_launch_plan
from tests.flyteadmin.faults import Call, answer, cut
from tests.push.faulty import Faulty, grpc_faults, problem_of

pytestmark = pytest.mark.tools

NAME = "r1"
STARTING = {
    "ListLaunchPlans": "list the versions of `TrainFlow`",
    "CreateExecution": f"start launch plan `TrainFlow` as `{NAME}`",
    "GetExecution": f"find the execution `{NAME}`",
    "ListNodeExecutions": f"list the tasks of the execution `{NAME}`",
}
PASSING = grpc_faults()


def soon(seconds: float) -> None:
    """Let what runs go on, but not for so long."""
    time.sleep(0.01)


def run(flyte: Faulty) -> None:
    """Start the active version, and wait until it has ended."""
    there = flyte.at()
    plan = find_launch_plan(there, FlowWord("TrainFlow"))
    assert (plan.active, plan.id.version) == (True, flyte.old.manifest.version)
    id = trigger(there, plan, [], name=NAME)
    ended = wait(there.backend.executions, id, sleep=soon)
    assert (ended.id, ended.of, ended.phase) == (id, plan.id, "succeeded")


def started(flyte: Faulty) -> list[str]:
    return [row.message.id.name for row in flyte.double.state.executions.in_order()]


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", STARTING)
def test_a_start_under_a_fault_that_passes(flyte: Faulty, rpc: str, name: str) -> None:
    flyte.double.faults.add(rpc, PASSING[name])
    run(flyte)
    assert flyte.waited
    assert started(flyte) == [NAME]


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", STARTING)
def test_a_start_under_a_fault_that_stays(flyte: Faulty, rpc: str, name: str) -> None:
    """The error names the execution, which may have begun: under its name there is but one."""
    flyte.double.faults.always(rpc, PASSING[name])
    told = problem_of(FlyteError, lambda: run(flyte), flyte.tokens.read_text())
    assert STARTING[rpc] in told
    flyte.calm()
    run(flyte)
    assert started(flyte) == [NAME]


@pytest.mark.parametrize("rpc", STARTING)
def test_a_start_that_is_denied(flyte: Faulty, rpc: str) -> None:
    flyte.double.faults.always(rpc, answer(StatusCode.PERMISSION_DENIED, "not you"))
    with pytest.raises(Refusal, match=f"refuses to {STARTING[rpc]}: not you"):
        run(flyte)
    assert flyte.waited == []


@pytest.mark.parametrize("rpc", STARTING)
def test_a_token_that_expires_while_something_is_started(flyte: Faulty, rpc: str) -> None:
    def expire(call: Call) -> Any:
        flyte.renew()
        return call.perform()

    flyte.double.faults.add(rpc, expire)
    run(flyte)
    assert started(flyte) == [NAME]


def test_another_ones_execution_of_that_name_is_not_taken_for_ones_own(flyte: Faulty) -> None:
    flyte.push(flyte.new)
    there = flyte.at()
    old = find_launch_plan(there, FlowWord("TrainFlow", flyte.old.manifest.version))
    new = find_launch_plan(there, FlowWord("TrainFlow"))
    id = trigger(there, old, [], name=NAME)
    flyte.double.faults.add("CreateExecution", cut(after=True))
    with pytest.raises(FlyteError, match=f"an execution `{NAME}` of something else is there"):
        trigger(there, new, [], name=NAME)
    assert wait(there.backend.executions, id, sleep=soon).of == old.id
