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
        # Else the end of a child would go unseen while this waits for requests.
        wakeup, waker = os.pipe()
        for end in (wakeup, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
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
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as an interpreter begins
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
    # What is ignored stays so in the program that a process becomes; handlers do not.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


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
    """Serve on stdin and stdout, which tasks never get to see."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the runner, which hangs up then
    # Orphans of tasks become children of the launcher, which can find and kill them in the end.
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
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
