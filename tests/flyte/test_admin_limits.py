"""What people are told where a Flyte allows less than a task asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.core.identifier_pb2 import TASK

from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.admin.limits import limit_hint
from mfbuild.flyte.templates import add_requests
from tests.cluster.handmade import DOMAIN, PROJECT
from tests.flyte.admin import place
from tests.flyteadmin.double import flyteadmin
from tests.flyteadmin.entities import identifier, simple_task

TASK_ID = identifier(TASK, "TrainFlow.fit")


@pytest.mark.parametrize(
    ("name", "limit", "line"),
    [
        ("memory", "1Gi", "resources = { memory = 1024 }"),
        ("cpu", "500m", "resources = { cpu = 0.5 }"),
        ("cpu", "2", "resources = { cpu = 2 }"),
        ("memory", "1500M", "resources = { memory = 1430 }"),
    ],
)
def test_a_limit_comes_with_the_line_to_write(
    tmp_path: Path, name: str, limit: str, line: str
) -> None:
    task = simple_task()
    add_requests(task, {"cpu": "4", "memory": "4096Mi"})
    with (
        flyteadmin(
            tmp_path, projects=(PROJECT,), domains=(DOMAIN,), limits={name.upper(): limit}
        ) as double,
        pytest.raises(Refusal) as caught,
    ):
        place(double).registrations.create(TASK_ID, TaskSpec(template=task))
    (problem,) = caught.value.problems
    assert f"greater than current limit set in the platform configuration [{limit}]" in (
        problem.message
    )
    assert problem.hint == (
        f"it allows at most {limit}: write `{line}` below `[domain.{DOMAIN}]` of BUILD.toml, for "
        'steps that ask for none, or below `[target."//….py:fit"]`, for this one'
    )


def test_devices_are_asked_for_by_a_step_alone() -> None:
    words = (
        "Requested GPU limit [2] is greater than current limit set in the platform configuration "
        "[1]. Please contact Flyte Admins to change these limits or consult the configuration"
    )
    assert limit_hint(words, TASK_ID) == (
        'it allows at most 1: write `resources = { gpu = 1 }` below `[target."//….py:fit"]`, '
        "for this one"
    )


@pytest.mark.parametrize("words", ["missing project", "platform configuration [x]"])
def test_other_refusals_have_nothing_to_write(words: str) -> None:
    assert limit_hint(words, TASK_ID) is None
