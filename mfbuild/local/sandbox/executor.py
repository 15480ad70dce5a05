"""Starts jobs as processes, through one launcher per environment, and says how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from mfbuild.errors import RunError
from mfbuild.files import words_of
from mfbuild.local.sandbox.environment import read_at_start

IMAGE_PYTHON = "/opt/venv/bin/python"
"""The interpreter of every image that mfbuild bakes."""

_OF_ATTEMPTS = ("FLYTE_", "BATCH_JOB_ARRAY_INDEX_VAR_NAME")
_GRACE = 10.0
_LOST = -signal.SIGKILL
NOT_POSSIBLE = 125


@dataclass(frozen=True, slots=True)
class ProcessJob:
    """A process to start: its image's name, its command line and what its environment gains.

    `folder` holds the attempt's files; it has the same path inside and outside of any sandbox.
    """

    key: str
    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True)
class Exit:
    """How a job ended: an exit code, or minus the signal that ended it."""

    key: str
    status: int


class Executor(Protocol):
    """Runs jobs side by side. Whatever it starts has ended when `close` returns."""

    def start(self, job: ProcessJob) -> None:
        """Begin `job`; RunError if its environment cannot be had."""
        ...

    def wait(self, timeout: float | None) -> list[Exit]:
        """The jobs that ended, as soon as there are any; none after `timeout` seconds."""
        ...

    def stop(self, key: str, grace: float) -> None:
        """Terminate a job, and kill it `grace` seconds later; `wait` reports it as any other."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


@dataclass(frozen=True, slots=True)
class LauncherStart:
    """How to start a launcher in an environment, and where that has its interpreter.

    Where it ends with 125 before it began (see namespaces.py), `otherwise` is started in its place.
    `note` is what people are to know of jobs that it starts.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    python: str
    otherwise: LauncherStart | None = None
    note: str | None = None


class Sandbox(Protocol):
    """Where jobs run: this machine as it is, laid out images, or containers."""

    def environment(self, image: str) -> str:
        """What tells environments apart; images of the same content share one."""
        ...

    def launch(self, environment: str, variables: Mapping[str, str]) -> LauncherStart:
        """How to start a launcher there that has `variables` from its first moment on.

        RunError if that is not possible here.
        """
        ...

    def close(self) -> None:
        """Remove what was made for launchers; none runs any more."""
        ...


_Key = tuple[str, tuple[tuple[str, str], ...]]
"""What jobs of one launcher share: the environment, and if it is warm their own variables."""


@dataclass(slots=True)
class _Running:
    """A launcher that is there, with the keys of its jobs."""

    process: subprocess.Popen[bytes]
    python: str
    jobs: set[str] = field(default_factory=set)
    buffer: bytes = b""

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is lost, which `wait` will notice
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def hang_up(self) -> None:
        """Tell it that nothing more comes, upon which it ends everything."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def ended(self, timeout: float) -> None:
        """Wait for its end; kill it if that takes too long."""
        try:
            self.process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.stdout.close()


