"""Forks of a warm process end as a process of their own would."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.containers import Containers, tarball

LEAVING = """
import atexit, os, threading
from metaflow import FlowSpec, step
from opened import helper

own = open(os.environ["OWN"], "w")


def after_all():
    threading.main_thread().join()
    own.write(", thread")


class LeavingFlow(FlowSpec):
    @step
    def only(self):
        own.write("step")
        helper.write("step")
        threading.Thread(target=after_all).start()
        atexit.register(own.write, ", at exit")


if __name__ == "__main__":
    LeavingFlow()
"""
OPENED = 'import os\nhelper = open(os.environ["HELPER"], "w")\n'


def test_what_a_step_leaves_open_is_written(tmp_path: Path) -> None:
    own, helper = tmp_path / "own", tmp_path / "helper"
    files = {"flow.py": LEAVING.encode(), "opened.py": OPENED.encode()}
    env = {"OWN": str(own), "HELPER": str(helper)}
    containers = Containers(tmp_path / "run", "flow.py", tarball(files), env)
    containers.warm(["only"])
    assert own.read_text() == "step, thread, at exit"
    assert helper.read_text() == "step"
