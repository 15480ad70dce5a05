"""Attempts that fail, are caught, time out or are ended, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from flyteidl.core.errors_pb2 import ContainerError

from tests.children import alive, wait_until
from tests.runtime.containers import RUN, Containers, tarball, task

FLOW = """
import os, subprocess, sys, time
from metaflow import FlowSpec, catch, current, retry, step, timeout


class F(FlowSpec):
    @retry(times=2)
    @step
    def start(self):
        self.attempt = current.retry_count
        print("out of attempt", self.attempt, flush=True)
        print("err of attempt", self.attempt, file=sys.stderr)
        if current.retry_count == 0:
            raise ValueError("on purpose")
        self.next(self.caught)

    @catch(var="failure", print_exception=False)
    @retry(times=1)
    @step
    def caught(self):
        self.ran = True
        raise KeyError("lost")
        self.next(self.slow)

    @timeout(seconds=1)
    @step
    def slow(self):
        time.sleep(60)
        self.next(self.killed)

    @step
    def killed(self):
        print("before", end="", flush=True)
        os.kill(os.getpid(), 9)
        self.next(self.ended)

    @step
    def ended(self):
        print("now", flush=True)
        time.sleep(60)
        self.next(self.end)

    @step
    def end(self):
        sleeper = subprocess.Popen(["sleep", "60"])
        print(sleeper.pid, flush=True)


if __name__ == "__main__":
    F()
"""


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(tmp_path, "flow.py", tarball({"flow.py": FLOW.encode()}))


def test_a_failed_attempt_is_followed_by_another_of_the_same_task(containers: Containers) -> None:
    code, out, err = containers.run("start --user-retries 2")
    assert (code, out) == (1, "out of attempt 0\n")
    assert "err of attempt 0\n" in err and "ValueError: on purpose" in err
    assert containers.run("start --user-retries 2", attempt=1)[0] == 0
    assert containers.client(
        "[[t.id for t in run['start']], [t.id for t in run['_parameters']],"
        " run['start'].task.data.attempt, run['start'].task.stdout,"
        " [line for _, line in run['start'].task.loglines('stdout')]]"
    ) == [
        [task("start")],
        [task("start") + "-params"],
        1,
        "out of attempt 1\n",
        ["out of attempt 1"],
    ]
    logs = containers.folder / f".metaflow/F/{RUN}/start/{task('start')}"
    assert b"]out of attempt 0\n" in (logs / "0.task_stdout.log").read_bytes()
    assert b"ValueError: on purpose\n" in (logs / "0.task_stderr.log").read_bytes()


def test_catch_swallows_the_last_attempt_and_stands_in_after_it(containers: Containers) -> None:
    assert containers.run("start", attempt=1)[0] == 0
    assert containers.run("caught --user-retries 1")[0] == 1
    assert containers.run("caught --user-retries 1", attempt=1)[0] == 0
    data = "run['caught'].task.data"
    assert containers.client(f"[{data}.ran, str({data}.failure.exception)]") == [True, "'lost'"]
    # the pod was lost in the last attempt: Flyte makes one more, which must not run the step
    assert containers.run("caught --user-retries 1", attempt=2)[0] == 0
    assert containers.client(f"['ran' in {data}, str({data}.failure.exception)]") == [
        False,
        "Task execution kept failing over 2 attempts. Your code did not raise an exception. "
        "Something in the execution environment caused the failure.",
    ]


def test_an_attempt_waits_for_what_is_left_of_the_delay(containers: Containers) -> None:
    begin = time.time()
    assert containers.run("start")[0] == 1
    with containers.popen("start --retry-delay 5000", attempt=1) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    left = int(said.removeprefix("waiting ").removesuffix(" s before attempt 1\n"))
    assert 5000 - (time.time() - begin) - 1 <= left <= 5000
    code, out, _ = containers.run("start --retry-delay 0.001", attempt=1)
    assert (code, out) == (0, "out of attempt 1\n")


def test_a_step_past_its_time_fails(containers: Containers) -> None:
    _run_before(containers, "start", "caught")
    code, _, err = containers.run("slow")
    assert code == 1
    assert "Step slow timed out after 0 hours, 0 minutes, 1 seconds" in err


def test_a_killed_step_leaves_its_logs(containers: Containers) -> None:
    _run_before(containers, "start", "caught")
    _pretend(containers, "slow")
    code, out, err = containers.run("killed")
    assert (code, out) == (128 + signal.SIGKILL, "before")
    assert err.endswith("the step was ended by SIGKILL\n")
    assert containers.client("[run['killed'].task.stdout, run['killed'].task.stderr]") == [
        "before\n",
        "the step was ended by SIGKILL\n",
    ]


def test_logs_are_shipped_while_the_step_runs_and_when_it_is_ended(containers: Containers) -> None:
    _run_before(containers, "start", "caught")
    _pretend(containers, "slow", "killed")
    log = containers.folder / f".metaflow/F/{RUN}/ended/{task('ended')}/0.task_stdout.log"
    with containers.popen("ended") as process:
        wait_until(lambda: log.exists() and b"]now\n" in log.read_bytes())
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    assert containers.client("run['ended'].task.stdout") == "now\n"


def test_a_step_dies_with_its_container(containers: Containers) -> None:
    _run_before(containers, "start", "caught")
    _pretend(containers, "slow", "killed")
    with containers.popen("ended") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        step = int(children.read_text().split()[0])
        process.kill()
    wait_until(lambda: not alive(step))


def test_what_a_step_leaves_behind_does_not_hold_it_up(containers: Containers) -> None:
    _run_before(containers, "start", "caught")
    _pretend(containers, "slow", "killed", "ended")
    with containers.popen("end") as process:
        assert process.stdout is not None
        sleeper = int(process.stdout.readline())
        try:
            assert process.wait() == 0
            assert alive(sleeper)
        finally:
            os.kill(sleeper, signal.SIGKILL)


def test_an_attempt_past_metaflows_limit_is_the_last(containers: Containers) -> None:
    code, _, err = containers.run("start", attempt=6)
    assert code == 0
    assert "attempt 6 of step `start` is past the 6" in err
    error = containers.error("start").error
    assert (error.code, error.kind) == ("TooManyAttempts", ContainerError.NON_RECOVERABLE)
    assert not (containers.folder / ".metaflow").exists()


def _run_before(containers: Containers, *steps: str) -> None:
    for step in steps:
        assert containers.run(step, attempt=1)[0] == 0


def _pretend(containers: Containers, *steps: str) -> None:
    """Make steps that cannot succeed look as if they had: a copy of a step that did."""
    root = containers.folder / f".metaflow/F/{RUN}"
    for step in steps:
        (root / step).mkdir(exist_ok=True)
        done = root / "caught" / task("caught")
        subprocess.run(["cp", "-r", done, root / step / task(step)], check=True)
