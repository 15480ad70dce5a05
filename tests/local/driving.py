"""Runs workflows of small shell tasks as real processes, and shows what came of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyteidl.core.errors_pb2 import ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.store import Store
from mfbuild.flyte.pod_text import escaped
from mfbuild.local.drive import Drive
from mfbuild.local.record.completed import completed
from mfbuild.local.record.state import RunInfo, RunState
from mfbuild.local.sandbox.executor import Processes
from mfbuild.local.sandbox.host import HostSandbox
from mfbuild.local.sandbox.pod import PodContext
from mfbuild.local.sandbox.runtime_tree import lay_runtime
from mfbuild.local.workflow.interpreter import Interpreter
from mfbuild.local.workflow.model import Attempt, AttemptFailure, Closure, NodeFailure, Recalled
from tests.local.workflows import task


@dataclass
class Seen:
    """A watcher that remembers."""

    ended_: list[tuple[str, int, str | None, bool]] = field(default_factory=list)
    running: int = 0
    most: int = 0

    def started(self, attempt: Attempt) -> None:
        self.running += 1
        self.most = max(self.most, self.running)

    def ended(
        self, attempt: Attempt, seconds: float, failure: AttemptFailure | None, again: bool
    ) -> None:
        self.running -= 1
        reason = failure.message if failure else None
        self.ended_.append((attempt.node, attempt.number, reason, again))

    def tick(self) -> None:
        pass


@dataclass
class Ran:
    failure: NodeFailure | None
    seen: Seen
    folder: Path
    machine: Interpreter

    def log(self, attempt: str) -> str:
        return (self.folder / "nodes" / attempt / "log").read_text()


def info(name: str = "r1") -> RunInfo:
    return RunInfo(name, "Flow", f"flyte-{name}", "/flow.py", "v", "host", 1.0)


@contextmanager
def driving(
    folder: Path, given: Closure, inputs: Mapping[str, Any], *, resume: bool, workers: int
) -> Iterator[tuple[Drive, Seen]]:
    runs = folder / "runs"
    with Store.open(folder / "store") as store:
        place = HostSandbox(Path(sys.executable), lay_runtime(store), os.environ)
        opened = RunState.reopen(runs / "r1") if resume else RunState.create(runs, info())
        with opened as state:
            nodes = state.folder / "nodes"
            known = completed(state.folder, nodes, print)
            machine = Interpreter(given, inputs, lambda name: known.get(name, Recalled()))
            seen = Seen()
            execution = PodContext("p", "local", "Flow", "r1", nodes)
            executor = Processes(place, state.folder / "launchers", lambda sentence: None)
            yield Drive(machine, executor, execution, state, seen, workers, os.environ), seen


def run(
    folder: Path,
    given: Closure,
    inputs: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    workers: int = 2,
) -> Ran:
    with driving(folder, given, inputs or {}, resume=resume, workers=workers) as (drive, seen):
        failure = drive.run()
        return Ran(failure, seen, folder / "runs/r1", drive.machine)


def shell(name: str, script: str, **more: Any) -> Any:
    return task(
        name, ["/bin/sh", "-c", escaped(script), "{{.outputPrefix}}", *more.pop("args", ())], **more
    )


def put(folder: Path, name: str, data: bytes) -> str:
    """A file that a task can copy into its outputs."""
    (folder / name).write_bytes(data)
    return str(folder / name)


def outputs(folder: Path, **values: Any) -> str:
    return put(folder, "made.pb", LiteralMap(literals=values).SerializeToString())


def error_document(folder: Path, kind: Any) -> str:
    document = ErrorDocument()
    document.error.code, document.error.message, document.error.kind = "Bad", "no use", kind
    return put(folder, "error.pb", document.SerializeToString())