class Processes:
    """The Executor that starts real processes; launchers write what they say to `folder`.

    `note` is told, once each, what people are to know of how jobs run here.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, note: Callable[[str], None]) -> None:
        self._sandbox, self._folder, self._note = sandbox, folder, note
        self._noted: set[str] = set()
        self._launchers: dict[_Key, _Running] = {}
        self._ahead: dict[str, tuple[_Running, LauncherStart]] = {}
        self._selector = selectors.DefaultSelector()

    def ahead(self, image: str) -> None:
        """Begin to start a launcher for jobs of `image`, and do not wait until it is there."""
        environment = self._sandbox.environment(image)
        launch = self._sandbox.launch(environment, {})
        self._ahead[environment] = _started(launch, self._log(environment)), launch

    def start(self, job: ProcessJob) -> None:
        environment = self._sandbox.environment(job.image)
        imported = tuple(
            sorted((n, v) for n, v in job.env.items() if not n.startswith(_OF_ATTEMPTS))
        )
        key = (environment, imported if _is_step(job) else ())
        if key not in self._launchers:
            self._launchers[key] = self._launch(key, job)
        launcher = self._launchers[key]
        program = launcher.python if job.argv[:1] == (IMAGE_PYTHON,) else (job.argv or ("",))[0]
        launcher.jobs.add(job.key)
        launcher.send(
            {
                "start": job.key,
                "argv": [program, *job.argv[1:]],
                "env": dict(job.env),
                "folder": str(job.folder),
            }
        )

    def wait(self, timeout: float | None) -> list[Exit]:
        ended: list[Exit] = []
        for key, _ in self._selector.select(timeout):
            ended += self._hear(key.data)
        return ended

    def stop(self, key: str, grace: float) -> None:
        for launcher in self._launchers.values():
            if key in launcher.jobs:
                launcher.send({"stop": key, "grace": grace})

    def close(self) -> None:
        running = [*self._launchers.values(), *(begun for begun, _ in self._ahead.values())]
        for launcher in running:
            launcher.hang_up()
        deadline = time.monotonic() + _GRACE
        for launcher in running:
            launcher.ended(deadline - time.monotonic())
        self._launchers.clear()
        self._ahead.clear()
        self._selector.close()
        self._sandbox.close()

    def _log(self, environment: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{environment}.log"

    def _launch(self, key: _Key, job: ProcessJob) -> _Running:
        """A launcher for jobs like `job`: warm with the variables that imports can see."""
        environment, imported = key
        log = self._log(environment)
        # Its tasks are forks, and have what it was started with: a fresh interpreter's time zone,
        # locale and flags are those of the variables that the process began with.
        variables = read_at_start(job.env)
        begun = None if variables else self._ahead.pop(environment, None)
        launch = begun[1] if begun else self._sandbox.launch(environment, variables)
        while True:
            running = begun[0] if begun else _started(launch, log)
            begun = None
            stdout = running.stdout
            if stdout.readline() == b'{"ready": true}\n':
                os.set_blocking(stdout.fileno(), False)
                self._selector.register(stdout, selectors.EVENT_READ, key)
                warm = {"warm": list(job.argv[3:]), "env": dict(imported) | _of_execution(job)}
                running.send(warm if imported else {"warm": None})
                self._tell(launch.note)
                return running
            running.hang_up()
            running.ended(_GRACE)
            status = running.process.returncode
            if status != NOT_POSSIBLE or not launch.otherwise:
                break
            launch = launch.otherwise
        said = last_lines(log, 5) or f"it ended with status {status}"
        raise RunError(f"the environment `{environment}` cannot be entered: {said}")

    def _tell(self, note: str | None) -> None:
        if note and note not in self._noted:
            self._noted.add(note)
            self._note(note)

    def _hear(self, key: _Key) -> list[Exit]:
        """What a launcher reports; if it is lost, its jobs are, and the next one starts anew."""
        launcher = self._launchers[key]
        data = launcher.stdout.read()
        if not data:
            self._selector.unregister(launcher.stdout)
            del self._launchers[key]
            launcher.hang_up()
            launcher.ended(0)
            return [Exit(key, _LOST) for key in sorted(launcher.jobs)]
        *lines, launcher.buffer = (launcher.buffer + data).split(b"\n")
        exits = [Exit(m["ended"], m["status"]) for m in map(json.loads, lines)]
        launcher.jobs -= {e.key for e in exits}
        return exits


def last_lines(path: Path, count: int) -> str:
    """The last lines of a log, as far as it can be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return "\n".join(lines[-count:])
    return ""


def _is_step(job: ProcessJob) -> bool:
    """Whether the job can be a fork of a process that has imported what a step needs."""
    return job.argv[:3] == (IMAGE_PYTHON, "-m", "mfbuild_runtime")


def _of_execution(job: ProcessJob) -> dict[str, str]:
    """Those of Flyte's variables that are the same for every task."""
    return {n: v for n, v in job.env.items() if n.startswith("FLYTE_INTERNAL_EXECUTION_")}


def _started(launch: LauncherStart, log: Path) -> _Running:
    with log.open("ab") as stderr:
        try:
            process = subprocess.Popen(
                launch.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(launch.env),
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"cannot run `{launch.argv[0]}`: {words_of(error)}") from error
    return _Running(process, launch.python)
