"""Each call of a push to Flyte, failing in each way: the push ends right, or the next one does."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from grpc import StatusCode

from mfbuild.errors import FlyteError
from mfbuild.http import limits
from tests.flyteadmin.faults import PUT, Call, Fault, answer, delay
from tests.flyteadmin.refusals import Refused
from tests.push.faulty import Faulty, faulty, grpc_faults, problem_of

pytestmark = pytest.mark.tools

CALLS = {
    "GetPublicClientConfig": "say how to log in",
    "GetLaunchPlan": "find launch plan `TrainFlow`",
    "CreateUploadLocation": "take the file `code.tar.gz`",
    "GetTask": "find task `TrainFlow.STEP`",
    "CreateTask": "register task `TrainFlow.STEP`",
    "GetWorkflow": "find workflow `TrainFlow`",
    "CreateWorkflow": "register workflow `TrainFlow`",
    "CreateLaunchPlan": "register launch plan `TrainFlow`",
    "UpdateLaunchPlan": "activate launch plan `TrainFlow`",
}
"""Every RPC of a push, with what people are told that was asked."""


PASSING = grpc_faults()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with faulty(tmp_path_factory.mktemp("faulty")) as place:
        domain = place.domains["staging"]
        place.place().bundles.put(place.new, f"{domain.registry}/trainflow")
        place.begin(lambda: place.push(place.new))
        yield place


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_passes(place: Faulty, rpc: str, name: str) -> None:
    place.double.faults.add(rpc, PASSING[name])
    assert place.do().active
    assert place.waited
    place.check_kept()
    place.check_ends_right()


SAYS = {
    "cut": "FLYTE gave no answer when asked to {doing}: ",
    "UNAVAILABLE": "FLYTE gave no answer when asked to {doing}: injected",
    "DEADLINE_EXCEEDED": "FLYTE did not answer in time when asked to {doing}",
    "RESOURCE_EXHAUSTED": "FLYTE refuses to {doing}: injected",
}


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_stays(place: Faulty, rpc: str, name: str) -> None:
    place.double.faults.always(rpc, PASSING[name])
    told = re.sub(r"TrainFlow\.(start|fit|end)`", "TrainFlow.STEP`", place.failure(FlyteError))
    assert told.startswith(SAYS[name.split()[0]].format(doing=CALLS[rpc]))


@pytest.mark.parametrize("rpc", CALLS)
def test_permission_that_is_denied(place: Faulty, rpc: str) -> None:
    place.double.faults.always(rpc, answer(StatusCode.PERMISSION_DENIED, "not you"))
    words = re.escape(CALLS[rpc]).replace("STEP", "(start|fit|end)")
    assert re.fullmatch(f"FLYTE refuses to {words}: not you", place.failure(FlyteError))
    assert place.waited == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("rpc", [*CALLS, PUT])
def test_a_token_that_expires_in_the_middle(place: Faulty, rpc: str, after: bool) -> None:
    def expire(call: Call) -> Any:
        if after:
            with suppress(Refused):
                call.perform()
        place.renew()
        return call.perform()

    place.double.faults.add(rpc, expire)
    place.do()
    assert place.waited == []
    place.check_kept()
    place.check_ends_right()


def test_a_token_that_is_not_accepted(place: Faulty) -> None:
    place.tokens.write_text("of-somebody-else")
    told = problem_of(FlyteError, place.do, "of-somebody-else")
    assert told == f"`{place.double.endpoint}` does not accept the token that `cat` prints"
    assert place.standing() == place.began
    place.renew()
    place.do()
    place.check_ends_right()


@pytest.mark.parametrize("rpc", CALLS)
def test_a_server_that_is_slow(place: Faulty, rpc: str) -> None:
    awake = threading.Event()
    place.double.faults.add(rpc, delay(awake, after=True))
    try:
        place.push(place.new, seconds=1.0)
        assert place.waited
        place.check_kept()
    finally:
        awake.set()
    place.check_ends_right()


def status(code: int, words: str) -> Fault:
    """An answer of the bucket."""
    return lambda call: (code, f"<Error><Code>{words}</Code></Error>")


PUTS = {
    **{name: fault for name, fault in PASSING.items() if name.startswith(("cut", "UNAVAILABLE"))},
    "403": status(403, "AccessDenied"),  # an address that has expired
    "429": status(429, "SlowDown"),
    "500": status(500, "InternalError"),
}


@pytest.mark.parametrize("name", PUTS)
def test_an_upload_that_fails_once(place: Faulty, name: str) -> None:
    place.double.faults.add(PUT, PUTS[name])
    place.do()
    assert 0.25 <= sum(place.waited) <= 0.75
    place.check_kept()
    place.check_ends_right()


@pytest.mark.parametrize("name", PUTS)
def test_an_upload_that_always_fails(place: Faulty, name: str) -> None:
    place.double.faults.always(PUT, PUTS[name])
    told = place.failure(FlyteError)
    assert told.startswith("`127.0.0.1`, Flyte's bucket, does not take the file `code.tar.gz`: ")


def test_a_bucket_that_is_slow(place: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", limits.Limits(storing=0.5))
    awake = threading.Event()
    place.double.faults.add(PUT, delay(awake))
    try:
        place.do()
        assert place.waited
    finally:
        awake.set()
    place.check_ends_right()
