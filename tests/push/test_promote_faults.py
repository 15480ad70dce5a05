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
    with faulty(tmp_path_factory.mktemp("faulty")) as place:
        place.push(place.new)
        place.begin(place.promote)
        yield place


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_call_that_fails_once(place: Faulty, rpc: str, name: str) -> None:
    place.double.faults.add(rpc, PASSING[name])
    assert place.do().active
    assert place.waited
    place.check_ends_right()


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_call_that_always_fails(place: Faulty, rpc: str, name: str) -> None:
    place.double.faults.always(rpc, PASSING[name])
    assert CALLS[rpc] in place.failure(FlyteError)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_fails_once(place: Faulty, kind: str, name: str) -> None:
    place.proxy.disturb(kind, BROKEN[name][0], 1)
    place.do()
    assert place.proxy.count(kind) > 0
    place.check_ends_right()


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_always_fails(place: Faulty, kind: str, name: str) -> None:
    fault, told = BROKEN[name]
    place.proxy.disturb(kind, fault)
    assert told in place.failure(MfbuildError)


def test_a_bundle_that_may_not_be_read(place: Faulty) -> None:
    place.proxy.disturb("GET tag", Fault(answer=Answer(403)))
    told = place.failure(FetchError)
    assert told.startswith(f"`{place.proxy.host}` refuses access to `/v2/staging/trainflow/")
