"""Tasks of a run that Metaflow drives, single steps on an earlier run, and runs that go on."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core.errors_pb2 import ContainerError

from mfbuild.runtime.arguments import parse
from mfbuild.runtime.ids import task_id
from mfbuild.runtime.run import Onto, Resume, Run, Task
from tests.runtime.containers import RUN, Containers, tarball

FLOW = """
import os
from metaflow import FlowSpec, Parameter, current, retry, step

def ran(name):
    with open(os.environ["RAN"], "a") as file:
        print(name, file=file)

class F(FlowSpec):
    items = Parameter("items", type=int, default=2)

    @step
    def start(self):
        ran("start")
        self.listed = list(range(self.items))
        self.next(self.body, foreach="listed")

    @retry(times=2)
    @step
    def body(self):
        ran(f"body {self.input}")
        self.attempt = current.retry_count
        self.twice = 2 * self.input
        if str(self.input) == os.environ.get("FAILS"):
            raise ValueError("on purpose")
        self.next(self.join)

    @step
    def join(self, inputs):
        ran("join")
        self.total = sum(i.twice for i in inputs)
        self.next(self.choose)

    @step
    def choose(self):
        ran("choose")
        self.next({"few": self.end, "many": self.big}, condition="size")

    @step
    def big(self):
        self.next(self.end)

    @step
    def end(self):
        ran("end")

if __name__ == "__main__":
    F()
""".replace('ran("choose")', 'ran("choose"); self.size = "few"')


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    env = {"RAN": str(tmp_path / "ran")}
    return Containers(tmp_path / "c", "flow.py", tarball({"flow.py": FLOW.encode()}), env)


def given(**run: Any) -> str:
    """The option for a run that is more than an id."""
    return f"--run {shlex.quote(json.dumps(run))}"


def ran(containers: Containers) -> list[str]:
    """What has run since the last call."""
    file = Path(containers.env["RAN"])
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def succeed(containers: Containers, *tasks: str, **env: str) -> None:
    for task in tasks:
        code, _, err = containers.run(task, 0, **env)
        assert code == 0, err


def test_a_run_is_an_id_or_says_more() -> None:
    assert Run.parse("", "x") == Run("flyte-x")
    assert Run.parse("17", "x") == Run("17")
    assert Run.parse('{"resume": {"run": "flyte-a"}}', "x") == Run(
        "flyte-x", resume=Resume("flyte-a")
    )
    assert Run.parse('{"onto": {"run": "flyte-a", "path": [0, 3]}}', "x") == Run(
        "flyte-x", onto=Onto("flyte-a", (0, 3))
    )
    task = {"id": "4", "inputs": "17/start/1", "split": 2, "options": ["--metadata=local"]}
    assert Run.parse(json.dumps({"id": "17", "task": task}), "x") == Run(
        "17", Task("4", "17/start/1", 2, options=("--metadata=local",))
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "newer": 1}',
        '{"resume": {"run": "a"}, "onto": {"run": "a"}}',
        '{"resume": {"run": "a", "newer": 1}}',
        '{"resume": {}}',
        '{"resume": "a"}',
        "{",
    ],
)
def test_a_run_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(ValueError, match=r"run|resume|lacks|Expecting"):
        Run.parse(text, "x")


def test_the_place_of_a_task_that_was_started_alone_is_the_run_s() -> None:
    places = ["--path", "0/1", "--split", "[]", "--count", "0", "--iteration", "0"]
    task = json.dumps({"id": "17", "task": {"id": "4", "inputs": "i", "attempt": 3}})
    alone = parse(["a", *places, "--run", task], {"FLYTE_ATTEMPT_NUMBER": "1"})
    assert (alone.path, alone.count, alone.attempt) == ((), None, 3)
    onto = json.dumps({"onto": {"run": "flyte-a", "path": [4]}})
    assert parse(["a", *places, "--run", onto], {}).path == (4,)


def metaflow_run(containers: Containers, *words: str) -> str:
    """The id of a run that Metaflow itself has made, on the containers' datastore."""
    file = containers.folder / "run-id"
    (containers.folder / "flow.py").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "flow.py", "run", f"--run-id-file={file}", *words],
        cwd=containers.folder,
        env=containers.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return file.read_text()


def tasks_of(containers: Containers, run: str, step: str) -> list[str]:
    """The pathspecs of a step's tasks, as `--input-paths` has them."""
    code = (
        "import json, metaflow; metaflow.namespace(None);"
        f"print(json.dumps(sorted(t.id for t in metaflow.Step('F/{run}/{step}'))))"
    )
    found = containers._last_line(["-c", code])
    return [f"{run}/{step}/{task}" for task in found]


def test_a_task_of_a_run_that_metaflow_drives(containers: Containers) -> None:
    run = metaflow_run(containers, "--items", "3")
    (start,) = tasks_of(containers, run, "start")
    bodies = tasks_of(containers, run, "body")
    ran(containers)
    body = {"id": "t-901", "inputs": start, "split": 2, "attempt": 1, "user_retries": 2}
    succeed(containers, f"body --split [] --path '' {given(id=run, task=body)}")
    join = {"id": "t-902", "inputs": ",".join(bodies)}
    succeed(containers, f"join --count 0 {given(id=run, task=join)}")
    assert ran(containers) == ["body 2", "join"]
    code = (
        "import json, metaflow; metaflow.namespace(None);"
        f"b = metaflow.Task('F/{run}/body/t-901'); j = metaflow.Task('F/{run}/join/t-902');"
        "print(json.dumps([b.data.twice, b.data.attempt, b.index, j.data.total]))"
    )
    assert containers._last_line(["-c", code]) == [4, 1, 2, 6]


