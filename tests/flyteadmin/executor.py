"""Who runs executions: nobody, a script (`script.py`), or the engine of tests/cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from flyteidl.admin.execution_pb2 import ExecutionSpec
from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier
from flyteidl.core.literals_pb2 import LiteralMap


@dataclass(frozen=True)
class Run:
    """An execution that is to be started.

    `templates` are its workflow's before they were compiled, `compiled` the same after; `spec` is
    that of the request with what its launch plan adds.
    """

    id: WorkflowExecutionIdentifier
    templates: CompiledWorkflowClosure
    compiled: CompiledWorkflowClosure
    inputs: LiteralMap
    spec: ExecutionSpec

    @property
    def namespace(self) -> str:
        return f"{self.id.project}-{self.id.domain}"


class Executor(Protocol):
    """Runs executions, and tells of them by events, as propeller does."""

    def start(self, run: Run) -> None:
        """Start; what is raised becomes the execution's error. Events may come at any time."""

    def abort(self, id: WorkflowExecutionIdentifier) -> None:
        """End an execution, whose events then say so."""

    def close(self) -> None:
        """End; nothing of it runs any more."""


class Nobody:
    """Executions are accepted, and nothing comes of them."""

    def start(self, run: Run) -> None: ...

    def abort(self, id: WorkflowExecutionIdentifier) -> None: ...

    def close(self) -> None: ...


def name_of(id: Any) -> tuple[str, str, str]:
    """An execution's identifier as a key."""
    return id.project, id.domain, id.name
