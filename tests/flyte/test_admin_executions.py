"""Executions at a Flyte: started once, read as a tree, ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, TASK, Identifier
from flyteidl.core.literals_pb2 import LiteralMap
from grpc import StatusCode

from mfbuild.errors import FlyteError
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.backend import Execution, ExecutionId
from tests.cluster.handmade import DOMAIN, PROJECT, text
from tests.cluster.namespace import wait
from tests.flyte.admin import Place, place
from tests.flyteadmin.double import Client, flyteadmin
from tests.flyteadmin.entities import (
    DEFAULT,
    create_launch_plan,
    identifier,
    launch_plan,
    registered,
)
from tests.flyteadmin.faults import Fault, answer, cut
from tests.flyteadmin.script import Script

ID = ExecutionId(PROJECT, DOMAIN, "r1")
PLAN = identifier(LAUNCH_PLAN, "flow")


def inputs(**values: str) -> LiteralMap:
    return LiteralMap(literals={name: text(value) for name, value in values.items()})


@contextmanager
def scripted(folder: Path, script: Script | None = None) -> Iterator[tuple[Place, Client]]:
    """A Flyte with a flow, whose executions go as `script` says; without one nothing happens."""
    options: dict[str, Any] = {"executor": script} if script else {}
    with (
        flyteadmin(folder, projects=(PROJECT,), domains=(DOMAIN,), **options) as double,
        double.connect() as client,
    ):
        registered(client)
        create_launch_plan(client, launch_plan(defaults={"code": DEFAULT}))
        yield place(double), client


@pytest.fixture
def flyte(tmp_path: Path) -> Iterator[Place]:
    with scripted(tmp_path) as (running, _):
        yield running


def got(flyte: Place, id: ExecutionId = ID) -> Execution:
    found = flyte.executions.get(id)
    assert found is not None
    return found


def ended(flyte: Place, id: ExecutionId = ID) -> Execution:
    wait(lambda: got(flyte, id).is_done, lambda: got(flyte, id).phase)
    return got(flyte, id)


def test_an_execution_from_its_start_to_its_end(tmp_path: Path) -> None:
    script = Script(held=True)
    with scripted(tmp_path, script) as (flyte, _):
        assert flyte.executions.get(ID) is None
        flyte.executions.start(ID, PLAN, inputs(code="c"))
        wait(lambda: got(flyte).phase == "running", lambda: got(flyte).phase)
        running = got(flyte)
        assert (running.id, running.of, running.ended, running.error) == (ID, PLAN, None, None)
        wait(lambda: bool(flyte.executions.tasks(ID)), lambda: "no task")
        script.release()
        done = ended(flyte)
        assert (done.phase, done.error) == ("succeeded", None)
        assert done.began and done.ended and done.began <= done.ended <= datetime.now(timezone.utc)
        [task] = flyte.executions.tasks(ID)
        assert (task.node, task.task, task.phase, task.attempt) == (
            "start",
            "start",
            "succeeded",
            0,
        )
        assert task.began and task.ended and task.began <= task.ended
        assert task.logs == (("Kubernetes Logs", "http://logs.example.com/r1/start"),)


def test_it_is_queued_until_the_engine_takes_it(flyte: Place) -> None:
    flyte.executions.start(ID, PLAN, inputs())
    assert (got(flyte).phase, got(flyte).began) == ("queued", None)
    assert list(flyte.executions.tasks(ID)) == []


def test_a_failure_is_told_whole(tmp_path: Path) -> None:
    message = "it broke: " + "x" * 300
    with scripted(tmp_path, Script(failing={"start": message})) as (flyte, _):
        flyte.executions.start(ID, PLAN, inputs())
        done = ended(flyte)
        assert (done.phase, done.error) == ("failed", message)
        [task] = flyte.executions.tasks(ID)
        assert (task.phase, task.error) == ("failed", message)


def test_a_single_task(tmp_path: Path) -> None:
    task = identifier(TASK, "start")
    with scripted(tmp_path, Script()) as (flyte, _):
        flyte.executions.start(ID, task, inputs(code="c"))
        assert ended(flyte).of == task
        [run] = flyte.executions.tasks(ID)
        assert (run.task, run.phase) == ("start", "succeeded")
        assert flyte.executions.run_input(ID) == ""

        with pytest.raises(FlyteError):
            flyte.executions.run_input(ExecutionId(PROJECT, DOMAIN, "r2"))


def test_the_same_again_is_the_same(flyte: Place) -> None:
    flyte.executions.start(ID, PLAN, inputs(code="c"))
    flyte.executions.start(ID, PLAN, inputs(code="c"))
    for of, given in ((PLAN, inputs(code="d")), (identifier(TASK, "start"), inputs(code="c"))):
        with pytest.raises(FlyteError) as caught:
            flyte.executions.start(ID, of, given)
        assert str(caught.value) == "an execution `r1` of something else is there already"


def test_what_cannot_be_started(flyte: Place) -> None:
    with pytest.raises(Refusal) as caught:
        flyte.executions.start(ID, PLAN, inputs(other="c"))
    refuses = f"`{flyte.double.endpoint}` refuses to start launch plan `flow` as `r1`"
    assert str(caught.value) == f"{refuses}: invalid input other"
    with pytest.raises(Refusal, match="refuses to start launch plan `none` as `r1`: "):
        flyte.executions.start(ID, identifier(LAUNCH_PLAN, "none"), inputs())
    assert flyte.executions.get(ID) is None


FAULTS: dict[str, Fault] = {
    "cut before": cut(),
    "cut after": cut(after=True),
    "UNAVAILABLE before": answer(StatusCode.UNAVAILABLE),
    "UNAVAILABLE after": answer(StatusCode.UNAVAILABLE, after=True),
    "DEADLINE_EXCEEDED after": answer(StatusCode.DEADLINE_EXCEEDED, after=True),
    "RESOURCE_EXHAUSTED": answer(StatusCode.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_starts_nothing_twice(flyte: Place, name: str) -> None:
    flyte.double.faults.add("CreateExecution", FAULTS[name])
    flyte.executions.start(ID, PLAN, inputs(code="c"))
    assert flyte.double.calls["CreateExecution"] == 2
    assert [each.id for each in flyte.executions.list(PROJECT, DOMAIN)] == [ID]


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize(
    "rpc",
    ["GetExecution", "ListExecutions", "ListNodeExecutions", "ListTaskExecutions"],
)
def test_a_fault_of_reading(tmp_path: Path, rpc: str, name: str) -> None:
    with scripted(tmp_path, Script()) as (flyte, _):
        flyte.executions.start(ID, PLAN, inputs())
        done = ended(flyte)
        flyte.double.faults.add(rpc, FAULTS[name])
        assert got(flyte) == done
        assert list(flyte.executions.list(PROJECT, DOMAIN)) == [done]
        assert [task.node for task in flyte.executions.tasks(ID)] == ["start"]
        assert len(flyte.waited) >= 1


def test_executions_newest_first(flyte: Place) -> None:
    names = [f"r{number:03}" for number in range(120)]
    for name in names:
        flyte.executions.start(ExecutionId(PROJECT, DOMAIN, name), PLAN, inputs())
    task = ExecutionId(PROJECT, DOMAIN, "t1")
    flyte.executions.start(task, identifier(TASK, "start"), inputs(code="c"))
    listed = [each.id.name for each in flyte.executions.list(PROJECT, DOMAIN)]
    assert listed == ["t1", *names[::-1]]
    of_flow = [each.id.name for each in flyte.executions.list(PROJECT, DOMAIN, "flow")]
    assert of_flow == names[::-1]
    assert list(flyte.executions.list(PROJECT, DOMAIN, "other")) == []


@pytest.mark.parametrize("name", [None, *FAULTS])
def test_an_execution_is_terminated(tmp_path: Path, name: str | None) -> None:
    with scripted(tmp_path, Script(held=True)) as (flyte, _):
        flyte.executions.start(ID, PLAN, inputs())
        wait(lambda: bool(flyte.executions.tasks(ID)), lambda: "no task")
        if name:
            flyte.double.faults.add("TerminateExecution", FAULTS[name])
        flyte.executions.terminate(ID, "not wanted any more")
        done = ended(flyte)
        assert (done.phase, done.error) == ("aborted", "not wanted any more")
        flyte.executions.terminate(ID, "again")
        assert got(flyte) == done
        [task] = flyte.executions.tasks(ID)
        assert task.phase == "aborted"


def test_nothing_to_terminate(flyte: Place) -> None:
    with pytest.raises(Refusal, match="refuses to terminate the execution `r1`: "):
        flyte.executions.terminate(ID, "x")
    flyte.executions.start(ID, PLAN, inputs())
    flyte.double.faults.always("TerminateExecution", answer(StatusCode.PERMISSION_DENIED))
    with pytest.raises(Refusal, match="injected"):
        flyte.executions.terminate(ID, "x")


def test_an_execution_that_is_not_there_has_no_tasks(flyte: Place) -> None:
    none = ExecutionId(PROJECT, DOMAIN, "none")
    assert flyte.executions.get(none) is None
    assert list(flyte.executions.tasks(none)) == []


def test_of_is_what_was_asked_for(flyte: Place) -> None:
    flyte.executions.start(ID, PLAN, inputs())
    assert got(flyte).of == PLAN
    assert isinstance(got(flyte).of, Identifier)
