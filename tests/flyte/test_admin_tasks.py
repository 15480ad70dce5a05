"""The tasks of an execution: attempts, elements, and what is below nodes."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.event_pb2 import NodeExecutionEventRequest, TaskExecutionEventRequest
from flyteidl.core.execution_pb2 import ExecutionError
from flyteidl.core.execution_pb2 import NodeExecution as Nodes
from flyteidl.core.execution_pb2 import TaskExecution as Tasks
from flyteidl.core.identifier_pb2 import TASK, NodeExecutionIdentifier
from flyteidl.event.event_pb2 import (
    ExternalResourceInfo,
    NodeExecutionEvent,
    ParentNodeExecutionMetadata,
    TaskExecutionEvent,
    TaskExecutionMetadata,
)

from mfbuild.flyte.admin.executions import identifier as execution
from mfbuild.flyte.backend import TaskRun
from tests.cluster import handmade
from tests.cluster.build import program
from tests.cluster.handmade import TEXT
from tests.flyte.admin import Place
from tests.flyte.test_admin_executions import ID, PLAN, ended, inputs, scripted
from tests.flyteadmin.double import Client
from tests.flyteadmin.entities import (
    CODE,
    DEFAULT,
    create_launch_plan,
    create_task,
    create_workflow,
    identifier,
    launch_plan,
    simple_task,
)
from tests.flyteadmin.faults import Call
from tests.flyteadmin.script import Script
from tests.flyteadmin.state import now


@pytest.mark.skipif(not program("flyteworkflow").exists(), reason="flyteworkflow is not built")
def test_the_tasks_of_every_kind_of_node(tmp_path: Path) -> None:
    part = handmade.workflow("part", [handmade.runs("inner", CODE)], {"code": TEXT})
    arm = handmade.chooses("which", handmade.output("", "code"), {"a": handmade.runs("arm", CODE)})
    mapped = handmade.maps("mapped", {**CODE, "of": handmade.constants([1, 2])}, ["code"])
    whole = [mapped, handmade.contains("part", CODE), arm]
    types = {"code": TEXT, "of": handmade.NUMBERS}
    with scripted(tmp_path, Script()) as (flyte, client):
        for name in ("inner", "arm"):
            create_task(client, simple_task(name))
        create_task(client, handmade.task("mapped", "image", "x", inputs=types))
        create_workflow(client, handmade.workflow("whole", whole, {"code": TEXT}), [part])
        plan = create_launch_plan(
            client, launch_plan(defaults={"code": DEFAULT}, workflow="whole"), "whole"
        )
        flyte.executions.start(ID, plan, inputs())
        ended(flyte)
        tasks = flyte.executions.tasks(ID)
    assert [(task.node, task.task, task.phase) for task in tasks] == [
        ("mapped/0", "mapped", "succeeded"),
        ("mapped/1", "mapped", "succeeded"),
        ("part/inner", "inner", "succeeded"),
        ("which/which-arm", "arm", "succeeded"),
    ]
    assert [name for name, _ in tasks[0].logs + tasks[1].logs] == [
        "Kubernetes Logs-0",
        "Kubernetes Logs-1",
    ]


class Events:
    """What propeller would tell of one execution."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def node(self, name: str, phase: int, parent: str = "", **fields: Any) -> None:
        event = NodeExecutionEvent(
            id=self._id(name),
            phase=phase,
            occurred_at=now(),
            spec_node_id=name.rpartition("-")[2],
            event_version=1,
            **fields,
        )
        if parent:
            event.parent_node_metadata.CopyFrom(ParentNodeExecutionMetadata(node_id=parent))
        self._client.admin.CreateNodeEvent(NodeExecutionEventRequest(event=event))

    def task(self, node: str, phase: int, attempt: int = 0, **fields: Any) -> None:
        event = TaskExecutionEvent(
            task_id=identifier(TASK, "start"),
            parent_node_execution_id=self._id(node),
            retry_attempt=attempt,
            phase=phase,
            occurred_at=now(),
            event_version=1,
            **fields,
        )
        self._client.admin.CreateTaskEvent(TaskExecutionEventRequest(event=event))

    def _id(self, node: str) -> NodeExecutionIdentifier:
        return NodeExecutionIdentifier(node_id=node, execution_id=execution(ID))


def shown(flyte: Place) -> list[tuple[str, str, int, str | None]]:
    def row(task: TaskRun) -> tuple[str, str, int, str | None]:
        return task.node, task.phase, task.attempt, task.error

    return [row(task) for task in flyte.executions.tasks(ID)]


def error(message: str) -> ExecutionError:
    return ExecutionError(code="USER:Error", message=message, kind=ExecutionError.USER)


