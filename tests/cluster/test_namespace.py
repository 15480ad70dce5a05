"""The namespace that the engine lives in: what is in it ends with it, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.namespace import HIDDEN, SYSCTLS, ServerError, namespace, wait

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"
)


def sleeping(seconds: str) -> list[str]:
    """The processes of this machine that sleep for so many seconds."""
    done = subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], capture_output=True, text=True)
    return done.stdout.split()


def test_servers_end_with_it(tmp_path: Path) -> None:
    with namespace(tmp_path) as space:
        # One that leaves its parent behind, as containerd's shims do.
        space.start(["sh", "-c", "setsid sleep 4217 & exec sleep 4218"])
        wait(lambda: len(sleeping("4217") + sleeping("4218")) == 2, lambda: "no sleep")
    assert sleeping("4217") + sleeping("4218") == []


def test_servers_end_when_the_test_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys\n"
        "from tests.cluster.namespace import namespace\n"
        "with namespace(pathlib.Path(sys.argv[1])) as space:\n"
        "    space.start(['sleep', '4219'])\n"
        "    print('started', flush=True)\n"
        "    signal.pause()\n"
    )
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGKILL)
    wait(lambda: not sleeping("4219"), lambda: "sleep goes on")


def test_a_server_that_ends_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with namespace(tmp_path) as space, pytest.raises(ServerError, match="no such option"):
        space.start(["sh", "-c", "echo no such option; exit 3"], lambda: False)


def test_what_servers_write_to_the_machine_does_not_stay(tmp_path: Path) -> None:
    before = [Path("/proc/sys", name).read_text() for name in SYSCTLS]
    there = [Path(folder).exists() for folder in HIDDEN]
    mounts = Path("/proc/self/mounts").read_text()
    changes = [f"echo 7 > /proc/sys/{name}" for name in SYSCTLS]
    changes += [f"echo 7 > {folder}/file" for folder in HIDDEN]
    done = tmp_path / "done"
    with namespace(tmp_path) as space:
        space.start(
            ["sh", "-euc", "; ".join([*changes, f"touch {done}", "exec sleep 60"])], done.exists
        )
        assert [Path("/proc/sys", name).read_text() for name in SYSCTLS] == before
    assert [Path(folder).exists() for folder in HIDDEN] == there
    assert not any(Path(folder, "file").exists() for folder in HIDDEN)
    assert Path("/proc/self/mounts").read_text() == mounts


def test_waiting_ends() -> None:
    with pytest.raises(ServerError, match="not ready in 0 seconds: it sleeps"):
        wait(lambda: False, lambda: "it sleeps", seconds=0)
