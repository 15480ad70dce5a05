"""A command that is killed leaves no process, and no folder that the next does not remove."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Runner
from tests.local.compared import settings

# Hangs where it is loaded: by the probe, or where __WHERE__ says so, by a launcher. What it has
# started is in its process group, as what most imports start.
FLOW = """
import os, signal, subprocess, sys, time
from metaflow import FlowSpec, step

if __WHERE__:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "__MARK__"])
    open(os.environ["METAFLOW_MARKER"], "w").close()
    time.sleep(1000)

class HangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    HangFlow()
"""
LAUNCHED = '"METAFLOW_RUN_ID" in os.environ'


def processes(*words: str) -> list[int]:
    """The processes whose command line has one of `words`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if any(word.encode() in command for word in words):
            found.append(int(folder.name))
    return found


def until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("package", "flow.py"), "True"),
        (("run", "flow.py", "--in", "host"), LAUNCHED),
        (("run", "flow.py", "--platform", "linux/amd64"), LAUNCHED),
    ],
)
def test_kill_9_leaves_nothing(
    mfbuild: Runner, tmp_path: Path, words: tuple[str, ...], where: str
) -> None:
    mark = f"--mark={tmp_path}"
    (tmp_path / "ws/.metaflow").mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    text = FLOW.replace("__WHERE__", where).replace("__MARK__", mark)
    (tmp_path / "ws/flow.py").write_text(text)
    marker = tmp_path / "ws/.metaflow/marker"
    env = {
        **os.environ,
        **settings(tmp_path / "ws"),
        "MFBUILD_STORE": str(mfbuild.store),
        "METAFLOW_MARKER": str(marker),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    command = [sys.executable, "-m", "mfbuild", *words]
    running = subprocess.Popen(command, cwd=tmp_path / "ws", env=env, stderr=subprocess.DEVNULL)
    try:
        assert until(marker.exists, 120)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    own = (mark, str(tmp_path / "ws"), f"{mfbuild.store}/tmp/", f"{mfbuild.store}/toolbox/")
    assert until(lambda: processes(*own) == [], 30), processes(*own)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert mfbuild("gc", "--max-age", "900d", cwd=tmp_path).code == 0
    assert [path for path in (mfbuild.store / "tmp").iterdir() if path.is_dir()] == []
