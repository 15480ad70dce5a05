"""Where the logs of an execution are: in its own run, in one it was given, in a local one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mfbuild.errors import FlyteError
from mfbuild.executions.logs import Logs, logs_of
from mfbuild.executions.single_steps import push_tasks, start_onto, start_task
from mfbuild.executions.trigger import trigger
from mfbuild.flyte.backend import Execution, ExecutionId
from mfbuild.push.record import site_of
from tests.push.conftest import Target
from tests.push.pushing import make_bundle
from tests.push.test_push import send

pytestmark = pytest.mark.parametrize("target", ["flyteadmin"], indirect=True)


def found(target: Target, id: ExecutionId) -> Execution:
    execution = target.at().backend.executions.get(id)
    assert execution is not None
    return execution


def logs(target: Target, id: ExecutionId, step: str | None = None) -> Logs:
    return logs_of(target.at().backend.executions, found(target, id), step)


def test_a_run_is_called_after_its_execution_or_as_it_was_given(
    target: Target, tmp_path: Path
) -> None:
    pushed = send(target, make_bundle(tmp_path / "a", domains=target.domains))
    there = target.at()
    plan = there.backend.registrations.launch_plan(pushed.launch_plan)
    assert plan is not None
    own, other = trigger(there, plan, []), trigger(there, plan, [], run="flyte-other")
    assert logs(target, own) == Logs("TrainFlow", f"flyte-{own.name}")
    assert logs(target, other, "fit") == Logs("TrainFlow", "flyte-other", "fit")
    onto = start_onto(there, plan, "fit", run="flyte-other")
    assert logs(target, onto) == Logs("TrainFlow", f"flyte-{onto.name}")
    strange = trigger(there, plan, [], run='{"what": 1}')
    with pytest.raises(FlyteError, match=f"the run of `{strange.name}` is not known: "):
        logs(target, strange)


@pytest.mark.parametrize(
    ("options", "datastore"),
    [
        (["--datastore=s3", "--datastore-root=s3://b/a=b", "--x"], ("s3", "s3://b/a=b")),
        (["--metadata=local"], None),
    ],
)
def test_the_task_of_a_local_run_writes_into_that(
    target: Target, tmp_path: Path, options: list[str], datastore: tuple[str, str] | None
) -> None:
    bundle, there = make_bundle(tmp_path / "a", domains=target.domains), target.at()
    site = site_of(bundle.manifest, there, target.deployment())
    tasks = push_tasks(bundle, site, there, ["fit"])
    task: dict[str, Any] = {"id": "3", "inputs": "1/start/2", "attempt": 1, "options": options}
    run = {"id": "17", "task": task}
    id = start_task(there, tasks.ids["fit"], code=tasks.code, run=run, person="{}")
    assert logs(target, id) == Logs("TrainFlow", "17", "fit", "3", 1, datastore)
