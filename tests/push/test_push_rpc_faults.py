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
    with faulty(tmp_path_factory.mktemp("faulty")) as flyte:
        domain = flyte.domains["staging"]
        flyte.at().bundles.put(flyte.new, f"{domain.registry}/trainflow")
        flyte.begin(lambda: flyte.push(flyte.new))
        yield flyte


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_passes(flyte: Faulty, rpc: str, name: str) -> None:
    flyte.double.faults.add(rpc, PASSING[name])
    assert flyte.do().active
    assert flyte.waited
    flyte.check_kept()
    flyte.check_ends_right()


SAYS = {
    "cut": "FLYTE gave no answer when asked to {doing}: ",
    "UNAVAILABLE": "FLYTE gave no answer when asked to {doing}: injected",
    "DEADLINE_EXCEEDED": "FLYTE did not answer in time when asked to {doing}",
    "RESOURCE_EXHAUSTED": "FLYTE refuses to {doing}: injected",
}


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_stays(flyte: Faulty, rpc: str, name: str) -> None:
    flyte.double.faults.always(rpc, PASSING[name])
    told = re.sub(r"TrainFlow\.(start|fit|end)`", "TrainFlow.STEP`", flyte.failure(FlyteError))
    assert told.startswith(SAYS[name.split()[0]].format(doing=CALLS[rpc]))


@pytest.mark.parametrize("rpc", CALLS)
def test_permission_that_is_denied(flyte: Faulty, rpc: str) -> None:
    flyte.double.faults.always(rpc, answer(StatusCode.PERMISSION_DENIED, "not you"))
    words = re.escape(CALLS[rpc]).replace("STEP", "(start|fit|end)")
    assert re.fullmatch(f"FLYTE refuses to {words}: not you", flyte.failure(FlyteError))
    assert flyte.waited == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("rpc", [*CALLS, PUT])
def test_a_token_that_expires_in_the_middle(flyte: Faulty, rpc: str, after: bool) -> None:
    def expire(call: Call) -> Any:
        if after:
            with suppress(Refused):
                call.perform()
        flyte.renew()
        return call.perform()

    flyte.double.faults.add(rpc, expire)
    flyte.do()
    assert flyte.waited == []
    flyte.check_kept()
    flyte.check_ends_right()


def test_a_token_that_is_not_accepted(flyte: Faulty) -> None:
    flyte.tokens.write_text("of-somebody-else")
    told = problem_of(FlyteError, flyte.do, "of-somebody-else")
    assert told == f"`{flyte.double.endpoint}` does not accept the token that `cat` prints"
    assert flyte.standing() == flyte.began
    flyte.renew()
    flyte.do()
    flyte.check_ends_right()


@pytest.mark.parametrize("rpc", CALLS)
def test_a_server_that_is_slow(flyte: Faulty, rpc: str) -> None:
    awake = threading.Event()
    flyte.double.faults.add(rpc, delay(awake, after=True))
    try:
        flyte.push(flyte.new, seconds=1.0)
        assert flyte.waited
        flyte.check_kept()
    finally:
        awake.set()
    flyte.check_ends_right()


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
def test_an_upload_that_fails_once(flyte: Faulty, name: str) -> None:
    flyte.double.faults.add(PUT, PUTS[name])
    flyte.do()
    assert 0.25 <= sum(flyte.waited) <= 0.75
    flyte.check_kept()
    flyte.check_ends_right()


@pytest.mark.parametrize("name", PUTS)
def test_an_upload_that_always_fails(flyte: Faulty, name: str) -> None:
    flyte.double.faults.always(PUT, PUTS[name])
    told = flyte.failure(FlyteError)
    assert told.startswith("`127.0.0.1`, Flyte's bucket, does not take the file `code.tar.gz`: ")


def test_a_bucket_that_is_slow(flyte: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMITS", limits.Limits(storing=0.5))
    awake = threading.Event()
    flyte.double.faults.add(PUT, delay(awake))
    try:
        flyte.do()
        assert flyte.waited
    finally:
        awake.set()
    flyte.check_ends_right()
