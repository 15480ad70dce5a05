"""Pods that ask for nothing, on a Flyte whose default is 500 Mi: what fits, and what is told."""

from __future__ import annotations

from pathlib import Path

from mfbuild.executions.memory import ran_out
from tests.cluster.engine import Engine
from tests.cluster.flows import package, policy, push, start

HUNGRY = """
from metaflow import FlowSpec, step


class Hungry(FlowSpec):
    @step
    def start(self):
        self.rows = list(range(6))
        self.next(self.body, foreach="rows")

    @step
    def body(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.input for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        self.much = bytearray(700 << 20)


if __name__ == "__main__":
    Hungry()
"""


def test_a_join_fits_and_what_does_not_is_named(flyte: Engine, tmp_path: Path) -> None:
    (tmp_path / "BUILD.toml").write_text(policy(flyte))
    (tmp_path / "hungry.py").write_text(HUNGRY)
    result = start(push(package("hungry.py", tmp_path), flyte), flyte)
    assert result.nodes["join"] == "succeeded", result
    assert result.nodes["end"] == "failed", result
    assert any(ran_out(error) for error in result.errors), result
    assert any("step `end`, which has 500 MiB" in error for error in result.errors), result
