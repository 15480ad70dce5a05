"""Steps that ran out of memory, as propeller tells of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.errors import RunError
from mfbuild.executions.progress import task_line
from mfbuild.executions.status import check_succeeded, execution_line
from mfbuild.flyte.backend import Execution, ExecutionId, TaskRun

# flytek8s/pod_helper.go, DemystifyFailure; the runtime's words come as the container's message.
KILLED = "\r\n[primary] terminated with exit code (137). Reason [OOMKilled]. Message: \n."
LAST = f"[1/1] currentAttempt done. Last Error: USER::{KILLED}"
JOIN = TaskRun("join", "TrainFlow.join", "failed", 0, None, None, KILLED)
FAILED = Execution(
    ExecutionId("recsys", "staging", "f1"),
    Identifier(name="TrainFlow", version="a" * 40),
    "failed",
    None,
    None,
    f"failed at Node[join]. RuntimeExecutionError: {LAST}",
)
LOGS = "its logs: mfbuild logs f1 -d staging"


def test_status_names_it() -> None:
    assert task_line(JOIN) == "join  failed       out of memory (OOMKilled)"
    assert execution_line(FAILED).endswith("out of memory (OOMKilled)")
    assert task_line(replace(JOIN, error="a\nValueError: b")).endswith("ValueError: b")


@pytest.mark.parametrize(
    ("tasks", "steps", "where"),
    [
        ([JOIN], "`join`", "step `join`"),
        (
            [JOIN, JOIN, replace(JOIN, task="x.TrainFlow.fit")],
            "`join`, `fit`",
            "the steps `join`, `fit`",
        ),
    ],
)
def test_waiting_ends_with_the_line_to_write(tasks: list[TaskRun], steps: str, where: str) -> None:
    with pytest.raises(RunError) as caught:
        check_succeeded(FAILED, "TrainFlow/flyte-f1", tasks)
    (problem,) = caught.value.problems
    assert problem.message == f"`TrainFlow/flyte-f1` failed: out of memory (OOMKilled): {steps}"
    assert problem.hint == (
        f"ask for more memory, in MB, above {where}: `@resources(memory=…)`; {LOGS}"
    )


def test_another_failure_is_told_as_it_was() -> None:
    tasks = [replace(JOIN, phase="succeeded"), replace(JOIN, error="ValueError: b")]
    with pytest.raises(RunError) as caught:
        check_succeeded(replace(FAILED, error="ValueError: b"), "f1", tasks)
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == ("`f1` failed: ValueError: b", LOGS)
    check_succeeded(replace(FAILED, phase="succeeded"), "f1", tasks)
