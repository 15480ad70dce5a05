"""What people and machines see while a build runs."""

from __future__ import annotations

import io
import json
import re

import pytest

from mfbuild.report import JsonReporter, PlainReporter, TtyReporter, human_bytes, reporter, show


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5e13, "50.0 TB")],
)
def test_bytes_are_shown_as_people_read_them(count: float, text: str) -> None:
    assert human_bytes(count) == text


def build(to: PlainReporter) -> None:
    to.started("wheel:a.whl", "downloading a.whl")
    to.progress("wheel:a.whl", 2_000_000, 2_000_000)
    to.finished("wheel:a.whl", "fetched", 0.5)
    to.finished("//f.py.code", "cached", 0.0)
    to.started("wheel:tiny.whl", "downloading tiny.whl")
    to.finished("wheel:tiny.whl", "fetched", 0.1)
    to.started("@python3.11//a.whl", "a.whl")
    to.warn("something odd")
    to.finished("@python3.11//a.whl", "ran", 1.25)


def test_plain_lines_come_when_an_action_ends() -> None:
    out = io.StringIO()
    to = PlainReporter(out)
    build(to)
    assert out.getvalue().splitlines() == [
        "fetched wheel:a.whl (2.0 MB, 0.5 s)",
        "warning: something odd",
        "made @python3.11//a.whl (1.2 s)",
    ]
    assert str(to.tally) == "2 actions (1 cached), 2 downloads"


def test_large_transfers_to_a_registry_have_lines() -> None:
    out = io.StringIO()
    to = PlainReporter(out)
    for label, size, how in (("a", 2_000_000, "pushed"), ("b", 10, "pushed"), ("c", 0, "mounted")):
        to.started(label, "push")
        to.progress(label, size, size)
        to.finished(label, how, 0.5)
    assert out.getvalue() == "pushed a (2.0 MB, 0.5 s)\n"
    assert to.tally.counts == {"pushed": 2, "mounted": 1}


def test_events_are_one_json_object_a_line() -> None:
    out = io.StringIO()
    build(JsonReporter(out))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == [
        "started",
        "finished",
        "finished",
        "started",
        "finished",
        "started",
        "warning",
        "finished",
    ]
    assert events[1] == {
        "event": "finished",
        "label": "wheel:a.whl",
        "how": "fetched",
        "seconds": 0.5,
        "bytes": 2_000_000,
    }


def test_a_terminal_shows_running_actions_and_clears_them() -> None:
    out, clock = Terminal(), Clock()
    to = TtyReporter(out, clock)
    to.started("a", "first")
    clock.now = 3.0
    to.progress("a", 10, 20)
    assert out.getvalue().endswith("\x1b[1A\x1b[J    3.0 s  a  first  10 B of 20 B\n")
    to.finished("a", "ran", 3.0)
    to.close()
    assert "made a (10 B, 3.0 s)\n" in out.getvalue()
    assert not out.getvalue().endswith("20 B\n")


def test_a_terminal_is_not_redrawn_for_every_byte() -> None:
    out, clock = Terminal(), Clock()
    to = TtyReporter(out, clock)
    to.started("a", "first")
    before = out.getvalue()
    to.progress("a", 1, None)
    assert out.getvalue() == before


def test_auto_is_a_terminal_only_where_there_is_one() -> None:
    assert type(reporter("auto", quiet=False, stream=Terminal())) is TtyReporter
    assert type(reporter("auto", quiet=False, stream=io.StringIO())) is PlainReporter


def test_quiet_keeps_warnings_alone() -> None:
    out = io.StringIO()
    to = reporter("auto", quiet=True, stream=out)
    build(to)
    to.note("packaged")
    assert out.getvalue() == "warning: something odd\n"


def test_what_a_stranger_named_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[31mb\x9b2J\u202e"
    stream = io.StringIO()
    told = PlainReporter(stream)
    told.started(evil, evil)
    told.finished(evil, "ran", 1.0)
    told.note(evil)
    told.warn(evil)
    drawn = io.StringIO()
    board = TtyReporter(drawn)
    board.board(lambda: [evil])
    board.started(evil, evil)
    show(evil)
    for text in (stream.getvalue(), drawn.getvalue(), capsys.readouterr().out):
        assert "a\\x1b[31mb\\x9b2J\\u202e" in text
        assert not re.search("\x1b\\[31m|\x9b|\u202e", text)
