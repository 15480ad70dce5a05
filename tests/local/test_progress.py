from __future__ import annotations

import io

from mfbuild.local.progress import Progress, StepLine, label_of
from mfbuild.local.workflow.model import Attempt, AttemptFailure
from mfbuild.report import PlainReporter, TtyReporter
from tests.local.workflows import number, task, text


def attempt(step: str, number_: int = 0, **values: object) -> Attempt:
    found = task(f"Flow.{step}")
    return Attempt(step, number_, found, {}, values)


def lines() -> dict[str, StepLine]:
    return {"start": StepLine("start", 0), "body": StepLine("body", 1), "end": StepLine("end", 0)}


def test_a_label_says_where_a_task_stands() -> None:
    assert label_of(attempt("a")) == "a"
    assert label_of(attempt("a", _split=number(2))) == "a 2"
    assert label_of(attempt("a", _path=text("0/1"), _split=number(2))) == "a 0/1/2"
    assert label_of(attempt("a", _path=text(""), _iteration=number(0))) == "a"
    assert label_of(attempt("a", _iteration=number(3))) == "a #3"


def test_elsewhere_there_is_a_line_for_each_task() -> None:
    stream = io.StringIO()
    progress = Progress(PlainReporter(stream), lines())
    for one, failure, again in (
        (attempt("start"), None, False),
        (attempt("body", _split=number(0)), AttemptFailure("user", "exit code 1"), True),
        (attempt("body", 1, _split=number(0)), AttemptFailure("user", "exit code 1"), False),
        (attempt("body", _split=number(1)), AttemptFailure("aborted", "aborted"), False),
    ):
        progress.started(one)
        progress.ended(one, 1.25, failure, again)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "done start (1.2 s)",
        "FAILED   body 0 (1.2 s)",
        "  body 0: exit code 1: attempt 1 follows",
        "FAILED   body 0 (1.2 s)",
        "aborted   body 1 (1.2 s)",
    ]


def test_on_a_terminal_there_is_a_tree_that_stays() -> None:
    stream, times = io.StringIO(), iter(float(n) for n in range(1000))
    progress = Progress(TtyReporter(stream), lines(), clock=lambda: next(times))
    progress.started(attempt("start"))
    progress.ended(attempt("start"), 1.0, None, False)
    for split in range(4):
        progress.started(attempt("body", _split=number(split)))
    progress.ended(attempt("body", _split=number(0)), 1.0, None, False)
    progress.ended(
        attempt("body", _split=number(1)), 1.0, AttemptFailure("user", "exit code 1"), True
    )
    progress.ended(
        attempt("body", _split=number(3)), 1.0, AttemptFailure("aborted", "aborted"), False
    )
    progress.close()
    *_, start, body, end = stream.getvalue().splitlines()
    assert start.split()[:2] == ["start", "done"]
    assert body.startswith("    body ")
    assert "1 done, 1 running, 1 again, 1 aborted" in body
    assert end.split() == ["end", "waiting"]
