"""Workflows of small shell tasks, run as real processes that follow the container contract."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core.errors_pb2 import ContainerError, ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.store import Store
from mfbuild.errors import Interrupted
from mfbuild.local.contract import Execution
from mfbuild.local.drive import Drive
from mfbuild.local.executor import Processes
from mfbuild.local.host import Host
from mfbuild.local.interpreter import Interpreter
from mfbuild.local.model import Attempt, Closure, Failure, NodeFailure, RunError
from mfbuild.local.state import RunInfo, RunState, read_journal, recalled
from mfbuild.local.toolbox import lay_toolbox
from tests.local.workflows import (
    array,
    closure,
    constant,
    futures,
    node,
    number,
    numbers,
    promise,
    switch,
    task,
    text,
)


@dataclass
class Seen:
    """A watcher that remembers."""

    ended_: list[tuple[str, int, str | None, bool]] = field(default_factory=list)
    running: int = 0
    most: int = 0

    def started(self, attempt: Attempt) -> None:
        self.running += 1
        self.most = max(self.most, self.running)

    def ended(self, attempt: Attempt, seconds: float, failure: Failure | None, again: bool) -> None:
        self.running -= 1
        reason = failure.message if failure else None
        self.ended_.append((attempt.node, attempt.number, reason, again))

    def tick(self) -> None:
        pass


@dataclass
class Ran:
    failure: NodeFailure | None
    seen: Seen
    folder: Path
    machine: Interpreter

    def log(self, attempt: str) -> str:
        return (self.folder / "nodes" / attempt / "log").read_text()


def info(name: str = "r1") -> RunInfo:
    return RunInfo(name, "Flow", f"flyte-{name}", "/flow.py", "v", "host", 1.0)


@contextmanager
def driving(
    folder: Path, given: Closure, inputs: Mapping[str, Any], *, resume: bool, workers: int
) -> Iterator[tuple[Drive, Seen]]:
    runs = folder / "runs"
    with Store.open(folder / "store") as store:
        place = Host(Path(sys.executable), lay_toolbox(store), os.environ)
        opened = RunState.reopen(runs / "r1") if resume else RunState.create(runs, info())
        with opened as state:
            nodes = state.folder / "nodes"
            known = recalled(state.folder, nodes)
            from mfbuild.local.model import Recalled

            machine = Interpreter(given, inputs, lambda name: known.get(name, Recalled()))
            seen = Seen()
            execution = Execution("p", "local", "Flow", "r1", nodes)
            executor = Processes(place, state.folder / "launchers")
            yield Drive(machine, executor, execution, state, seen, workers, os.environ), seen


def run(
    folder: Path,
    given: Closure,
    inputs: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    workers: int = 2,
) -> Ran:
    with driving(folder, given, inputs or {}, resume=resume, workers=workers) as (drive, seen):
        failure = drive.run()
        return Ran(failure, seen, folder / "runs/r1", drive.machine)


def shell(name: str, script: str, **more: Any) -> Any:
    return task(name, ["/bin/sh", "-c", script, "{{.outputPrefix}}", *more.pop("args", ())], **more)


def put(folder: Path, name: str, data: bytes) -> str:
    """A file that a task can copy into its outputs."""
    (folder / name).write_bytes(data)
    return str(folder / name)


def outputs(folder: Path, **values: Any) -> str:
    return put(folder, "made.pb", LiteralMap(literals=values).SerializeToString())


def test_a_task_sees_the_contract_of_facts(tmp_path: Path) -> None:
    given = closure(
        [node("start", inputs={"who": constant("a b")})],
        [shell("start", 'env; echo "[$1] $2"; pwd', args=["{{.Inputs.who}}", "{{ .INPUT }}"])],
    )
    ran = run(tmp_path, given)
    assert ran.failure is None
    folder = ran.folder / "nodes/start/0"
    lines = ran.log("start/0").splitlines()
    assert f"[a b] {folder}/inputs.pb" in lines
    assert str(folder) in lines
    for line in (
        "FLYTE_INTERNAL_EXECUTION_ID=r1",
        "FLYTE_INTERNAL_EXECUTION_PROJECT=p",
        "FLYTE_INTERNAL_EXECUTION_DOMAIN=local",
        "FLYTE_ATTEMPT_NUMBER=0",
        "FLYTE_INTERNAL_TASK_NAME=start",
        "FLYTE_INTERNAL_TASK_VERSION=v",
    ):
        assert line in lines
    read = LiteralMap.FromString((folder / "inputs.pb").read_bytes())
    assert read.literals["who"] == text("a b")


def test_outputs_travel_to_the_next_task(tmp_path: Path) -> None:
    source = outputs(tmp_path, n=number(42))
    given = closure(
        [node("start"), node("end", inputs={"n": promise("start", "n")})],
        [
            shell("start", f"cp {source} $0/outputs.pb", outputs=["n"]),
            shell("end", "echo got $1", args=["{{.inputs.n}}"]),
        ],
    )
    assert run(tmp_path, given).log("end/0") == "got 42\n"


def test_declared_outputs_that_are_missing_are_the_user_s_failure(tmp_path: Path) -> None:
    given = closure([node("start")], [shell("start", "true", outputs=["n"], retries=1)])
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.failure == Failure("user", "the task wrote no output `n`")
    assert ran.failure.attempt == 1


def test_an_array_gets_elements_and_its_index(tmp_path: Path) -> None:
    given = closure(
        [array("body", inputs={"split": promise("start-node", "splits")})],
        [
            shell(
                "body",
                'echo $1 $FLYTE_K8S_ARRAY_INDEX $BATCH_JOB_ARRAY_INDEX_VAR_NAME; ls "$2"',
                args=["{{.inputs.split}}", "{{.input}}"],
            )
        ],
    )
    ran = run(tmp_path, given, {"splits": numbers([7, 8, 9])})
    for i in range(3):
        first, second = ran.log(f"body.{i}/0").splitlines()
        assert first == f"{7 + i} {i} FLYTE_K8S_ARRAY_INDEX"
        assert second == str(ran.folder / "nodes/body/inputs.pb")


def test_a_branch_follows_an_output(tmp_path: Path) -> None:
    source = outputs(tmp_path, choice=text("b"))
    given = closure(
        [
            node("start"),
            switch("choose", promise("start", "choice"), {"a": node("a"), "b": node("b")}),
            node("end", "choose"),
        ],
        [
            shell("start", f"cp {source} $0/outputs.pb", outputs=["choice"]),
            *(shell(name, "true") for name in ("a", "b", "end")),
        ],
    )
    ran = run(tmp_path, given)
    assert [name for name, *_ in ran.seen.ended_] == ["start", "b", "end"]


def test_futures_run_and_nest(tmp_path: Path) -> None:
    inner = futures(
        [node("leaf", inputs={"i": constant(5)})],
        [shell("leaf", "echo leaf $1", args=["{{.inputs.i}}"])],
    )
    assert inner.futures is not None
    leaf = put(tmp_path, "inner.pb", inner.futures.SerializeToString())
    outer = futures([node("body")], [shell("body", f"cp {leaf} $0/futures.pb")], {"n": constant(3)})
    assert outer.futures is not None
    body = put(tmp_path, "outer.pb", outer.futures.SerializeToString())
    given = closure(
        [node("start"), node("end", inputs={"n": promise("start", "n")})],
        [
            shell("start", f"cp {body} $0/futures.pb", outputs=["n"]),
            shell("end", "echo $1", args=["{{.inputs.n}}"]),
        ],
    )
    ran = run(tmp_path, given)
    assert ran.failure is None
    assert ran.log("start.body.leaf/0") == "leaf 5\n"
    assert ran.log("end/0") == "3\n"


def test_retries_have_a_number_and_a_folder_each(tmp_path: Path) -> None:
    given = closure(
        [node("start")],
        [
            shell(
                "start", "echo try $FLYTE_ATTEMPT_NUMBER; test $FLYTE_ATTEMPT_NUMBER = 2", retries=2
            )
        ],
    )
    ran = run(tmp_path, given)
    assert ran.failure is None
    assert ran.seen.ended_ == [
        ("start", 0, "exit code 1", True),
        ("start", 1, "exit code 1", True),
        ("start", 2, None, False),
    ]
    assert [ran.log(f"start/{n}") for n in range(3)] == [f"try {n}\n" for n in range(3)]


def test_a_killed_process_is_a_system_failure(tmp_path: Path) -> None:
    script = "test $FLYTE_ATTEMPT_NUMBER = 2 || kill -9 $$"
    ran = run(tmp_path, closure([node("start")], [shell("start", script)]))
    assert ran.failure is None
    assert [n for _, n, *_ in ran.seen.ended_] == [0, 1, 2]


def error_document(folder: Path, kind: Any) -> str:
    document = ErrorDocument()
    document.error.code, document.error.message, document.error.kind = "Bad", "no use", kind
    return put(folder, "error.pb", document.SerializeToString())


def test_error_pb_counts_after_exit_0_only(tmp_path: Path) -> None:
    source = error_document(tmp_path, ContainerError.NON_RECOVERABLE)
    given = closure([node("start")], [shell("start", f"cp {source} $0/error.pb", retries=3)])
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.failure == Failure("final", "Bad: no use")
    assert ran.failure.attempt == 0


def test_error_pb_is_ignored_after_another_exit(tmp_path: Path) -> None:
    source = error_document(tmp_path, ContainerError.NON_RECOVERABLE)
    script = f"test $FLYTE_ATTEMPT_NUMBER = 1 || {{ cp {source} $0/error.pb; exit 3; }}"
    assert run(tmp_path, closure([node("s")], [shell("s", script, retries=1)])).failure is None


def test_a_recoverable_error_pb_is_tried_again(tmp_path: Path) -> None:
    source = error_document(tmp_path, ContainerError.RECOVERABLE)
    script = f"test $FLYTE_ATTEMPT_NUMBER = 1 || cp {source} $0/error.pb"
    assert run(tmp_path, closure([node("s")], [shell("s", script, retries=1)])).failure is None


def test_outputs_that_flyte_would_not_read_are_said_to_be_too_large(tmp_path: Path) -> None:
    given = closure(
        [node("start")],
        [shell("start", "head -c 10000000 /dev/zero > $0/outputs.pb", outputs=["n"], retries=2)],
    )
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.failure.message == (
        "`outputs.pb` has 10000000 bytes, more than the 2097152 that Flyte reads"
    )
    assert ran.failure.attempt == 0


def test_a_damaged_outputs_pb_is_a_failure(tmp_path: Path) -> None:
    given = closure([node("start")], [shell("start", "echo xyz > $0/outputs.pb", outputs=["n"])])
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.failure.message == "`outputs.pb` is damaged"


def test_each_attempt_is_cut_at_the_node_s_timeout(tmp_path: Path) -> None:
    given = closure([node("slow", timeout=0.2, retries=1)], [shell("slow", "exec sleep 60")])
    ran = run(tmp_path, given)
    message = "timeout in node: it took longer than 0.2 s"
    assert ran.seen.ended_ == [("slow", 0, message, True), ("slow", 1, message, False)]


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
    assert (ran.failure.node, ran.failure.failure.message) == ("bad", "exit code 7")
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
    assert run(tmp_path, given).failure is not None
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


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended may still be a zombie of its new parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] != "Z"
