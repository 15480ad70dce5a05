"""Each call and each request of a promotion, failing in each way: it ends right, or the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mfbuild.errors import FetchError, FlyteError, MfbuildError
from tests.proxy import Fault
from tests.push.faulty import BROKEN, Faulty, faulty, grpc_faults
from tests.registry import Answer

pytestmark = pytest.mark.tools

CALLS = {
    "ListLaunchPlans": "list the versions of `TrainFlow`",
    "GetLaunchPlan": "find launch plan `TrainFlow`",
    "CreateLaunchPlan": "register launch plan `TrainFlow`",
    "UpdateLaunchPlan": "activate launch plan `TrainFlow`",
}
PASSING = grpc_faults()
REQUESTS = ("GET tag", "GET manifest", "GET blob", "HEAD blob", "POST mount", "PUT tag")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with faulty(tmp_path_factory.mktemp("faulty")) as flyte:
        flyte.push(flyte.new)
        flyte.begin(flyte.promote)
        yield flyte


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_call_that_fails_once(flyte: Faulty, rpc: str, name: str) -> None:
    flyte.double.faults.add(rpc, PASSING[name])
    assert flyte.do().active
    assert flyte.waited
    flyte.check_ends_right()


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_call_that_always_fails(flyte: Faulty, rpc: str, name: str) -> None:
    flyte.double.faults.always(rpc, PASSING[name])
    assert CALLS[rpc] in flyte.failure(FlyteError)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_fails_once(flyte: Faulty, kind: str, name: str) -> None:
    flyte.proxy.disturb(kind, BROKEN[name][0], 1)
    flyte.do()
    assert flyte.proxy.count(kind) > 0
    flyte.check_ends_right()


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_always_fails(flyte: Faulty, kind: str, name: str) -> None:
    fault, told = BROKEN[name]
    flyte.proxy.disturb(kind, fault)
    assert told in flyte.failure(MfbuildError)


def test_a_bundle_that_may_not_be_read(flyte: Faulty) -> None:
    flyte.proxy.disturb("GET tag", Fault(answer=Answer(403)))
    told = flyte.failure(FetchError)
    assert told.startswith(f"`{flyte.proxy.host}` refuses access to `/v2/staging/trainflow/")
