"""Steps of a local run on Flyte: `run --with flyte`, @flyte on a step, and one step of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild import __version__
from mfbuild.local.record.state import read_info
from tests.children import wait_for, wait_until
from tests.e2e.conftest import Done
from tests.metaflow_side.flows import Metaflow, hello, succeed, text

FLOW = """
import os
from metaflow import FlowSpec, Parameter, catch, current, flyte, retry, step


class Mixed(FlowSpec):
    count = Parameter("count", type=int, default=2)

    @step
    def start(self):
        self.where = [os.environ.get("FLYTE_INTERNAL_EXECUTION_ID", "")]
        self.items = list(range(self.count))
        self.next(self.body, foreach="items")

    {body}
    @retry(times=2, minutes_between_retries=0)
    @step
    def body(self):
        print("body", self.input, "attempt", current.retry_count)
        self.where = os.environ.get("FLYTE_INTERNAL_EXECUTION_ID", "")
        self.twice = 2 * self.input
        self.attempt = current.retry_count
        if self.input == 1 and current.retry_count == 0:
            raise ValueError("on purpose")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.wheres = [i.where for i in inputs]
        self.attempts = [i.attempt for i in inputs]
        self.next(self.lost)

    {lost}
    @catch(var="failure", print_exception=False)
    @step
    def lost(self):
        raise KeyError("lost")
        self.next(self.end)

    @step
    def end(self):
        self.caught = str(self.failure.type)
        self.tags = sorted(current.tags)


if __name__ == "__main__":
    Mixed()
