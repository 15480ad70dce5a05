"""Starts the tasks of one environment, run by that environment's own interpreter.

It talks JSON lines with the runner, and imports nothing but the runtime. On stdin:
`{"warm": argv, "env"}` first (the arguments of a step and its variables) or `{"warm": null}`; then
`{"start": key, "argv", "env", "folder"}` and `{"stop": key, "grace": seconds}`. On stdout:
`{"ready": true}` once, then `{"ended": key, "status": n}` (an exit code, or minus a signal). When
stdin ends, so does everything that it started.

A warm launcher imports metaflow and the flow once, and its tasks are forks that need not.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

_GRACE = 5.0
_SUBREAPER = 36  # prctl(2), PR_SET_CHILD_SUBREAPER
_CANNOT_RUN = 127
_MODULE = ["-m", "mfbuild_runtime"]

Run = Callable[[Sequence[str], Mapping[str, str]], NoReturn]
"""Becomes a step, given its arguments and its whole environment."""


class Launcher:
    """The processes of one environment; each leads a session and process group of its own."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._keys: dict[int, str] = {}
        self._kills: dict[int, float] = {}
        self._buffer = b""
        self._run: Run | None = None
        self._owner = os.getpid()
        self._environ = dict(os.environ)

    def begin(self) -> list[str] | None:
        """Say that it is there; the arguments to warm up for, None to stay cold."""
        self._say({"ready": True})
        while b"\n" not in self._buffer:
            data = os.read(self._requests, 1 << 16)
            if not data:
                sys.exit(0)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        request = json.loads(line)
        # Before the flow is imported: what it imports may look at them.
        os.environ.update(request.get("env", {}))
        warm: list[str] | None = request["warm"]
        return warm

    def serve(self, run: Run | None = None) -> None:
        """Answer requests until there are no more; steps are started by `run` if it is given."""
        self._run = run
        wakeup = _wakeup()  # else the end of a child would go unseen while this waits
        selector = selectors.DefaultSelector()
        selector.register(self._requests, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        self._answer()
        while True:
            for key, _ in selector.select(self._patience()):
                if key.fd == wakeup:
                    os.read(wakeup, 4096)
                elif not self._hear():
                    return
            self._reap()
            self._kill_overdue()

    def end(self) -> None:
        """Terminate what runs, then kill it, and whatever it left behind; ends this process.

        A step that is a fork of this process comes by here as well, on its own way out.
        """
        if os.getpid() != self._owner:
            return
        for pid in list(self._keys):
            _signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self._keys and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        for pid in list(self._keys):
            _signal_group(pid, signal.SIGKILL)
        _kill_children()
        os._exit(0)  # tearing down all that was imported takes long, and there is nothing to save

    def _hear(self) -> bool:
        """Take in requests; whether there can be more."""
        data = os.read(self._requests, 1 << 16)
        self._buffer += data
        self._answer()
        return bool(data)

    def _answer(self) -> None:
        """Do what the whole lines ask for that are there."""
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "start" in request:
                self._start(request)
            else:
                self._stop(request["stop"], request["grace"])

    def _start(self, request: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            # A task that held them would keep the runner from seeing the launcher's end.
            os.close(self._requests)
            os.close(self._answers)
            self._become(request)
        self._keys[pid] = request["start"]

    def _become(self, request: dict[str, Any]) -> NoReturn:
        """Turn this child into the task that `request` asks for."""
        argv, env = request["argv"], {**self._environ, **request["env"]}
        self._keys.clear()  # this process waits for none of them
        try:
            _leave(request["folder"])
            if self._run and argv[1:3] == _MODULE:
                for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as an interpreter begins
                    signal.signal(number, signal.SIG_IGN)
                self._run(argv[3:], env)
            os.chdir(request["folder"])
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(2, f"cannot run `{argv[0]}`: {error.strerror}\n".encode())
        os._exit(_CANNOT_RUN)

    def _stop(self, key: str, grace: float) -> None:
        for pid in [p for p, k in self._keys.items() if k == key]:
            _signal_group(pid, signal.SIGTERM if grace else signal.SIGKILL)
            self._kills[pid] = time.monotonic() + grace

    def _reap(self) -> None:
        """Report the children that ended. An orphan of a task may be among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if key := self._keys.pop(pid, None):
                self._kills.pop(pid, None)
                _signal_group(pid, signal.SIGKILL)  # what the task left in its group
                self._say({"ended": key, "status": os.waitstatus_to_exitcode(status)})

    def _patience(self) -> float | None:
        """Seconds until somebody is to be killed."""
        if not self._kills:
            return None
        return max(0.0, min(self._kills.values()) - time.monotonic())

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid in [p for p, when in self._kills.items() if when <= now]:
            _signal_group(pid, signal.SIGKILL)
            self._kills[pid] = now + _GRACE

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens: stdin ends as well
            os.write(self._answers, json.dumps(message).encode() + b"\n")


def _leave(folder: str) -> None:
    """Be no part of the launcher any more, and write to a log of one's own."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    ignore_nothing()  # what is ignored stays so in the program that a process becomes
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def ignore_nothing() -> None:
    """Have the signals of a container's first process: nohup, say, has others."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _kill_children() -> None:
    """Kill all descendants: orphans become our children (Linux), so ask until there are none."""
    for _ in range(1000):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
                children = [int(word) for word in file.read().split()]
        except OSError:
            return
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def main() -> None:
    """Serve, in a child of a process that sees to the end of all that is started."""
    ignore_nothing()
    # Orphans become its children (Linux), which can find and kill them in the end.
    _adopt_orphans()
    wakeup = _wakeup()
    pid = os.fork()
    if pid:
        _watch(pid, wakeup)
    _adopt_orphans()
    _serve()


def _watch(pid: int, wakeup: int) -> NoReturn:
    """Wait for the launcher; once the runner is gone, also for what hangs in a flow's import.

    A runner that is killed closes the launcher's stdin, which this process has as well, and reads
    nothing from. In a container it is process 1, and everything ends with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    poll = select.poll()
    poll.register(0, 0)  # hanging up is always told
    poll.register(wakeup, select.POLLIN)
    deadline: float | None = None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        events = dict(poll.poll(left))
        if wakeup in events:
            os.read(wakeup, 4096)
        if 0 in events:
            poll.unregister(0)
            deadline = time.monotonic() + 2 * _GRACE
        elif deadline is not None and time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = None
        ended, status = _buried(pid)
        if ended:
            _kill_children()
            os._exit(max(0, os.waitstatus_to_exitcode(status)))


def _buried(pid: int) -> tuple[bool, int]:
    """Whether the child `pid` has ended, and its status; orphans that have are buried."""
    while True:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found in (0, pid):
            return found == pid, status


def _wakeup() -> int:
    """A descriptor that can be read after each signal that has a handler, as SIGCHLD has."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _serve() -> None:
    """Serve on stdin and stdout, which tasks never get to see."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the runner, which hangs up then
    launcher = Launcher(requests, answers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        # Before it is asked to: the runner takes a while to know what for.
        from mfbuild_runtime import warm  # type: ignore[import-not-found]

        if argv := launcher.begin():
            _serve_warm(launcher, warm, argv)
        launcher.serve()
    finally:
        launcher.end()


def _serve_warm(launcher: Launcher, warm: Any, argv: list[str]) -> None:
    """Serve with everything imported; returns where that is not possible.

    What keeps the flow from being loaded is told by the task itself, which tries again.
    """

    def then(run: Run) -> None:
        launcher.serve(None if warm.has_threads() else run)
        sys.exit(0)

    with contextlib.suppress(Exception):
        warm.serve(argv, then)


if __name__ == "__main__":
    main()
