"""Runs a step in a process of its own, passes its output on, and outlives it.

The parent is process 1 of a container: it gets SIGTERM, and must be there to save the logs when
the step is killed.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import BinaryIO, Protocol, TextIO, cast

_GRACE_SECONDS = 20  # of the 30 that Kubernetes gives, so that the logs can be saved
_PIPE_BYTES = 1 << 20  # the most that a pipe can hold: one read empties it
_PR_SET_PDEATHSIG = 1


class OutputSink(Protocol):
    """Takes what a process writes."""

    def feed(self, data: bytes) -> None: ...


@dataclass(slots=True)
class _Child:
    """The step's process, the signal that it was asked to end with, and when it must have."""

    pid: int
    signal: int = 0
    deadline: float | None = None

    def forward(self, number: int, _: FrameType | None) -> None:
        if not self.signal:
            self.signal, self.deadline = number, time.monotonic() + _GRACE_SECONDS
        self.kill(number)

    def kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


def supervise(
    work: Callable[[int], int], stdout: OutputSink, stderr: OutputSink, progress: OutputSink
) -> int:
    """The exit code of `work`, which runs in a forked child: 128 + n where signal n ended it.

    `work` gets a file descriptor to write `progress` to; in the child this ends with SystemExit.
    SIGTERM and SIGINT go to the child and all that it started. Nothing else may be running in
    this process: no thread survives a fork.
    """
    pipes = [os.pipe() for _ in range(3)]
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection in the child would touch, and so copy, all pages of what is there
    with _wakeups() as wakeups:
        with _blocked():
            child = _Child(os.fork())
            if child.pid == 0:
                _become_child(pipes)
            else:
                with contextlib.suppress(PermissionError):  # it was faster, and has called exec
                    os.setpgid(child.pid, child.pid)
                signal.signal(signal.SIGTERM, child.forward)
                signal.signal(signal.SIGINT, child.forward)
        if child.pid == 0:
            raise SystemExit(work(pipes[2][1]))
        for _, write in pipes:
            os.close(write)
        outputs = dict(zip((read for read, _ in pipes), (stdout, stderr, progress), strict=True))
        code = os.waitstatus_to_exitcode(_attend(child, outputs, wakeups))
    for read in outputs:
        os.close(read)
    if code and child.signal:
        return 128 + child.signal
    if code < 0:
        stderr.feed(f"the step was ended by {signal.Signals(-code).name}\n".encode())
        return 128 - code
    return code


@contextlib.contextmanager
def _wakeups() -> Iterator[int]:
    """A descriptor that can be read after each signal; the handlers are as before at the end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    before = {n: signal.getsignal(n) for n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """No signal to end comes in between: neither process may get one that was for the other."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_child(pipes: list[tuple[int, int]]) -> None:
    """A group of its own, the pipes as its output, and Python's own way with signals."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _die_with_parent()
    os.dup2(pipes[0][1], 1)
    os.dup2(pipes[1][1], 2)
    for number in (*pipes[0], *pipes[1], pipes[2][0]):
        os.close(number)
    sys.stdout, sys.stderr = _unbuffered(1, sys.stdout), _unbuffered(2, sys.stderr)


def _unbuffered(number: int, like: TextIO) -> TextIO:
    """As with `python -u`, which is how Metaflow runs steps: nothing is lost if one is killed."""
    raw = io.FileIO(number, "wb", closefd=False)
    return io.TextIOWrapper(
        cast(BinaryIO, raw), encoding=like.encoding, errors=like.errors, write_through=True
    )


def _die_with_parent() -> None:
    """Leave no step behind where the parent alone is killed; Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _attend(child: _Child, outputs: Mapping[int, OutputSink], wakeups: int) -> int:
    """Pass on what the child writes until it has ended; its status, as of waitpid."""
    with selectors.DefaultSelector() as selector:
        for number in (*outputs, wakeups):
            os.set_blocking(number, False)
            selector.register(number, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(child.seconds_left()):
                if _read(key.fd, outputs) == b"":
                    selector.unregister(key.fd)
            if child.seconds_left() == 0.0:
                child.deadline = None
                child.kill(signal.SIGKILL)
            status = _reap(child.pid)
            if status is not None:
                for number in outputs:  # once: whoever else holds the pipe may never end
                    _read(number, outputs)
                return status


def _reap(child: int) -> int | None:
    """The status of the child if it has ended. Process 1 also gets all orphans to bury."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in (0, child):
            return status if pid else None


def _read(number: int, outputs: Mapping[int, OutputSink]) -> bytes | None:
    """What could be read and was passed on: b"" at the end, None where there is nothing now."""
    try:
        data = os.read(number, _PIPE_BYTES)
    except BlockingIOError:
        return None
    if data and number in outputs:
        outputs[number].feed(data)
    return data