def test_flyte_must_not_retry_a_task_that_metaflow_retries(containers: Containers) -> None:
    run = metaflow_run(containers)
    (start,) = tasks_of(containers, run, "start")
    body = {"id": "t-901", "inputs": start, "split": 1, "user_retries": 2}
    task = f"body {given(id=run, task=body)}"
    code, _, err = containers.run(task, FAILS="1")
    assert code == 0 and "ValueError: on purpose" in err
    error = containers.error(task).error
    assert error.kind == ContainerError.NON_RECOVERABLE
    assert error.message == "step `body` ended with exit code 1"


def test_a_task_that_got_nowhere_says_why(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": b"import nothing_like_it\n"}))
    body = {"id": "t-901", "inputs": "1/start/1"}
    task = f"body {given(id='1', task=body)}"
    assert containers.run(task)[0] == 0
    first, *_, missing, hint = containers.error(task).error.message.splitlines()
    assert first == "step `body` ended with exit code 1"
    assert missing == "ModuleNotFoundError: No module named 'nothing_like_it'"
    assert hint.startswith("hint: a step's image has Metaflow, ")


def test_the_first_step_has_its_parameters_from_metaflow_s_own_task(
    containers: Containers,
) -> None:
    run = metaflow_run(containers, "--items", "5")
    (parameters,) = tasks_of(containers, run, "_parameters")
    options = ["--metadata=local", "--datastore=local"]
    start = {"id": "t-900", "inputs": parameters, "options": options}
    task = f"start {given(id=run, task=start)}"
    succeed(containers, task)
    assert containers.outputs(task) == {"count": 5, "splits": [0, 1, 2, 3, 4]}


def whole_run(containers: Containers, **env: str) -> None:
    succeed(containers, "start", "body --split 0", "body --split 1", **env)
    succeed(containers, "join --count 2", "choose", "end", **env)


def test_a_single_step_on_what_a_run_has_left(containers: Containers) -> None:
    whole_run(containers)
    before = containers.artifacts(RUN)
    ran(containers)
    second = {"FLYTE_INTERNAL_EXECUTION_ID": "f2"}
    onto = {"run": RUN, "path": []}
    succeed(containers, f"join --count 0 {given(onto=onto)}", **second)
    succeed(containers, f"end {given(onto=onto)}", **second)
    inner = {"run": RUN, "path": [1]}
    succeed(containers, f"body --split [] {given(onto=inner)}", **second)
    assert ran(containers) == ["join", "end", "body 1"]
    found = containers.artifacts("flyte-f2")
    assert sorted(found) == ["body", "end", "join"]
    assert found["join"] == before["join"]
    assert containers.artifacts(RUN) == before


def test_a_step_has_no_run_to_stand_on(containers: Containers) -> None:
    succeed(containers, "start")
    for step, run, told in (
        ("join", "flyte-none", "step `start` of run `flyte-none` is not done"),
        ("end", RUN, "step `end` has no parent"),
    ):
        task = f"{step} {given(onto={'run': run})}"
        assert containers.run(task)[0] == 0
        error = containers.error(task).error
        assert (error.code, error.kind) == ("NoParent", ContainerError.NON_RECOVERABLE)
        assert told in error.message


RESUMED = {"FLYTE_INTERNAL_EXECUTION_ID": "f2"}


def test_a_run_goes_on_where_another_failed(containers: Containers) -> None:
    given_items = containers.inputs({"items": 2})
    succeed(containers, f"start {given_items}", "body --split 0")
    assert containers.run("body --split 1", FAILS="1")[0] == 1
    ran(containers)
    resume = given(resume={"run": RUN})
    tasks = [f"{task} {resume}" for task in ("start", "body --split 0", "body --split 1")]
    tasks += [f"{task} {resume}" for task in ("join --count 2", "choose", "end")]
    succeed(containers, *tasks, **RESUMED)
    assert ran(containers) == ["body 1", "join", "choose", "end"]
    assert containers.outputs(tasks[0]) == {"count": 2, "splits": [0, 1]}
    assert containers.outputs(tasks[4]) == {"choice": "end"}
    code = (
        "import json, metaflow; metaflow.namespace(None); run = metaflow.Run('F/flyte-f2');"
        "start = run['start'].task;"
        "print(json.dumps([run['join'].task.data.total, run.finished, start.origin_pathspec,"
        "  [t.data.items for t in run['_parameters']]]))"
    )
    first = task_id(RUN, "start")
    assert containers._last_line(["-c", code]) == [2, True, f"F/{RUN}/start/{first}", [2]]


def test_a_step_runs_again_with_all_that_follow_it(containers: Containers) -> None:
    whole_run(containers)
    ran(containers)
    again = given(resume={"run": RUN, "step": "join"})
    tasks = [f"{t} {again}" for t in ("start", "body --split 0", "body --split 1")]
    tasks += [f"{t} {again}" for t in ("join --count 2", "choose", "end")]
    succeed(containers, *tasks, **RESUMED)
    assert ran(containers) == ["join", "choose", "end"]


def test_there_is_no_run_to_go_on_with(containers: Containers) -> None:
    task = f"start {given(resume={'run': 'flyte-none'})}"
    code, _, err = containers.run(task)
    assert (code, "there is no run `flyte-none` of `F` to go on with" in err) == (0, True)
    assert containers.error(task).error.code == "UnknownRun"
