"""Executions of the embedded backend: started, waited for, ended; also by a process of its own.

usage: python -m tests.local.starting WORKSPACE MODE [NUMBER]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.errors import MfbuildError
from mfbuild.flyte.backend import Execution, ExecutionId
from mfbuild.flyte.literals import literal
from mfbuild.local.embedded.backend import EmbeddedBackend
from tests.children import arguments, kill_at, limit_files, ready, say, wait_until
from tests.local.pushing import packaged, push
from tests.local.registering import backend


def id_of(name: str) -> ExecutionId:
    return ExecutionId("local", "staging", name)


@dataclass
class Workspace:
    """A flow in a folder of its own, pushed to the embedded backend there."""

    root: Path
    backend: EmbeddedBackend
    launch_plan: Identifier = field(default_factory=Identifier)

    def push(self, text: str, *words: str, **more: Any) -> Identifier:
        flow = self.root / "flow.py"
        flow.write_text(text)
        found = push(packaged(flow, *words), self.backend, **more)
        self.launch_plan = found.launch_plan_id
        return self.launch_plan

    def start(
        self, name: str, of: Identifier | None = None, /, **inputs: str | int | float | bool
    ) -> ExecutionId:
        given = LiteralMap(literals={n: literal(v) for n, v in inputs.items()})
        self.backend.executions.start(id_of(name), of or self.launch_plan, given)
        return id_of(name)

    def get(self, name: str) -> Execution:
        found = self.backend.executions.get(id_of(name))
        assert found is not None
        return found

    def wait(self, name: str) -> Execution:
        wait_until(lambda: self.get(name).is_done)
        return self.get(name)

    def phases(self, name: str) -> Mapping[str, str]:
        return {t.node: t.phase for t in self.backend.executions.tasks(id_of(name))}

    def log(self, name: str, step: str) -> str:
        return "".join(log.text() for log in self.backend.logs(id_of(name), step))

    def output(self, name: str) -> str:
        return (self.root / f".mfbuild/runs/{name}/output").read_text()


@contextmanager
def workspace(root: Path) -> Iterator[Workspace]:
    """A workspace; whatever was started in it is ended."""
    found = Workspace(root, backend(root))
    try:
        yield found
    finally:
        for execution in found.backend.executions.list("local", "staging"):
            found.backend.executions.terminate(execution.id, "the test is over")


def main() -> int:
    """Start the execution `r1` of the only launch plan there is."""
    root, mode, number = arguments()
    found = Workspace(root, backend(root))
    (plan,) = found.backend.registrations.launch_plans("local", "staging", "Flow")
    if mode == "race":
        ready()
    if mode == "kill":
        kill_at(root / ".mfbuild", number)
    if mode == "full":
        limit_files(number)
    try:
        found.start("r1", plan.id)
    except MfbuildError as error:
        say(json.dumps(str(error)))
        return error.exit_code
    say("started")
    if mode == "stay":
        signal.pause()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