def test_a_task_that_is_tried_again(tmp_path: Path) -> None:
    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("start", Nodes.RUNNING)
        events.task("start", Tasks.RUNNING)
        assert shown(flyte) == [("start", "running", 0, None)]
        events.task("start", Tasks.RETRYABLE_FAILED, error=error("once"))
        assert shown(flyte) == [("start", "queued", 0, "once")]
        events.task("start", Tasks.QUEUED, 1)
        assert shown(flyte) == [("start", "queued", 1, None)]
        events.task("start", Tasks.FAILED, 1, error=error("twice"))
        assert shown(flyte) == [("start", "queued", 1, "twice")]
        events.node("start", Nodes.FAILED, error=error("twice"))
        assert shown(flyte) == [("start", "failed", 1, "twice")]


def test_a_task_whose_node_timed_out(tmp_path: Path) -> None:
    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("start", Nodes.RUNNING)
        events.task("start", Tasks.RUNNING)
        events.node("start", Nodes.TIMED_OUT, error=error("Timeout in node"))
        assert shown(flyte) == [("start", "timed out", 0, None)]


def test_a_node_that_was_skipped_or_waits_runs_no_task(tmp_path: Path) -> None:
    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        Events(client).node("one", Nodes.SKIPPED)
        Events(client).node("two", Nodes.QUEUED)
        assert shown(flyte) == []


def test_a_dynamic_node_and_what_it_started(tmp_path: Path) -> None:
    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("rows", Nodes.RUNNING, is_dynamic=True)
        events.task("rows", Tasks.RUNNING)
        assert shown(flyte) == [("rows", "running", 0, None)]
        events.task("rows", Tasks.SUCCEEDED)
        events.node("rows", Nodes.DYNAMIC_RUNNING, is_dynamic=True, is_parent=True)
        for child in ("rows-0-a", "rows-0-b"):
            events.node(child, Nodes.RUNNING, "rows", retry_group="0")
            events.task(child, Tasks.RUNNING)
        events.task("rows-0-b", Tasks.FAILED, error=error("no"))
        events.node("rows-0-b", Nodes.FAILED, error=error("no"))
        events.node("rows", Nodes.FAILED, is_dynamic=True, is_parent=True, error=error("no"))
        assert shown(flyte) == [
            ("rows", "succeeded", 0, None),
            ("rows/a", "running", 0, None),
            ("rows/b", "failed", 0, "no"),
        ]


def test_a_sub_workflow_that_was_tried_again(tmp_path: Path) -> None:
    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("part", Nodes.RUNNING, is_parent=True)
        for attempt, phase in (("0", Nodes.FAILED), ("1", Nodes.RUNNING)):
            child = f"part-{attempt}-a"
            events.node(child, Nodes.RUNNING, "part", retry_group=attempt)
            events.task(child, Tasks.RUNNING)
            if phase == Nodes.FAILED:
                events.task(child, Tasks.FAILED, error=error("no"))
                events.node(child, phase, "part", retry_group=attempt, error=error("no"))
        assert shown(flyte) == [("part/a", "running", 0, None)]


def test_the_elements_of_an_array(tmp_path: Path) -> None:
    def element(index: int, phase: int, attempt: int = 0) -> ExternalResourceInfo:
        return ExternalResourceInfo(
            external_id=f"{index}-{attempt}", index=index, retry_attempt=attempt, phase=phase
        )

    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("cells", Nodes.RUNNING, is_array=True)
        events.task("cells", Tasks.QUEUED)
        assert shown(flyte) == [("cells", "queued", 0, None)]
        parts = [
            element(0, Tasks.SUCCEEDED),
            element(2, Tasks.RETRYABLE_FAILED),
            element(2, Tasks.RUNNING, 1),
            element(1, Tasks.FAILED),
        ]
        told = TaskExecutionMetadata(external_resources=parts)
        events.task("cells", Tasks.FAILED, metadata=told, error=error("[1]: no"))
        assert shown(flyte) == [
            ("cells/0", "succeeded", 0, None),
            ("cells/1", "failed", 0, "[1]: no"),
            ("cells/2", "running", 1, None),
        ]


def test_an_interrupt_does_not_wait_for_a_silent_server(tmp_path: Path) -> None:
    awake = threading.Event()

    def silent(call: Call) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        awake.wait(60)
        return call.perform()

    with scripted(tmp_path) as (flyte, client):
        flyte.executions.start(ID, PLAN, inputs())
        events = Events(client)
        events.node("start", Nodes.RUNNING)
        events.task("start", Tasks.RUNNING)
        flyte.double.faults.always("ListTaskExecutions", silent)
        try:
            with pytest.raises(KeyboardInterrupt):
                flyte.executions.tasks(ID)
            assert flyte.double.calls["ListTaskExecutions"] == 1
        finally:
            awake.set()
