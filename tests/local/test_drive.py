"""Runs of shell tasks: side by side, cut off, resumed, interrupted, with nothing left over."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from mfbuild.errors import Interrupted, RunError
from mfbuild.local.record.state import read_journal
from tests.children import alive, wait_for
from tests.local.driving import driving, outputs, put, run, shell
from tests.local.workflows import (
    closure,
    constant,
    futures,
    node,
    number,
    promise,
    task,
)


def test_no_more_than_the_workers_run_at_once(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(6)]
    given = closure([node(n) for n in names], [shell(n, "sleep 0.05") for n in names])
    assert run(tmp_path, given, workers=3).seen.most == 3


def test_a_failure_ends_what_runs_and_names_the_node(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    given = closure(
        [node("bad"), node("slow")],
        [
            shell("bad", f"while ! test -s {pid}; do sleep 0.01; done; exit 7"),
            shell("slow", f"echo $$ > {pid}; exec sleep 60"),
        ],
    )
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.attempt is not None
    assert (ran.failure.attempt.node, ran.failure.failure.message) == ("bad", "exit code 7")
    assert ("slow", 0, "aborted", False) in ran.seen.ended_
    assert not alive(int(pid.read_text()))


def test_a_command_that_does_not_exist_is_the_task_s_failure(tmp_path: Path) -> None:
    ran = run(tmp_path, closure([node("start")], [task("start", ["/no/such/program"])]))
    assert ran.failure is not None
    assert ran.failure.failure.message == "exit code 127"
    assert "cannot run `/no/such/program`" in ran.log("start/0")


def test_resume_reuses_what_succeeded_and_counts_on(tmp_path: Path) -> None:
    source = outputs(tmp_path, n=number(1))
    mend = tmp_path / "mended"
    given = closure(
        [node("start"), node("middle", inputs={"n": promise("start", "n")}), node("end", "middle")],
        [
            shell("start", f"cp {source} $0/outputs.pb", outputs=["n"]),
            shell(
                "middle", f"echo $1 $FLYTE_ATTEMPT_NUMBER; test -e {mend}", args=["{{.inputs.n}}"]
            ),
            shell("end", "true"),
        ],
    )
    assert run(tmp_path, given).failure is not None
    mend.touch()
    ran = run(tmp_path, given, resume=True)
    assert ran.failure is None
    assert ran.seen.ended_ == [("middle", 1, None, False), ("end", 0, None, False)]
    assert ran.log("middle/1") == "1 1\n"


def test_resume_goes_into_what_a_dynamic_task_began(tmp_path: Path) -> None:
    mend = tmp_path / "mended"
    inner = futures(
        [node("a"), node("b")],
        [shell("a", "true"), shell("b", f"test -e {mend}")],
        {"n": constant(2)},
    )
    assert inner.futures is not None
    source = put(tmp_path, "futures.pb", inner.futures.SerializeToString())
    given = closure([node("fan")], [shell("fan", f"cp {source} $0/futures.pb", outputs=["n"])])
    assert run(tmp_path, given, workers=1).failure is not None
    mend.touch()
    assert run(tmp_path, given, resume=True).seen.ended_ == [("fan.b", 1, None, False)]


def test_a_run_that_is_running_cannot_be_resumed(tmp_path: Path) -> None:
    given = closure([node("start")], [shell("start", "true")])
    with (
        driving(tmp_path, given, {}, resume=False, workers=1),
        pytest.raises(RunError, match="the run `r1` is running"),
    ):
        run(tmp_path, given, resume=True)


def test_an_interrupt_ends_all_and_is_recorded(tmp_path: Path) -> None:
    pid, grandchild = tmp_path / "pid", tmp_path / "grandchild"
    script = f"sleep 60 & echo $! > {grandchild}; echo $$ > {pid}; wait"

    def interrupt() -> None:
        wait_for(pid)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with driving(
        tmp_path, closure([node("slow")], [shell("slow", script)]), {}, resume=False, workers=1
    ) as (drive, _):
        thread.start()
        with pytest.raises(Interrupted):
            drive.run()
    thread.join()
    assert not alive(int(pid.read_text()))
    assert not alive(int(grandchild.read_text()))
    assert [e.phase for e in read_journal(tmp_path / "runs/r1")] == ["running", "aborted"]


def test_a_process_that_left_its_group_is_killed_at_the_end(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sleep 60 & echo $! > {pid}"
    run(tmp_path, closure([node("start")], [shell("start", script)]))
    assert not alive(int(pid.read_text()))


def test_a_launcher_that_dies_is_a_system_failure_and_replaced(tmp_path: Path) -> None:
    script = "test $FLYTE_ATTEMPT_NUMBER = 1 || { kill -9 $PPID; sleep 60; }"
    ran = run(tmp_path, closure([node("start")], [shell("start", script)]))
    assert ran.failure is None
    assert [n for _, n, *_ in ran.seen.ended_] == [0, 1]
