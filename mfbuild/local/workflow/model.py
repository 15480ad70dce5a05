"""What the interpreter works on: a closed workflow, attempts at its tasks, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal as OneOf

from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate

Key = tuple[str, str, str, str]
"""An entity by project, domain, name and version; the resource type follows from its use."""

Values = Mapping[str, Literal]
"""Literals by the name of the input or output."""


def key_of(identifier: Identifier) -> Key:
    """The Key of a core.Identifier."""
    return identifier.project, identifier.domain, identifier.name, identifier.version


@dataclass(frozen=True, slots=True)
class Library:
    """The templates that nodes refer to, as far as they are visible from one place."""

    tasks: Mapping[Key, TaskTemplate] = field(default_factory=dict)
    workflows: Mapping[Key, WorkflowTemplate] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tasks: Iterable[TaskTemplate], workflows: Iterable[WorkflowTemplate] = ()
    ) -> Library:
        """A library of these templates."""
        return cls({key_of(t.id): t for t in tasks}, {key_of(w.id): w for w in workflows})

    def extended(self, spec: DynamicJobSpec) -> Library:
        """This library and what a futures.pb brings along, which wins."""
        own = Library.of(spec.tasks, spec.subworkflows)
        return Library({**self.tasks, **own.tasks}, {**self.workflows, **own.workflows})


@dataclass(frozen=True, slots=True)
class Closure:
    """A workflow with everything that it refers to."""

    workflow: WorkflowTemplate
    library: Library


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a task: a process that is to be started.

    `node` names it uniquely within the run; `number` counts tries from 0 on. `inputs` are those
    of its inputs.pb, `values` what `{{.inputs.x}}` renders: for the element `index` of the
    ArrayNode `array` that element, where the file holds the list. `timeout` is in seconds.
    """

    node: str
    number: int
    task: TaskTemplate
    inputs: Values
    values: Values
    array: str | None = None
    index: int | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """The task is done; `futures` are the nodes that it wants to be run in its place."""

    outputs: Values = field(default_factory=dict)
    futures: DynamicJobSpec | None = None


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """The attempt failed, by whose fault: `user` and `system` are tried again, `final` is not.

    One that is `aborted` was ended because another had failed.
    """

    kind: OneOf["user", "system", "final", "aborted"]
    message: str


Ending = Success | AttemptFailure


@dataclass(frozen=True, slots=True)
class Recalled:
    """What an earlier run of the same execution knows of a node."""

    attempts: int = 0
    success: Success | None = None


Recall = Callable[[str], Recalled]


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """Why the run failed, and the attempt that settled it, None where it was no task."""

    attempt: Attempt | None
    failure: AttemptFailure
