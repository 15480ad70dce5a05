"""Processes of the tests: children to be killed, raced or starved of space, and what they await."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WAIT = 60


@contextmanager
def child(module: str, root: Path, mode: str, number: int = 0) -> Iterator[subprocess.Popen[str]]:
    """`python -m MODULE ROOT MODE NUMBER`, in a session of its own; killed in the end."""
    command = [sys.executable, "-m", module, str(root), mode, str(number)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a child says."""
    assert process.stdout
    return process.stdout.readline().strip()


def let_go(*processes: subprocess.Popen[str]) -> None:
    """Let children go on at once that are `ready`."""
    assert [line(process) for process in processes] == ["ready"] * len(processes)
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()


def arguments() -> tuple[Path, str, int]:
    """What `child` has given to this process: root, mode and number."""
    root, mode, number = sys.argv[1:]
    return Path(root), mode, int(number)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ready() -> None:
    """Wait for `let_go`."""
    say("ready")
    sys.stdin.readline()


def kill_at(folder: Path, number: int) -> None:
    """Die, as by kill -9, before the `number`th time that `folder` is touched."""
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        inside = any(str(arg).startswith(str(folder)) for arg in args[:2])
        if inside or event == "fcntl.flock":
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def limit_files(size: int) -> None:
    """Let no file grow beyond `size`: the error path of a full disk, on any machine."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def wait_for(path: Path) -> None:
    """Until somebody has written `path`."""
    wait_until(lambda: path.exists() and bool(path.read_text()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended may still be a zombie of its new parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] != "Z"
