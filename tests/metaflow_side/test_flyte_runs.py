"""`flow.py flyte …`: runs are triggered, watched, listed and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.children import wait_for, wait_until
from tests.metaflow_side.flows import Metaflow, hello, succeed, text

PARAMETERS = """
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step


class Given(FlowSpec):
    whole = Parameter("whole", type=int, default=1)
    ratio = Parameter("ratio", type=float, required=True)
    flag = Parameter("a-flag", type=bool, default=True)
    table = Parameter("table", type=JSONType, default={"a": 1})
    listed = Parameter("listed", separator=",", default="x")
    nothing = Parameter("nothing", type=str)
    file = IncludeFile("file", required=False)

    @step
    def start(self):
        self.seen = [self.whole, self.ratio, self.flag, self.table, self.listed, self.nothing]
        self.text = self.file
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Given()
"""


@pytest.fixture
def given(metaflow: Metaflow) -> Path:
    """A deployed flow with parameters of every kind."""
    flow = metaflow.write("given.py", PARAMETERS)
    succeed(metaflow(flow, "flyte", "create"))
    return flow


def test_parameters_arrive_as_they_were_given(metaflow: Metaflow, given: Path) -> None:
    (metaflow.root / "included.txt").write_text("hello")
    words = ["--whole", "-7", "--ratio", "0.5", "--a-flag", "false", "--table", '[1, "é"]']
    words += ["--listed", "a,b", "--nothing", "some", "--file", str(metaflow.root / "included.txt")]
    run = metaflow.triggered(given, *words)
    seen = f"run({run!r})['start'].task.data"
    assert metaflow.client(f"[{seen}.seen, {seen}.text]") == [
        [-7, 0.5, False, [1, "é"], ["a", "b"], "some"],
        "hello",
    ]
    run = metaflow.triggered(given, "--ratio", "2")
    seen = f"run({run!r})['start'].task.data"
    assert metaflow.client(f"[{seen}.seen, {seen}.text]") == [
        [1, 2.0, True, {"a": 1}, ["x"], None],
        None,
    ]


def test_a_variable_may_give_a_parameter(metaflow: Metaflow, given: Path) -> None:
    """As click has it for every command of Metaflow."""
    done = metaflow(given, "flyte", "trigger", "--wait", METAFLOW_FLYTE_TRIGGER_RATIO="3.5")
    assert "succeeded" in text(succeed(done))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing option '--ratio'"),
        (("--ratio", "x"), "Invalid value for '--ratio': x is not a valid floating point value"),
        (("--ratio", "1", "--whole", str(2**70)), "must fit into 64 bits"),
        (("--ratio", "1", "--table", "{"), "is not a valid JSON"),
        (("--ration", "1"), "no such option: --ration"),
    ],
)
def test_wrong_parameters_start_nothing(
    metaflow: Metaflow, given: Path, words: tuple[str, ...], message: str
) -> None:
    done = metaflow(given, "flyte", "trigger", *words)
    assert done.code != 0 and message in text(done)
    assert succeed(metaflow(given, "flyte", "list-runs")).out == ""


def test_a_run_that_nobody_has_deployed(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = hello(tmp_path / "flows/flow.py")
    done = metaflow(flow, "flyte", "trigger")
    assert done.code == 1
    assert "nothing is registered as `Hello` in local/development" in text(done)


FAILING = """
from metaflow import FlowSpec, step


class Failing(FlowSpec):
    @step
    def start(self):
        raise ValueError("on purpose")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Failing()
