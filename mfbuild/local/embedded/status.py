"""How the record of a run stands, as Flyte says it: executions, tasks and their logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.flyte.backend import Execution, ExecutionId, Phase, TaskRun
from mfbuild.local.embedded.process import OUTPUT
from mfbuild.local.embedded.requests import read_request
from mfbuild.local.record import lock as hold
from mfbuild.local.record.state import ENDED, JournalEntry, RunInfo, read_info, read_journal
from mfbuild.local.sandbox.executor import last_lines
from mfbuild.local.sandbox.pod import ERROR, LOG

_SHOWN_LINES = 10
_PHASES: Mapping[str, Phase] = {
    "queued": "queued",
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "aborted": "aborted",
    "interrupted": "aborted",
}


@dataclass(frozen=True, slots=True)
class Log:
    """Where an attempt of a task writes what it says; `node` and `task` are as in TaskRun."""

    node: str
    task: str
    attempt: int
    path: Path

    def text(self) -> str:
        """What was written so far."""
        return self.path.read_text(encoding="utf-8", errors="replace")


def execution_of(folder: Path) -> Execution:
    """How the run in `folder` stands; RunError if its record cannot be read."""
    info = read_info(folder)
    lost = False
    if info.phase not in ENDED and not hold.is_held(folder):
        info = read_info(folder)  # it may have ended between the two
        lost = info.phase not in ENDED and not hold.is_held(folder)
    return Execution(
        id=ExecutionId(info.project, info.domain, info.name),
        of=_entity(folder, info),
        phase="aborted" if lost else _PHASES[info.phase],
        began=_time(info.began),
        ended=_time(info.ended),
        error=_lost(folder) if lost else _error(folder, info),
    )


def tasks_of(folder: Path, *, over: bool) -> list[TaskRun]:
    """The latest attempt of each node of the run in `folder`; nothing runs where that is `over`."""
    began: dict[str, JournalEntry] = {}
    ended: dict[str, JournalEntry] = {}
    for entry in read_journal(folder):
        if entry.phase == "running":
            began[entry.node] = entry
            ended.pop(entry.node, None)
        else:
            ended[entry.node] = entry
    return [_task(first, ended.get(node), folder, over) for node, first in began.items()]


def logs_of(folder: Path) -> Iterator[Log]:
    """The logs of all attempts of the run in `folder`, in the order in which they began."""
    for entry in read_journal(folder):
        log = Log(_node(entry), entry.task, entry.attempt, _log(folder, entry))
        if entry.phase == "running" and log.path.is_file():
            yield log


def _task(began: JournalEntry, ended: JournalEntry | None, folder: Path, over: bool) -> TaskRun:
    log = _log(folder, began)
    phase: Phase = "aborted" if over else "running"
    return TaskRun(
        node=_node(began),
        task=began.task,
        phase=_PHASES[ended.phase] if ended else phase,
        attempt=began.attempt,
        began=_time(began.at),
        ended=_time(ended.at) if ended else None,
        error=_reason(folder, ended) if ended else None,
        logs=(("log", log.as_uri()),) if log.is_file() else (),
    )


def _entity(folder: Path, info: RunInfo) -> Identifier:
    """What a run is of; a flow that is registered nowhere would be called so."""
    if info.entity and (asked := read_request(folder)):
        entity: Identifier = asked.spec.launch_plan
        return entity
    return Identifier(
        resource_type=ResourceType.LAUNCH_PLAN,
        project=info.project,
        domain=info.domain,
        name=f"{info.prefix}{info.flow}",
        version=info.version,
    )


def _error(folder: Path, info: RunInfo) -> str | None:
    if info.phase == "interrupted":
        return "interrupted"
    if not info.node:
        return info.reason
    ends = [e for e in read_journal(folder) if e.node == info.node and e.phase == "failed"]
    said = _reason(folder, ends[-1]) if ends else None
    return f"node `{info.node}`: {said or info.reason}"


def _reason(folder: Path, ended: JournalEntry) -> str | None:
    """Why an attempt failed, and what it said last, as Flyte has it of a container's end.

    An attempt that told the reason itself has an error.pb.
    """
    log = _log(folder, ended)
    told = ended.phase != "failed" or log.with_name(ERROR).exists()
    return ended.reason if told else f"{ended.reason}\n{last_lines(log, _SHOWN_LINES)}".rstrip()


def _lost(folder: Path) -> str:
    return f"the process of the run has ended without a word (see {folder / OUTPUT})"


def _log(folder: Path, entry: JournalEntry) -> Path:
    return folder / "nodes" / entry.node / str(entry.attempt) / LOG


def _node(entry: JournalEntry) -> str:
    return entry.node.replace(".", "/")


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
