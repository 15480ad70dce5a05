"""Each call of registrations under each fault: it ends right, or with one clear message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, WORKFLOW
from grpc import StatusCode

from mfbuild.errors import FlyteError
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.compare import differences
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyte.admin import Place, place
from tests.flyte.test_admin_registrations import ENTITIES, PLAN_ID, found
from tests.flyteadmin.double import flyteadmin
from tests.flyteadmin.entities import identifier
from tests.flyteadmin.faults import Fault, answer, cut, delay

Do = Callable[[Place], Any]


@pytest.fixture
def flyte(tmp_path: Path) -> Iterator[Place]:
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,)) as double:
        yield place(double)


def create(kind: str) -> Do:
    return lambda flyte: flyte.registrations.create(*ENTITIES[kind])


def activate(flyte: Place) -> None:
    flyte.registrations.set_active(PLAN_ID, active=True)


def deactivate(flyte: Place) -> None:
    flyte.registrations.set_active(PLAN_ID, active=False)


def versions(flyte: Place) -> list[str]:
    listed = flyte.registrations.launch_plans(PROJECT, DOMAIN, "flow")
    return [plan.id.version for plan in listed]


CREATIONS: dict[str, tuple[str, Do]] = {
    "CreateTask": ("register task `start`", create("task")),
    "CreateWorkflow": ("register workflow `flow`", create("workflow")),
    "CreateLaunchPlan": ("register launch plan `flow`", create("launch plan")),
}
CALLS: dict[str, tuple[str, Do]] = {
    **CREATIONS,
    "GetTask": ("find task `start`", lambda f: f.registrations.get(identifier(TASK, "start"))),
    "GetWorkflow": (
        "find workflow `flow`",
        lambda f: f.registrations.get(identifier(WORKFLOW, "flow")),
    ),
    "GetLaunchPlan": (
        "find launch plan `flow`",
        lambda f: f.registrations.launch_plan(identifier(LAUNCH_PLAN, "flow")),
    ),
    "ListLaunchPlans": ("list the versions of `flow`", versions),
    "UpdateLaunchPlan": ("activate launch plan `flow`", activate),
    "ListProjects": ("list its projects", lambda f: f.registrations.projects()),
}
"""By RPC: what people are told was asked, and how it is asked."""

PASSING: dict[str, Fault] = {
    "cut before": cut(),
    "cut after": cut(after=True),
    **{
        f"{code.name} {'after' if after else 'before'}": answer(code, after=after)
        for code in (
            StatusCode.UNAVAILABLE,
            StatusCode.RESOURCE_EXHAUSTED,
            StatusCode.DEADLINE_EXCEEDED,
            StatusCode.ABORTED,
        )
        for after in (False, True)
    },
    "reset": answer(StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    "removed": answer(StatusCode.UNKNOWN, "Stream removed"),
}


def prepare(flyte: Place, rpc: str) -> None:
    """Register what a call needs."""
    for made, (_, do) in CREATIONS.items():
        if made == rpc:
            return
        do(flyte)


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_passes_changes_nothing(flyte: Place, rpc: str, name: str) -> None:
    prepare(flyte, rpc)
    do = CALLS[rpc][1]
    fault = PASSING[name]
    flyte.double.faults.add(rpc, fault)
    got = do(flyte)
    assert flyte.waited
    if rpc in CREATIONS:
        # False after what had taken effect, and then the caller compares.
        assert got is ("after" not in name)
        assert do(flyte) is False
    else:
        assert got == do(flyte)
    for kind, (_, spec) in list(ENTITIES.items())[
        : list(CREATIONS).index(rpc) + 1 if rpc in CREATIONS else 3
    ]:
        there = found(flyte, kind)
        assert there is not None and differences(spec, there) == []


STAYING: dict[str, tuple[Fault, str]] = {
    "cut": (cut(), "gave no answer when asked to {doing}: "),
    "UNAVAILABLE": (
        answer(StatusCode.UNAVAILABLE),
        "gave no answer when asked to {doing}: injected",
    ),
    "RESOURCE_EXHAUSTED": (answer(StatusCode.RESOURCE_EXHAUSTED), "refuses to {doing}: injected"),
    "DEADLINE_EXCEEDED": (
        answer(StatusCode.DEADLINE_EXCEEDED),
        "did not answer in time when asked to {doing}",
    ),
}


@pytest.mark.parametrize("name", STAYING)
@pytest.mark.parametrize("rpc", CALLS)
def test_a_fault_that_stays_is_told_and_the_next_time_all_is_well(
    flyte: Place, rpc: str, name: str
) -> None:
    prepare(flyte, rpc)
    doing, do = CALLS[rpc]
    fault, told = STAYING[name]
    flyte.double.faults.always(rpc, fault)
    with pytest.raises(FlyteError) as caught:
        do(flyte)
    beginning = f"`{flyte.double.endpoint}` {told.format(doing=doing)}"
    assert str(caught.value).startswith(beginning)
    assert 3.75 <= sum(flyte.waited) <= 11.25
    flyte.double.faults.always(rpc, None)
    do(flyte)


FINAL = {
    StatusCode.PERMISSION_DENIED: "refuses to {doing}: injected",
    StatusCode.INTERNAL: "refuses to {doing}: injected",
    StatusCode.INVALID_ARGUMENT: "refuses to {doing}: injected",
    StatusCode.UNIMPLEMENTED: "refuses to {doing}: injected",
}


@pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
@pytest.mark.parametrize("rpc", CALLS)
def test_what_is_final_is_asked_once(flyte: Place, rpc: str, code: StatusCode) -> None:
    prepare(flyte, rpc)
    doing, do = CALLS[rpc]
    flyte.double.faults.always(rpc, answer(code))
    before = flyte.double.calls[rpc]
    with pytest.raises(Refusal) as caught:
        do(flyte)
    told = f"`{flyte.double.endpoint}` {FINAL[code].format(doing=doing)}"
    assert (str(caught.value), caught.value.code) == (told, code.name)
    assert flyte.double.calls[rpc] == before + 1
    assert flyte.waited == []


def test_a_message_that_is_too_large_is_not_sent_again(flyte: Place) -> None:
    words = "grpc: received message larger than max (9000000 vs. 4194304)"
    flyte.double.faults.always("CreateTask", answer(StatusCode.RESOURCE_EXHAUSTED, words))
    with pytest.raises(FlyteError) as caught:
        create("task")(flyte)
    assert caught.value.problems[0].hint == "Flyte's `grpc.maxMessageSizeBytes` sets the limit"
    assert flyte.double.calls["CreateTask"] == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_server_that_is_slow(tmp_path: Path, after: bool) -> None:
    awake = threading.Event()
    with flyteadmin(tmp_path, projects=(PROJECT,), domains=(DOMAIN,)) as double:
        flyte = place(double, seconds=0.5)
        double.faults.add("CreateTask", delay(awake, after=after))
        created = create("task")(flyte)
        awake.set()
        assert created is not after
        assert double.calls["CreateTask"] == 2
        assert create("task")(flyte) is False


def test_a_long_message_of_an_old_flyte(flyte: Place) -> None:
    """Before 1.16.8 a difference came whole, as metadata."""
    words = f"flow workflow with different structure already exists. {'x' * 200_000}"
    flyte.double.faults.add("CreateTask", answer(StatusCode.INVALID_ARGUMENT, words))
    assert create("task")(flyte) is False
