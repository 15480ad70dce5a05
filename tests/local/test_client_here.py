"""Metaflow's client finds what a run here has left, in any folder of the workspace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Runner

FLOW = """
from metaflow import FlowSpec, card, step

class Flow(FlowSpec):
    @card
    @step
    def start(self):
        print("hello")
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Flow()
"""
CLIENT = """
from metaflow import Flow
from metaflow.cards import get_cards

(run,) = Flow("Flow")
task = run["start"].task
cards = get_cards(task)
print(len(cards), "<html" in cards[0].get())
print(task.stdout.strip(), task.environment_info, b'class Flow' in run.code.flowspec)
"""


@pytest.mark.parametrize("words", [("--in", "host"), ()])
def test_from_a_folder_below_that_of_build_toml(
    mfbuild: Runner, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "BUILD.toml").touch()
    folder = tmp_path / "flows/deep"
    folder.mkdir(parents=True)
    (folder / "flow.py").write_text(FLOW)
    done = mfbuild("run", "flow.py", *words, cwd=folder, METAFLOW_USER="ada")
    assert done.code == 0, done.err
    (folder / "below").mkdir()
    for place in (folder, folder / "below"):
        client = subprocess.run(
            [sys.executable, "-c", CLIENT],
            cwd=place,
            env={"METAFLOW_USER": "ada", "HOME": str(tmp_path), "PATH": "/bin"},
            capture_output=True,
            text=True,
        )
        assert client.stdout.split("\n")[:2] == [
            "1 True",
            "hello Local environment True",
        ], client.stderr
