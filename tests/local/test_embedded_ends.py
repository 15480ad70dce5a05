"""How executions end that do not end by themselves, and how they outlive who has started them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfbuild.errors import FlyteError
from mfbuild.flyte.names import RUN
from mfbuild.local.record import lock as hold
from mfbuild.local.record.state import RunState, read_info, read_journal
from tests.children import WAIT, alive, child, let_go, line, wait_for, wait_until
from tests.e2e.conftest import Runner
from tests.local.compared import settings
from tests.local.driving import info
from tests.local.registering import backend
from tests.local.starting import Workspace, id_of, workspace

START = "tests.local.starting"
"""A process that starts the execution `r1` of the flow there."""
_RANDOM = random.Random(20260102)

SLOW = """
import os, time
from metaflow import FlowSpec, step

class Flow(FlowSpec):
    @step
    def start(self):
        pid = os.environ["PID_FILE"]
        with open(pid + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(pid + ".new", pid)
        while not os.path.exists(pid + ".go"):
            time.sleep(0.02)
        self.next(self.end)
    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""


class Slow(Workspace):
    """A flow whose first step waits until it is let go."""

    @property
    def pid_file(self) -> Path:
        return self.root / "pid"

    def pid(self) -> int:
        """The process of the step, as soon as it is there."""
        wait_for(self.pid_file)
        return int(self.pid_file.read_text())

    def go(self) -> None:
        self.root.joinpath("pid.go").touch()

    @property
    def folder(self) -> Path:
        return self.root / ".mfbuild/runs/r1"

    def performer(self) -> int:
        """The process that performs the run `r1`."""
        return int((self.folder / hold.LOCK).read_text().split()[0])


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Slow:
    """The flow, pushed once."""
    root = tmp_path_factory.mktemp("pushed")
    found = Slow(root, backend(root))
    found.push(SLOW)
    return found


@pytest.fixture
def slow(pushed: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The flow in a workspace that was moved here."""
    root = Path(shutil.copytree(pushed.root, tmp_path / "here"))
    monkeypatch.chdir(root)
    for name, value in {**settings(root), "PID_FILE": str(root / "pid")}.items():
        monkeypatch.setenv(name, value)
    with workspace(root) as found:
        yield Slow(found.root, found.backend, pushed.launch_plan)


def test_an_execution_outlives_whoever_started_it(slow: Slow) -> None:
    with child(START, slow.root, "stay") as process:
        assert line(process) == "started"
        step = slow.pid()
        performer = slow.performer()
        assert os.getsid(performer) not in (os.getsid(process.pid), os.getsid(0))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert children == ""  # not even a zombie
        os.killpg(process.pid, signal.SIGHUP)  # as a terminal that is closed does
        assert process.wait(WAIT) == -signal.SIGHUP
    assert alive(step)
    assert slow.get("r1").phase == "running"
    files = [str(Path(f"/proc/{performer}/fd/{number}").readlink()) for number in range(3)]
    assert files == ["/dev/null", *[str(slow.folder / "output")] * 2]
    slow.go()
    assert slow.wait("r1").phase == "succeeded"
    wait_until(lambda: not alive(performer))


def test_a_terminated_execution_leaves_nothing_running(slow: Slow) -> None:
    slow.start("r1")
    step, performer = slow.pid(), slow.performer()
    slow.backend.executions.terminate(id_of("r1"), "it takes too long")
    ended = slow.get("r1")
    assert (ended.phase, ended.error) == ("aborted", "it takes too long")
    assert ended.ended is not None
    assert slow.phases("r1") == {"start": "aborted"}
    assert not alive(step)
    wait_until(lambda: not alive(performer))
    slow.backend.executions.terminate(id_of("r1"), "again")
    assert slow.get("r1") == ended
    with pytest.raises(FlyteError, match="there is no execution `r2`"):
        slow.backend.executions.terminate(id_of("r2"), "never begun")


def test_an_execution_may_be_terminated_before_it_begins(slow: Slow) -> None:
    names = [f"r{number}" for number in range(1, 6)]
    for name in names:
        slow.start(name)
        slow.backend.executions.terminate(id_of(name), "at once")
    assert {(slow.get(n).phase, slow.get(n).error) for n in names} == {("aborted", "at once")}
    assert not slow.pid_file.exists()


def test_a_terminated_execution_is_resumed(slow: Slow, mfbuild: Runner) -> None:
    slow.start("r1")
    slow.pid()
    slow.backend.executions.terminate(id_of("r1"), "for now")
    slow.go()
    again = mfbuild("resume", "r1", cwd=slow.root)
    assert again.code == 0, again.err
    assert (slow.get("r1").phase, slow.get("r1").error) == ("succeeded", None)
    assert slow.phases("r1") == {"start": "succeeded", "end": "succeeded"}


def test_terminate_ends_a_run_in_the_foreground_too(slow: Slow) -> None:
    command = [sys.executable, "-m", "mfbuild", "run", "flow.py", "--in", "host"]
    with subprocess.Popen(command, cwd=slow.root, stderr=subprocess.PIPE) as process:
        step = slow.pid()
        (execution,) = slow.backend.executions.list("local", "local")
        assert execution.phase == "running"
        slow.backend.executions.terminate(execution.id, "enough")
        assert process.wait(WAIT) == 130
    assert not alive(step)
    (execution,) = slow.backend.executions.list("local", "local")
    assert (execution.phase, execution.error) == ("aborted", "enough")


def test_an_execution_that_was_killed_is_seen_to_be(slow: Slow, mfbuild: Runner) -> None:
    slow.start("r1")
    step = slow.pid()
    os.kill(slow.performer(), signal.SIGKILL)
    lost = slow.wait("r1")
    assert lost.phase == "aborted"
    assert lost.error == (
        f"the process of the run has ended without a word (see {slow.folder / 'output'})"
    )
    assert slow.phases("r1") == {"start": "aborted"}
    wait_until(lambda: not alive(step))
    slow.backend.executions.terminate(id_of("r1"), "too late")
    assert slow.get("r1") == lost
    slow.go()
    again = mfbuild("resume", "r1", cwd=slow.root)
    assert again.code == 0, again.err
    assert slow.get("r1").phase == "succeeded"


def test_one_that_does_not_end_is_killed(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfbuild.local.embedded.executions._GRACE", 0.5)
    slow.start("r1")
    step = slow.pid()
    performer = slow.performer()
    os.kill(performer, signal.SIGSTOP)
    slow.backend.executions.terminate(id_of("r1"), "it hangs")
    assert (slow.get("r1").phase, slow.get("r1").error) == ("aborted", "it hangs")
    wait_until(lambda: not alive(performer) and not alive(step))


def test_a_stranger_with_the_same_number_is_left_alone(slow: Slow) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        slow.start("r1")
        slow.pid()
        performer = slow.performer()
        os.kill(performer, signal.SIGKILL)
        wait_until(lambda: slow.get("r1").is_done)
        lock = slow.folder / hold.LOCK
        lock.write_text(lock.read_text().replace(str(performer), str(stranger.pid), 1))
        assert not hold.end(slow.folder, "cause")
        slow.backend.executions.terminate(id_of("r1"), "cause")
        assert stranger.poll() is None
        stranger.communicate(b"\n")
        assert stranger.returncode == 0


def test_one_that_runs_elsewhere_is_left_alone(tmp_path: Path) -> None:
    with RunState.create(tmp_path, info("r1")) as state:
        assert hold.is_held(state.folder)
        lock = state.folder / hold.LOCK
        lock.write_text(f"{os.getpid()} another.machine 1")
        with pytest.raises(Exception, match="the run `r1` is running elsewhere: end it there"):
            hold.end(state.folder, "cause")
        assert hold.cause_of(state.folder) is None
    assert not hold.is_held(state.folder)


def test_whoever_asks_is_never_taken_for_whoever_runs(tmp_path: Path) -> None:
    with RunState.create(tmp_path, info("r1")) as state:
        folder = state.folder
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            hold.is_held(folder)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            with RunState.reopen(folder):
                pass
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_the_same_call_again_is_the_same_execution(slow: Slow) -> None:
    slow.start("r1")
    slow.pid()
    slow.start("r1")
    with pytest.raises(FlyteError, match="there is another execution `r1`"):
        slow.start("r1", **{RUN: "other"})
    slow.go()
    assert slow.wait("r1").phase == "succeeded"
    slow.start("r1")
    assert len([e for e in read_journal(slow.folder) if e.phase == "running"]) == 2


def test_many_that_start_at_once(slow: Slow) -> None:
    with child(START, slow.root, "race") as one, child(START, slow.root, "race") as two:
        let_go(one, two)
        assert [line(one), line(two)] == ["started", "started"]
    threads = [threading.Thread(target=slow.start, args=(f"t{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow.go()
    names = ["r1", *(f"t{n}" for n in range(5))]
    assert {slow.wait(name).phase for name in names} == {"succeeded"}
    for name in names:
        journal = read_journal(slow.root / ".mfbuild/runs" / name)
        assert [e.node for e in journal if e.phase == "running"] == ["start", "end"]


@pytest.mark.parametrize("moment", sorted(_RANDOM.sample(range(1, 33), 10)))
def test_a_start_may_be_killed_at_any_moment(slow: Slow, moment: int) -> None:
    slow.go()
    with child(START, slow.root, "kill", moment) as process:
        process.communicate(timeout=WAIT)
        assert process.returncode == -signal.SIGKILL
    begun = slow.backend.executions.get(id_of("r1"))
    assert begun is None or begun.phase in ("queued", "running", "succeeded", "aborted")
    slow.start("r1")
    assert slow.wait("r1").phase == "succeeded"
    assert [e.node for e in read_journal(slow.folder) if e.phase == "running"] == ["start", "end"]
    assert [p.name for p in (slow.root / ".mfbuild/runs").iterdir()] == ["r1"]
    assert list((slow.root / ".mfbuild/flyte/tmp").iterdir()) == []


def test_a_full_disk_keeps_an_execution_from_starting(slow: Slow) -> None:
    with child(START, slow.root, "full", 1) as process:
        said = json.loads(line(process))
        assert said == "the embedded backend cannot be used: file too large"
        assert process.wait(WAIT) == 1
    assert slow.backend.executions.get(id_of("r1")) is None
    slow.go()
    slow.start("r1")
    assert slow.wait("r1").phase == "succeeded"
    assert read_info(slow.folder).owner == "ada"
