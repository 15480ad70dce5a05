"""Every shape of a graph, its tasks as Flyte would start them, against Metaflow's own run."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.containers import FLOWS, Containers, tarball

# A task is what is its own of the command line, and what its outputs.pb must then say.
SHAPES = {
    "linear": "start; end",
    "inherited": "start; end",
    "single": "only",
    "named": "begin; finish",
    "nested_branch": "start; left; right; left_a; left_b; left_join; join; end",
    "foreach": """start -> {'count': 3, 'splits': [0, 1, 2]};
        body --split 2; body --split 0; body --split 1; join --count 3; end""",
    "long_foreach": """start -> {'count': 3, 'splits': [0, 1, 2]};
        first --path 0; second --path 0; first --path 1; second --path 1; first --path 2;
        second --path 2; join --count 3; end""",
    "nested_foreach": """start -> {'count': 2, 'splits': [0, 1]};
        outer --path 0 -> {'count': 3, 'splits': [0, 1, 2]};
        inner --path 0 --split 0; inner --path 0 --split 1; inner --path 0/2;
        inner_join --path 0 --count 3;
        outer --path 1 -> {'count': 3, 'splits': [0, 1, 2]};
        inner --path 1 --split 0; inner --path 1 --split 1; inner --path 1 --split 2;
        inner_join --path 1 --count 3; outer_join --count 2; end""",
    "switch": "start -> {'choice': 'fast'}; fast; merge; end",
    "nested_switch": """start -> {'choice': 'again'}; again -> {'choice': 'd'}; d; merge; end""",
    "branch_in_switch": "start -> {'choice': 'split'}; split; a; b; join; end",
    "foreach_in_switch": """start -> {'choice': 'fan'}; fan -> {'count': 3, 'splits': [0, 1, 2]};
        body --split 0; body --split 1; body --split 2; join --count 3; end""",
    "switch_in_branch": """start; choose -> {'choice': 'b'}; b; other; merge; join; end""",
    "switch_in_foreach": """start -> {'count': 3, 'splits': [0, 1, 2]};
        choose --path 0 -> {'choice': 'odd'}; odd --path 0; merge --path 0;
        choose --path 1 -> {'choice': 'even'}; even --path 1; merge --path 1;
        choose --path 2 -> {'choice': 'odd'}; odd --path 2; merge --path 2; join --count 3; end""",
    "recursive_switch": """start; loop --iteration 0 -> {'choice': 'loop'};
        loop --iteration 1 -> {'choice': 'loop'}; loop --iteration 2 -> {'choice': 'end'}; end""",
    "recursive_in_foreach": """start -> {'count': 3, 'splits': [0, 1, 2]};
        begin --path 0; loop --path 0 --iteration 0 -> {'choice': 'leave'}; leave --path 0;
        begin --path 1; loop --path 1 --iteration 0 -> {'choice': 'loop'};
        loop --path 1 --iteration 1 -> {'choice': 'leave'}; leave --path 1;
        begin --path 2; loop --path 2 --iteration 0; loop --path 2 --iteration 1;
        loop --path 2 --iteration 2 -> {'choice': 'leave'}; leave --path 2;
        join --count 3; end""",
}
COMPARED = {"nested_foreach", "switch_in_branch", "recursive_switch"}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_runs_task_by_task(name: str, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in FLOWS.glob("*.py")}
    containers = Containers(tmp_path, f"{name}.py", tarball(files))
    pairs = [line.strip().partition(" -> ")[::2] for line in SHAPES[name].split(";")]
    with _metaflow_run(containers) if name in COMPARED else contextlib.nullcontext():
        found = containers.warm([task for task, _ in pairs])
    written = {task: repr(containers.outputs(task)) for task, outputs in pairs if outputs}
    assert written == {task: outputs for task, outputs in pairs if outputs}
    assert sum(map(len, found.values())) == len(pairs)
    if name in COMPARED:
        assert containers.artifacts((tmp_path / "run-id").read_text()) == found


ARMS_INTO_JOINS = """
from metaflow import FlowSpec, step


class Arms(FlowSpec):
    @step
    def start(self):
        self.items = [0, 1, 2]
        self.next(self.pick, foreach="items")

    @step
    def pick(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.way = "odd" if self.input % 2 else "even"
        self.next({"odd": self.odd, "even": self.even}, condition="way")

    @step
    def odd(self):
        self.x = 10
        self.next(self.both)

    @step
    def even(self):
        self.x = 1
        self.next(self.both)

    @step
    def right(self):
        self.x = 100
        self.next(self.both)

    @step
    def both(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.decide)

    @step
    def decide(self):
        self.way = "big" if self.x > 105 else "small"
        self.next({"big": self.big, "small": self.small}, condition="way")

    @step
    def big(self):
        self.next(self.join)

    @step
    def small(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = [i.x for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        assert self.x == [101, 110, 101]


if __name__ == "__main__":
    Arms()
"""


def test_the_arms_of_switches_may_lead_into_joins(tmp_path: Path) -> None:
    containers = Containers(tmp_path, "flow.py", tarball({"flow.py": ARMS_INTO_JOINS.encode()}))
    tasks = ["start"]
    for index, (way, size) in enumerate([("even", "small"), ("odd", "big"), ("even", "small")]):
        steps = ("pick", "left", "right", way, "both", "decide", size)
        tasks += [f"{step} --path {index}" for step in steps]
    found = containers.warm([*tasks, "join --count 3", "end"])
    assert [len(found[step]) for step in ("odd", "even", "big", "small")] == [1, 2, 1, 2]


@contextlib.contextmanager
def _metaflow_run(containers: Containers) -> Iterator[None]:
    """`python flow.py run` on the same datastore, at the same time."""
    command = [sys.executable, str(FLOWS / containers.flow), "--no-pylint", "--quiet"]
    with subprocess.Popen(
        [*command, "run", "--run-id-file", str(containers.folder / "run-id")],
        env=containers.environ,
        cwd=containers.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield
        said, _ = process.communicate()
    assert process.returncode == 0, said
