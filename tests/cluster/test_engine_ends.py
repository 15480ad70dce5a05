"""How an engine ends: on ^C, and when one of its servers does not start, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.build import CACHE, MODULES, program
from tests.cluster.namespace import wait

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("flyte")  # skipped where an engine cannot run


def left(folder: Path) -> list[str]:
    """What is there of an engine with its files in `folder`: files, mounts and processes."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    files = [str(file) for file in folder.glob("*")]
    return [*files, *(m for m in mounts if str(folder) in m), *running(folder)]


def running(folder: Path) -> list[str]:
    """The processes whose command line has `folder` in it."""
    done = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True)
    return done.stdout.split()


@contextmanager
def engine(folder: Path, cache: Path = CACHE) -> Iterator[subprocess.Popen[str]]:
    """An engine in a process of its own, with its files in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.engine"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "MFBUILD_TEST_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def test_nothing_is_left_after_an_interrupt(short_folder: Path) -> None:
    with engine(short_folder) as process:
        assert process.stderr
        assert "KUBECONFIG=" in process.stderr.readline()
        assert left(short_folder)
    assert process.returncode == 0
    assert left(short_folder) == []


def test_nothing_runs_on_when_it_is_killed(short_folder: Path) -> None:
    with engine(short_folder) as process:
        assert process.stderr
        assert "KUBECONFIG=" in process.stderr.readline()
        assert running(short_folder)
        process.kill()
        process.wait()
    wait(lambda: not running(short_folder), lambda: f"{running(short_folder)} run on")


def test_nothing_is_left_of_a_start_that_fails(short_folder: Path, tmp_path: Path) -> None:
    for name in (name for programs in MODULES.values() for name in programs):
        link = tmp_path / program(name).relative_to(CACHE)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(program(name))
    broken = tmp_path / program("kubelet").relative_to(CACHE)
    broken.unlink()
    broken.write_text("#!/bin/sh\necho the kubelet is broken\nexit 1\n")
    broken.chmod(0o755)
    with engine(short_folder, tmp_path) as process:
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 1
    assert said.endswith("`kubelet` ended: the kubelet is broken\n")
    assert left(short_folder) == []
