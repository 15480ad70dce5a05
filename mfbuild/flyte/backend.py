"""The ports to where entities live and run: a Flyte, or the files of the embedded backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.model import Digest

KINDS: Mapping[int, str] = {
    ResourceType.TASK: "task",
    ResourceType.WORKFLOW: "workflow",
    ResourceType.LAUNCH_PLAN: "launch plan",
}
Spec: TypeAlias = TaskSpec | WorkflowSpec | LaunchPlanSpec

Phase = Literal["queued", "running", "succeeded", "failed", "aborted", "timed out", "skipped"]


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """A registered version of a flow; `created` is None where the backend does not say."""

    id: Identifier
    spec: LaunchPlanSpec
    active: bool
    created: datetime | None


class Registrations(Protocol):
    """Where entities are registered, once: what is there under an identifier never changes.

    Every method raises FlyteError when the backend cannot be reached or refuses.
    """

    def projects(self) -> Mapping[str, Sequence[str]]:
        """The projects that there are, each with its domains."""

    def upload(self, project: str, domain: str, name: str, data: bytes) -> str:
        """The URL of `data`, which is uploaded unless it is there.

        The URL is a function of (project, domain, name, sha256 of data) and the backend's bucket.
        """

    def keeps(self, digest: Digest, size: int) -> bool:
        """Whether what was uploaded with this content is there, as far as that is told for nothing.

        A bucket is taken at its word: True.
        """

    def get(self, identifier: Identifier) -> TaskSpec | WorkflowSpec | None:
        """The task or workflow that is registered under `identifier`.

        It is what was sent, but for what the server adds; `compare.differences` knows of that.
        """

    def launch_plan(self, identifier: Identifier) -> LaunchPlan | None:
        """The launch plan that is registered under `identifier`, with its state."""

    def create(self, identifier: Identifier, spec: Spec) -> bool:
        """Register; False where something is registered under `identifier` already, whatever it is.

        That may be by this very call, where the connection broke after it took effect: so on False
        the caller compares, whichever it was.
        """

    def launch_plans(self, project: str, domain: str, name: str) -> Iterator[LaunchPlan]:
        """Every version of a launch plan, newest first; the active one among them."""

    def active(self, project: str, domain: str) -> Iterator[LaunchPlan]:
        """The active version of every launch plan of a domain that has one, by name."""

    def set_active(self, identifier: Identifier, *, active: bool) -> None:
        """Make a launch plan's version the active one, in place of any other; or none active."""


@dataclass(frozen=True, slots=True)
class ExecutionId:
    """An execution by project, domain and name."""

    project: str
    domain: str
    name: str


@dataclass(frozen=True, slots=True)
class Execution:
    """How an execution stands. `of` is the launch plan or the task that it runs."""

    id: ExecutionId
    of: Identifier
    phase: Phase
    began: datetime | None
    ended: datetime | None
    error: str | None
    cluster: str | None = None

    @property
    def flow(self) -> str:
        """The name of the flow's class, which is what Metaflow calls it."""
        parts = str(self.of.name).split(".")
        return parts[-2 if self.of.resource_type == ResourceType.TASK else -1]

    @property
    def is_done(self) -> bool:
        return self.phase not in ("queued", "running")


@dataclass(frozen=True, slots=True)
class TaskRun:
    """How a node stands that runs a task, or one element of an array.

    `node` is unique within the execution, `/` between levels; `task` the task's name
    (`TrainFlow.fit`); `attempt` the latest one, from 0 on; `logs` are names and URLs.
    """

    node: str
    task: str
    phase: Phase
    attempt: int
    began: datetime | None
    ended: datetime | None
    error: str | None
    logs: tuple[tuple[str, str], ...] = ()


class Executions(Protocol):
    """Where launch plans and single tasks run. FlyteError as in Registrations."""

    def start(self, id: ExecutionId, of: Identifier, inputs: LiteralMap) -> None:
        """Start `of`, a launch plan or a task, under a name that nobody used before.

        One of that name that runs the same is this call's own, from before a connection broke.
        """

    def get(self, id: ExecutionId) -> Execution | None:
        """How an execution stands."""

    def list(self, project: str, domain: str, flow: str | None = None) -> Iterator[Execution]:
        """The executions of a domain, or of one launch plan's name, newest first."""

    def run_input(self, id: ExecutionId) -> str:
        """What an execution was given as its input `run` (docs/flyte.md); "" if nothing."""

    def tasks(self, id: ExecutionId) -> Sequence[TaskRun]:
        """Every node that runs a task, those of sub-workflows and dynamic nodes included."""

    def terminate(self, id: ExecutionId, cause: str) -> None:
        """End an execution; one that has ended is left as it is."""


class Backend(Protocol):
    """Both ports of one Flyte, and its name as people read it."""

    @property
    def name(self) -> str:
        """`local`, or the endpoint."""

    @property
    def registrations(self) -> Registrations: ...

    @property
    def executions(self) -> Executions: ...


def describe(identifier: Identifier) -> str:
    """An entity as people read it: ``task `flows/staging/TrainFlow.fit@5b0c6c1f6ab5` ``."""
    kind = KINDS.get(identifier.resource_type, "entity")
    path = f"{identifier.project}/{identifier.domain}/{identifier.name}"
    return f"{kind} `{path}@{identifier.version[:12]}`"
