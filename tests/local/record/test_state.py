from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.kept import kept_json
from mfbuild.errors import RunError, UsageError
from mfbuild.local.record.completed import completed
from mfbuild.local.record.state import (
    JournalEntry,
    RunState,
    find_run,
    read_info,
    read_infos,
    read_journal,
)
from mfbuild.local.sandbox.pod import outputs_digest
from tests.local.driving import info
from tests.local.registering import unwarned
from tests.local.workflows import number


def made(runs: Path, name: str, **changes: object) -> Path:
    with RunState.create(runs, replace(info(name), **changes)):  # type: ignore[arg-type]
        return runs / name


def test_a_record_is_read_back(tmp_path: Path) -> None:
    with RunState.create(tmp_path, info("r1")) as state:
        state.update(phase="failed", ended=2.5, node="a", reason="exit code 1")
        state.note(JournalEntry("a", 0, "running", "Flow.a"))
        state.note(JournalEntry("a", 0, "failed", seconds=1.0, reason="exit code 1"))
        assert read_info(tmp_path / "r1") == state.info
    assert [e.phase for e in read_journal(tmp_path / "r1")] == ["running", "failed"]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    folder = made(tmp_path, "r1")
    with (folder / "journal").open("a") as file:
        line = kept_json("r1", {"node": "a", "attempt": 0, "phase": "running"})
        file.write(f'{line}\n{{"node": "b", "att')
    assert [e.node for e in read_journal(folder)] == ["a"]
    with RunState.reopen(folder) as state:
        state.note(JournalEntry("c", 0, "running"))
    assert [e.node for e in read_journal(folder)] == ["a", "c"]


def test_what_is_recalled_is_the_last_success_and_the_number_of_attempts(tmp_path: Path) -> None:
    folder = made(tmp_path, "r1")
    outputs = folder / "nodes/a/1"
    outputs.mkdir(parents=True)
    (outputs / "outputs.pb").write_bytes(LiteralMap(literals={"n": number(3)}).SerializeToString())
    with RunState.reopen(folder) as state:
        for entry in (
            JournalEntry("a", 0, "failed"),
            JournalEntry("a", 1, "succeeded", outputs=outputs_digest(outputs)),
            JournalEntry("a", 2, "failed"),
            JournalEntry("b", 0, "running"),
        ):
            state.note(entry)
    known = completed(folder, folder / "nodes", unwarned)
    assert known["a"].attempts == 3
    assert known["a"].success is not None
    assert known["a"].success.outputs == {"n": number(3)}
    assert (known["b"].attempts, known["b"].success) == (1, None)


@pytest.mark.parametrize("name", ["outputs.pb", "futures.pb"])
def test_a_success_whose_files_are_not_as_it_left_them_is_none(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path, "r1")
    outputs = folder / "nodes/a/0"
    outputs.mkdir(parents=True)
    (outputs / "outputs.pb").write_bytes(LiteralMap(literals={"n": number(3)}).SerializeToString())
    with RunState.reopen(folder) as state:
        state.note(JournalEntry("a", 0, "succeeded", outputs=outputs_digest(outputs)))
    (outputs / name).write_bytes(LiteralMap(literals={"n": number(4)}).SerializeToString())
    warnings: list[str] = []
    assert completed(folder, folder / "nodes", warnings.append)["a"].success is None
    assert warnings == ["the outputs of `a` are damaged: it runs again"]


def test_an_attempt_whose_line_is_damaged_counts(tmp_path: Path) -> None:
    folder = made(tmp_path, "r1")
    for attempt in range(3):
        (folder / f"nodes/a/{attempt}").mkdir(parents=True)
    with RunState.reopen(folder) as state:
        state.note(JournalEntry("a", 0, "failed"))
    assert completed(folder, folder / "nodes", unwarned)["a"].attempts == 3


def test_runs_are_found_by_name_run_id_and_beginning(tmp_path: Path) -> None:
    first, second = made(tmp_path, "rab1", began=2.0), made(tmp_path, "rac2", began=1.0)
    for word in ("rab1", "flyte-rab1", "Flow/flyte-rab1", "rab", str(first)):
        assert find_run(tmp_path, word, warn=unwarned) == first
    assert find_run(tmp_path, None, warn=unwarned) == first
    third = made(tmp_path, "rad3", began=0.5, source="/other.py")
    assert find_run(tmp_path, None, Path("/other.py"), warn=unwarned) == third
    assert second.name == "rac2"
    for word in ("ra", "x"):
        with pytest.raises(UsageError, match="there is no one run"):
            find_run(tmp_path, word, warn=unwarned)
    with pytest.raises(UsageError, match=r"there is no run of `none.py`"):
        find_run(tmp_path, None, Path("/none.py"), warn=unwarned)


WHOLE = """{"format": 2, "name": "r1", "flow": "Flow", "run": "flyte-r1", "source": "/flow.py",
"version": "v", "sandbox": "host", "began": BEGAN, "phase": PHASE, "ended": ENDED}"""


@pytest.mark.parametrize(
    ("began", "phase", "ended"),
    [
        ("1.5", '"lost"', "1"),
        ('"x"', '"failed"', "2"),
        ("NaN", '"failed"', "2"),
        ("1", "[]", "2"),
        ("1e300", '"queued"', "null"),
        ("1", '"failed"', '"x"'),
    ],
)
def test_a_record_that_nobody_wrote_is_none(
    tmp_path: Path, began: str, phase: str, ended: str
) -> None:
    folder = made(tmp_path, "r1")
    whole = WHOLE.replace("BEGAN", "1.5").replace("PHASE", '"failed"').replace("ENDED", "null")
    (folder / "run.json").write_text(kept_json("r1", json.loads(whole)))
    assert read_info(folder).began == 1.5
    damaged = WHOLE.replace("BEGAN", began).replace("PHASE", phase).replace("ENDED", ended)
    (folder / "run.json").write_text(kept_json("r1", json.loads(damaged)))
    with pytest.raises(RunError, match="cannot be read"):
        read_info(folder)


def test_a_damaged_record_is_left_out_of_a_list_and_told_once(tmp_path: Path) -> None:
    first, second = made(tmp_path, "r1", began=1.0), made(tmp_path, "r2", began=2.0)
    (second / "run.json").write_text('{"format": 1, "na')
    told: list[str] = []
    assert list(read_infos(tmp_path, told.append)) == [first]
    (line,) = told
    assert line.startswith("left out the run `r2`: the record of the run cannot be read: ")
    assert line.endswith(f", at {second}; remove {second} to forget it")
    assert find_run(tmp_path, None, warn=told.append) == first
    assert told == [line, line]
    assert find_run(tmp_path, "r2", warn=unwarned) == second  # whoever reads it has the error


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "x": 1}'])
def test_a_damaged_record_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    folder = made(tmp_path, "r1")
    (folder / "run.json").write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        read_info(folder)


def test_the_record_is_json_that_anything_reads(tmp_path: Path) -> None:
    value = json.loads((made(tmp_path, "r1") / "run.json").read_text())
    assert value["phase"] == "running"
    assert value["run"] == "flyte-r1"
