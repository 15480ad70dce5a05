"""Tasks of shell scripts that are started, and judged, as Flyte's containers are."""

from __future__ import annotations

from pathlib import Path

from flyteidl.core.errors_pb2 import ContainerError
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.local.workflow.model import AttemptFailure
from mfbuild.runtime.main import out_of_memory
from tests.local.driving import error_document, outputs, put, run, shell
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
    text,
)


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
    assert ran.failure.failure == AttemptFailure("user", "the task wrote no output `n`")
    assert ran.failure.attempt is not None
    assert ran.failure.attempt.number == 1


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


def test_one_that_ran_out_of_memory_is_the_user_s_failure(tmp_path: Path) -> None:
    said = out_of_memory("fit", 1 << 30)
    script = f"printf '%s' '{said}'; kill -9 $$"
    ran = run(tmp_path, closure([node("start")], [shell("start", script)]))
    assert ran.failure is not None
    assert ran.failure.failure == AttemptFailure(
        "user", "the process was killed: out of memory (OOMKilled)"
    )


def test_error_pb_counts_after_exit_0_only(tmp_path: Path) -> None:
    source = error_document(tmp_path, ContainerError.NON_RECOVERABLE)
    given = closure([node("start")], [shell("start", f"cp {source} $0/error.pb", retries=3)])
    ran = run(tmp_path, given)
    assert ran.failure is not None
    assert ran.failure.failure == AttemptFailure("final", "Bad: no use")
    assert ran.failure.attempt is not None
    assert ran.failure.attempt.number == 0


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
    assert ran.failure.attempt is not None
    assert ran.failure.attempt.number == 0


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