"""


def mixed(metaflow: Metaflow, body: str = "@flyte", lost: str = "") -> Path:
    return metaflow.write("mixed.py", FLOW.format(body=body, lost=lost))


def run(metaflow: Metaflow, flow: Path, *words: str, **env: str) -> tuple[str, Done]:
    """A local run, and the id of it."""
    file = metaflow.root / "run-id"
    done = metaflow(flow, "run", "--run-id-file", str(file), *words, **env)
    return file.read_text() if file.exists() else "", done


def data(metaflow: Metaflow, run: str, step: str, *names: str) -> Any:
    """Artifacts of a step of a run."""
    listed = ", ".join(f"run({run!r})[{step!r}].task.data.{name}" for name in names)
    return metaflow.client(f"[{listed}]")


def test_only_the_steps_that_have_it_run_on_flyte(metaflow: Metaflow) -> None:
    flow = mixed(metaflow)
    id, done = run(metaflow, flow, "--tag", "mine")
    succeed(done)
    (wheres, attempts) = data(metaflow, id, "join", "wheres", "attempts")
    assert all(name.startswith("r") for name in wheres) and len(set(wheres)) == 2
    assert attempts == [0, 1]
    assert data(metaflow, id, "start", "where") == [[""]]
    told = done.out.replace("\x1b[K", "")
    assert told.count("Task is starting on Flyte (local/development/r") == 3
    assert "body 1 attempt 1" in told and "ValueError: on purpose" in told
    assert data(metaflow, id, "end", "caught", "tags")[1].count("mine") == 1
    logs = metaflow.client(f"[t.stdout for t in run({id!r})['body']]")
    assert sorted(logs) == ["body 0 attempt 0\n", "body 1 attempt 1\n"]
    user = metaflow.client(f"sorted(t for t in run({id!r})['body'].task.tags if 'user' in t)")
    assert user == ["user:ada"]
    here = replace(metaflow, cwd=flow.parent)
    runs = sorted(path.name for path in (flow.parent / ".mfbuild/runs").iterdir())
    lines = [succeed(here.python("-m", "mfbuild", "logs", name)).out for name in runs]
    said = sorted(line.partition(": ")[2] for out in lines for line in out.splitlines())
    assert [line for line in said if line[:4] == "body"] == [
        *("body 0 attempt 0", "body 1 attempt 0", "body 1 attempt 1"),
    ]
    assert [sum("body " in line for line in out.splitlines()) for out in lines] == [1, 1, 1]
    (failed,) = [out for out in lines if "ValueError: on purpose" in out]
    assert "body 1 attempt 0" in failed


def test_every_step_may_run_on_flyte(metaflow: Metaflow) -> None:
    flow = mixed(metaflow, body="")
    id, done = run(metaflow, flow, "--with", "flyte", "--count", "1")
    succeed(done)
    assert data(metaflow, id, "start", "where")[0][0].startswith("r")
    assert data(metaflow, id, "end", "caught") == ["builtins.KeyError"]


def test_nothing_but_tasks_is_registered(metaflow: Metaflow) -> None:
    flow = mixed(metaflow)
    succeed(run(metaflow, flow, "--count", "1")[1])
    kinds = {path.name for path in (flow.parent / ".mfbuild/flyte/local/development").iterdir()}
    assert kinds == {"task"}
    names = [p.name for p in (flow.parent / ".mfbuild/flyte/local/development/task").iterdir()]
    assert names == ["Mixed.body"]


def test_a_step_may_go_elsewhere(metaflow: Metaflow) -> None:
    flow = mixed(metaflow, "@flyte(domain='staging')", "@flyte(project='p')")
    _, done = run(metaflow, flow, "--count", "1")
    succeed(done)
    assert "starting on Flyte (local/staging/" in done.out
    assert "starting on Flyte (p/development/" in done.out


@pytest.mark.parametrize("other", ["kubernetes", "batch"])
def test_two_places_for_a_step_are_refused(metaflow: Metaflow, other: str) -> None:
    flow = mixed(metaflow, body=f"@flyte\n    @{other}")
    flow.write_text(flow.read_text().replace("import FlowSpec", f"import FlowSpec, {other}"))
    _, done = run(metaflow, flow)
    assert done.code == 1


def test_what_cannot_be_packaged_ends_the_run_before_it_begins(metaflow: Metaflow) -> None:
    flow = mixed(metaflow)
    (flow.parent / "BUILD.toml").write_text("[workspace]\nbase = 'none'\n")
    _, done = run(metaflow, flow)
    assert done.code == 1
    assert "Task is starting" not in done.out
    assert "none" in done.err and "Flyte:" in done.err


def test_a_failed_run_is_resumed_by_metaflow(metaflow: Metaflow) -> None:
    """The step that ran on Flyte is cloned, the one that failed runs there."""
    flow = mixed(metaflow, lost="@flyte")
    flow.write_text(
        flow.read_text()
        .replace('    @catch(var="failure", print_exception=False)\n', "")
        .replace("str(self.failure.type)", "self.failure")
    )
    id, done = run(metaflow, flow, "--count", "1")
    assert done.code == 1 and "KeyError: 'lost'" in done.out
    flow.write_text(flow.read_text().replace('raise KeyError("lost")', "self.failure = 7"))
    file = metaflow.root / "resumed"
    again = metaflow(flow, "resume", "--origin-run-id", id, "--run-id-file", str(file))
    succeed(again)
    assert again.out.count("Task is starting on Flyte") == 1
    assert data(metaflow, file.read_text(), "end", "caught") == [7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_run_ends_the_task(metaflow: Metaflow, number: signal.Signals) -> None:
    flow = metaflow.slow("@flyte")
    process = subprocess.Popen(
        [sys.executable, str(flow), "run"],
        cwd=flow.parent,
        env=metaflow.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_for(metaflow.started)
    os.killpg(process.pid, number)  # as a terminal does
    process.communicate()
    assert process.returncode != 0
    (folder,) = (flow.parent / ".mfbuild/runs").iterdir()
    wait_until(lambda: read_info(folder).phase == "aborted")


def test_one_step_of_a_registered_flow_on_a_run(metaflow: Metaflow) -> None:
    flow = mixed(metaflow, body="")
    file = metaflow.root / "run-id"
    succeed(metaflow(flow, "flyte", "run", "--count", "3", "--run-id-file", str(file)))
    origin = file.read_text()
    here = replace(metaflow, cwd=flow.parent)
    words = ("-m", "mfbuild", "trigger", "--json", "--wait", "--from-run", origin)

    def step(*more: str) -> str:
        found: str = json.loads(succeed(here.python(*words, *more)).out)["run"]
        return found.rpartition("/")[2]

    joined = step("Mixed:join")
    assert data(metaflow, joined, "join", "attempts") == [[0, 1, 0]]
    assert metaflow.client(f"[s.id for s in run({joined!r})]") == ["join"]
    body = step("mixed.py:body", "--path", "2")
    logs = succeed(here.python("-m", "mfbuild", "logs", body)).out
    assert [line.partition(": ")[2] for line in logs.splitlines()] == ["body 2 attempt 0"]
    assert data(metaflow, body, "body", "twice") == [4]
    told = here.python(*words, "Mixed:bodi")
    assert (
        told.code == 2
        and "error: there is no step `bodi`\n  hint: did you mean `body`?" in told.err
    )
    assert here.python(*words, "Mixed").code == 2
    assert here.python(*words, "Mixed:join", "--count", "1").code == 2
    assert here.python(*words, "Mixed:body", "--path", "x").code == 2
    missing = here.python(*words[:-1], "flyte-none", "Mixed:end")
    assert missing.code == 1
    assert "NoParent: step `end` has no parent: flyte-none/lost/t-" in missing.err


def test_a_flow_that_uses_no_flyte_starts_nothing_of_mfbuild(
    metaflow: Metaflow, tmp_path: Path
) -> None:
    """`python flow.py run` imports the extension, and no module of what it stands for."""
    flow = hello(tmp_path / "flows/flow.py", "@flyte")
    flow.write_text(
        flow.read_text().replace(
            "        print(self.greeting)",
            "        import sys\n        print([m for m in sys.modules if m[:7] == 'mfbuild'])",
        )
    )
    _, done = run(metaflow, flow)
    assert " []" in succeed(done).out
    extension = f"+mfbuild({__version__})"  # as Metaflow's first line has every extension
    assert "mfbuild" not in text(done).replace(extension, "")