"""


def test_a_run_that_fails_fails_who_waits_for_it(metaflow: Metaflow) -> None:
    flow = metaflow.write("failing.py", FAILING)
    file = metaflow.root / "run-id"
    done = metaflow(flow, "flyte", "run", "--run-id-file", str(file))
    assert done.code == 1
    run = file.read_text()
    assert f"Run {run} failed: node `start`: exit code 1" in text(done)
    assert "ValueError: on purpose hint: its logs: mfbuild logs " in text(done)
    told = succeed(metaflow(flow, "flyte", "status", run))
    assert told.out == "Failed\n"
    assert "exit code 1" in told.err


def test_run_deploys_what_is_written_now_and_leaves_what_is_active(
    metaflow: Metaflow, tmp_path: Path
) -> None:
    flow = hello(tmp_path / "flows/flow.py")
    succeed(metaflow(flow, "flyte", "create"))
    flow.write_text(flow.read_text().replace("hello, ", "goodbye, "))
    file = tmp_path / "run-id"
    words = ("flyte", "run", "--run-id-file", str(file), "--who", "you")
    assert "succeeded" in text(succeed(metaflow(flow, *words)))
    greeting = "run({!r})['start'].task.data.greeting"
    first = file.read_text()
    assert metaflow.client(greeting.format(first)) == "goodbye, you"
    run = metaflow.triggered(flow)
    assert metaflow.client(greeting.format(run)) == "hello, world"
    listed = json.loads(succeed(metaflow(flow, "flyte", "list-runs", "--as-json")).out)
    assert [r["run_id"] for r in listed] == [run, first]
    assert {r["status"] for r in listed} == {"Succeeded"}
    assert listed[0]["version"] != listed[1]["version"]
    assert succeed(metaflow(flow, "flyte", "list-runs", "--max-runs", "1")).out.startswith(run)
    damaged = flow.parent / ".mfbuild/runs" / run.removeprefix("flyte-")
    (damaged / "run.json").write_text("{")
    again = succeed(metaflow(flow, "flyte", "list-runs", "--as-json"))
    assert [r["run_id"] for r in json.loads(again.out)] == [first]
    assert (
        again.err.count(f"warning: left out the run `{damaged.name}`: the record of the run") == 1
    )
    assert metaflow(flow, "flyte", "status", run).code == 1


@pytest.fixture
def slow(metaflow: Metaflow) -> Path:
    """A deployed flow that runs until it is ended."""
    flow = metaflow.slow()
    succeed(metaflow(flow, "flyte", "create"))
    return flow


def test_triggering_returns_while_the_run_goes_on(metaflow: Metaflow, slow: Path) -> None:
    file = metaflow.root / "run-id"
    succeed(metaflow(slow, "flyte", "trigger", "--run-id-file", str(file)))
    run = file.read_text()
    wait_for(metaflow.started)
    assert succeed(metaflow(slow, "flyte", "status", run)).out == "Running\n"
    other = {"METAFLOW_USER": "eve", "HOME": str(metaflow.root / "other")}
    refused = metaflow(slow, "flyte", "terminate", run, **other)
    assert refused.code == 1 and "Incorrect production token" in refused.err
    assert f"Run {run} terminated." in text(succeed(metaflow(slow, "flyte", "terminate", run)))
    assert succeed(metaflow(slow, "flyte", "status", f"Slow/{run}")).out == "Aborted\n"
    again = succeed(metaflow(slow, "flyte", "terminate", run))
    assert f"Run {run} had ended: Aborted." in text(again)


def test_who_stops_waiting_leaves_the_run_alone(metaflow: Metaflow, slow: Path) -> None:
    file = metaflow.root / "run-id"
    process = subprocess.Popen(
        [sys.executable, str(slow), "flyte", "run", "--run-id-file", str(file)],
        cwd=slow.parent,
        env=metaflow.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(metaflow.started)
    wait_until(lambda: file.exists() and file.read_text() != "")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "goes on: see flyte status, flyte terminate." in told
    run = file.read_text()
    assert succeed(metaflow(slow, "flyte", "status", run)).out == "Running\n"
    succeed(metaflow(slow, "flyte", "terminate", run))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("17", "`17` is no run of Flyte: their ids begin with `flyte-`"),
        ("flyte-none", "there is no execution `none` in local/development"),
    ],
)
def test_a_run_that_is_none(metaflow: Metaflow, tmp_path: Path, run: str, message: str) -> None:
    flow = hello(tmp_path / "flows/flow.py")
    for command in ("status", "terminate"):
        done = metaflow(flow, "flyte", command, run)
        assert done.code == 1 and message in text(done)


def test_a_flow_of_a_package_from_another_folder(metaflow: Metaflow) -> None:
    """The flow imports its neighbour; the workspace is the one around it, and not the caller's."""
    package = metaflow.root / "repository/package/flows"
    flow = hello(package / "flow.py")
    (metaflow.root / "repository/BUILD.toml").write_text("")
    (package / "words.py").write_text("HELLO = 'good morning, '\n")
    text_ = flow.read_text().replace("from metaflow", "import words\nfrom metaflow", 1)
    flow.write_text(text_.replace('f"hello, {self.who}"', "words.HELLO + self.who"))
    away = metaflow.root / "away"
    away.mkdir()
    there = replace(metaflow, cwd=away)
    relative = Path(os.path.relpath(flow, away))
    file = metaflow.root / "run-id"
    done = there(relative, "flyte", "run", "--who", "you", "--run-id-file", str(file))
    assert "succeeded" in text(succeed(done))
    greeting = f"run({file.read_text()!r})['start'].task.data.greeting"
    assert metaflow.client(greeting) == "good morning, you"
    assert (metaflow.root / "repository/.mfbuild/runs").is_dir()
    assert list(away.iterdir()) == []
