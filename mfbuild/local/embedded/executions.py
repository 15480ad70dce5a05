"""Executions of what is registered: runs below `.mfbuild/runs/`, each by a process of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyteidl.admin.execution_pb2 import ExecutionCreateRequest
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.errors import FlyteError
from mfbuild.files import write_atomically
from mfbuild.flyte.backend import Execution, ExecutionId, TaskRun
from mfbuild.flyte.names import RUN, base_name
from mfbuild.local.embedded.files import explained, make, read
from mfbuild.local.embedded.process import spawn
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from mfbuild.local.embedded.requests import NAME, REQUEST, begun, encoded, read_request, request_of
from mfbuild.local.embedded.status import Log, execution_of, logs_of, tasks_of
from mfbuild.local.record import lock as hold
from mfbuild.local.record.state import (
    ENDED,
    RUN_JSON,
    RunInfo,
    RunState,
    damaged_left_out,
    read_info,
    read_infos,
    write_info,
)
from mfbuild.runtime.environment import user_of

_GRACE = 30.0
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class EmbeddedExecutions:
    """The Executions of a workspace.

    `runs` is the folder of its runs, `store` that of the store; steps run in `sandbox`, with
    what of `environ` they may see; `warn` is told of runs whose files are damaged, where runs are
    listed.
    """

    runs: Path
    registrations: EmbeddedRegistrations
    store: Path
    sandbox: str
    environ: Mapping[str, str]
    warn: Callable[[str], None]

    def start(self, id: ExecutionId, of: Identifier, inputs: LiteralMap) -> None:
        """As in Executions: a process of its own performs the run, also when this one has ended."""
        asked = request_of(id, of, inputs)
        info = begun(asked, self.registrations, self.sandbox, user_of(self.environ))
        folder = self.runs / id.name
        with self.registrations.files.locked() as scratch:
            if folder.exists():
                lock = _taken_again(folder, asked)
            else:
                lock = _laid(scratch / id.name, info, asked)
                make(self.runs)
                (scratch / id.name).rename(folder)
        if lock is not None:
            spawn(folder, lock, self.store, self.environ)

    def get(self, id: ExecutionId) -> Execution | None:
        folder = self.runs / id.name
        if not NAME.match(id.name) or not (folder / RUN_JSON).is_file():
            return None
        found = execution_of(folder)
        return found if found.id == id else None

    def list(self, project: str, domain: str, flow: str | None = None) -> Iterator[Execution]:
        infos = read_infos(self.runs, self.warn)
        for folder, info in sorted(infos.items(), key=lambda each: -each[1].began):
            if (info.project, info.domain) == (project, domain):
                with damaged_left_out(folder, self.warn), explained(folder):
                    execution = execution_of(folder)
                    if flow is None or _is_of(execution, flow):
                        yield execution

    def run_input(self, id: ExecutionId) -> str:
        """As in Executions; where nobody has said it, the run id that was chosen instead."""
        self._found(id)
        folder = self.runs / id.name
        asked = read_request(folder)
        given = asked.inputs.literals[RUN].scalar.primitive.string_value if asked else ""
        return given or read_info(folder).run

    def tasks(self, id: ExecutionId) -> Sequence[TaskRun]:
        over = self._found(id).is_done
        return tasks_of(self.runs / id.name, over=over)

    def terminate(self, id: ExecutionId, cause: str) -> None:
        """As in Executions; returns when no task of the run is left, and its record says so."""
        self._found(id)
        folder = self.runs / id.name
        with explained(folder):
            if not hold.end(folder, cause):
                return
            _wait(folder, cause)
        if read_info(folder).phase not in ENDED:  # it had no time to say so
            with RunState.reopen(folder) as state:
                state.update(phase="aborted", ended=time.time(), reason=cause)

    def logs(self, id: ExecutionId, step: str | None = None) -> Iterator[Log]:
        """What each attempt of an execution's tasks, or of those of one step, has written so far.

        In the order in which they began. FlyteError if there is no such execution.
        """
        self._found(id)
        for log in logs_of(self.runs / id.name):
            if step is None or base_name(log.task) == step:
                yield log

    def _found(self, id: ExecutionId) -> Execution:
        found = self.get(id)
        if found is None:
            raise FlyteError(f"there is no execution `{id.name}` in {id.project}/{id.domain}")
        return found


def _laid(folder: Path, info: RunInfo, asked: ExecutionCreateRequest) -> int | None:
    """Write down a run that is to be started, and take its lock; OSError."""
    folder.mkdir()
    write_info(folder, info)
    write_atomically(folder / REQUEST, encoded(asked))
    return hold.take(folder, for_child=True)


def _taken_again(folder: Path, asked: ExecutionCreateRequest) -> int | None:
    """The lock of a run that the same call has begun before; None if that has started it.

    FlyteError if it is another run.
    """
    if read(folder / REQUEST) != encoded(asked):
        raise FlyteError(f"there is another execution `{asked.name}`")
    return hold.take(folder, for_child=True) if read_info(folder).phase == "queued" else None


def _is_of(execution: Execution, flow: str) -> bool:
    of = execution.of
    return bool(of.resource_type == ResourceType.LAUNCH_PLAN and of.name == flow)


def _wait(folder: Path, cause: str) -> None:
    """Wait until nobody is at the run; whoever does not end it in time is killed."""
    deadline = time.monotonic() + _GRACE
    while hold.is_held(folder):
        if time.monotonic() > deadline + _GRACE:
            raise FlyteError(f"the run `{folder.name}` does not end", where=str(folder))
        if time.monotonic() > deadline:
            hold.end(folder, cause, signal.SIGKILL)
        time.sleep(_PAUSE)
