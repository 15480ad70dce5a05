"""`flow.py flyte resume`: what succeeded is cloned, with Metaflow's own cloning; the rest runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metaflow_side.flows import Metaflow, succeed, text

FLOW = """
from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step


def ran(name):
    with open(RAN, "a") as file:
        print(name, file=file)


class Long(FlowSpec):
    count = Parameter("count", type=int, required=True)
    table = Parameter("table", type=JSONType, default={"a": [1]})
    listed = Parameter("listed", separator=",", default="x,y")
    file = IncludeFile("file", default=__file__)

    @step
    def start(self):
        ran("start")
        self.items = list(range(self.count))
        self.next(self.outer, foreach="items")

    @step
    def outer(self):
        ran(f"outer {self.input}")
        self.mine = self.input
        self.items = ["a", "b"]
        self.next(self.inner, foreach="items")

    @step
    def inner(self):
        ran(f"inner {self.mine}{self.input}")
        if (self.mine, self.input) == BAD:
            raise ValueError("on purpose")
        self.label = f"{self.mine}{self.input}"
        self.next(self.together)

    @step
    def together(self, inputs):
        ran("together")
        self.names = [i.label for i in inputs]
        self.next(self.join)

    @step
    def join(self, inputs):
        ran("join")
        self.names = [i.names for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        ran("end")
        self.seen = [self.count, self.table, self.listed, len(self.file) > 100]


if __name__ == "__main__":
    Long()
"""


@pytest.fixture
def ran(metaflow: Metaflow) -> Path:
    """The file in which steps say that they ran; it lies where an image's step can write."""
    (metaflow.root / ".metaflow").mkdir()
    return metaflow.root / ".metaflow/ran"


def write(metaflow: Metaflow, ran: Path, bad: str) -> Path:
    return metaflow.write("long.py", FLOW.replace("RAN", repr(str(ran))).replace("BAD", bad))


def taken(ran: Path) -> list[str]:
    """What has run since this was asked before."""
    lines = sorted(ran.read_text().splitlines()) if ran.exists() else []
    ran.unlink(missing_ok=True)
    return lines


def test_what_succeeded_is_not_run_again(metaflow: Metaflow, ran: Path) -> None:
    flow = write(metaflow, ran, '(1, "b")')
    file = metaflow.root / "run-id"
    words = ("--count", "2", "--run-id-file", str(file))
    assert metaflow(flow, "flyte", "run", *words).code == 1
    origin = file.read_text()
    assert "inner 1b" in taken(ran)
    flow = write(metaflow, ran, "None")
    resumed = metaflow(flow, "flyte", "resume", origin, "--run-id-file", str(file))
    assert "succeeded" in text(succeed(resumed))
    run = file.read_text()
    assert run != origin
    did = taken(ran)
    assert "inner 1b" in did and "start" not in did and "outer 1" not in did
    found = f"run({run!r})"
    assert metaflow.client(
        f"[{found}.finished, {found}['join'].task.data.names, {found}['end'].task.data.seen,"
        f" {found}['start'].task.origin_pathspec.split('/')[1], {found}.origin_pathspec]"
    ) == [
        True,
        [["0a", "0b"], ["1a", "1b"]],
        [2, {"a": [1]}, ["x", "y"], True],
        origin,
        f"Long/{origin}",
    ]
    again = metaflow(
        flow, "flyte", "resume", f"Long/{run}", "--step", "together", "--run-id-file", str(file)
    )
    succeed(again)
    assert taken(ran) == ["end", "join", "together", "together"]
    local = metaflow(flow, "resume", "--origin-run-id", file.read_text())
    succeed(local)
    assert taken(ran) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("flyte-none",), "There is no run flyte-none of Long on Flyte to resume."),
        (("flyte-none", "--step", "no"), "There is no step no."),
    ],
)
def test_there_is_nothing_to_resume(
    metaflow: Metaflow, ran: Path, words: tuple[str, ...], message: str
) -> None:
    done = metaflow(write(metaflow, ran, "None"), "flyte", "resume", *words)
    assert done.code == 1 and message in text(done)
