"""A push that changes nothing: what is there is read, what would be sent is written down."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.bundle.model import BundleManifest
from mfbuild.engine.model import Digest
from mfbuild.flyte.backend import Executions, LaunchPlan, Registrations, Spec
from mfbuild.push.target import PushTarget
from mfbuild.report import counted, human_bytes

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source

_CREATE = {ResourceType.TASK: "CreateTask", ResourceType.WORKFLOW: "CreateWorkflow"}


@dataclass(frozen=True, slots=True)
class DryRun:
    """Stands for a backend and for its bundles; `calls` has a line for each call left out."""

    target: PushTarget
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def whole(self) -> PushTarget:
        """The target to push to in place of the real one."""
        return replace(self.target, backend=self, bundles=self)

    @property
    def name(self) -> str:
        return self.target.backend.name

    @property
    def registrations(self) -> Registrations:
        return self

    @property
    def executions(self) -> Executions:
        return self.target.backend.executions

    def put(self, bundle: Source, repository: str) -> bool:
        if self.has(bundle.manifest, repository):
            return False
        images = len({step.image.digest for step in bundle.manifest.steps.values()})
        where = self.name if self.target.embedded else repository
        self._say(f"push {counted(images, 'image')}, the code and the templates to {where}")
        return True

    def has(self, manifest: BundleManifest, repository: str) -> bool:
        return self.target.bundles.has(manifest, repository)

    def find(self, flow: str, version: str) -> Source | None:
        return self.target.bundles.find(flow, version)

    def projects(self) -> Mapping[str, Sequence[str]]:
        return self.target.backend.registrations.projects()

    def upload(self, project: str, domain: str, name: str, data: bytes) -> str:
        digest = Digest.of(data).hex
        self._say(f"upload {project}/{domain}/{digest[:12]}/{name} ({human_bytes(len(data))})")
        return f"{name}:{digest[:12]}"

    def keeps(self, digest: Digest, size: int) -> bool:
        return self.target.backend.registrations.keeps(digest, size)

    def get(self, identifier: Identifier) -> TaskSpec | WorkflowSpec | None:
        return self.target.backend.registrations.get(identifier)

    def create(self, identifier: Identifier, spec: Spec) -> bool:
        call = f"{_CREATE.get(identifier.resource_type, 'CreateLaunchPlan')} {_path(identifier)}"
        if identifier.resource_type == ResourceType.TASK:
            self._say_task(call)
        else:
            self._say(call)
        return True

    def launch_plans(self, project: str, domain: str, name: str) -> Iterator[LaunchPlan]:
        return self.target.backend.registrations.launch_plans(project, domain, name)

    def active(self, project: str, domain: str) -> Iterator[LaunchPlan]:
        return self.target.backend.registrations.active(project, domain)

    def launch_plan(self, identifier: Identifier) -> LaunchPlan | None:
        return self.target.backend.registrations.launch_plan(identifier)

    def set_active(self, identifier: Identifier, *, active: bool) -> None:
        state = "ACTIVE" if active else "INACTIVE"
        self._say(f"UpdateLaunchPlan {_path(identifier)} {state}")

    def _say(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)

    def _say_task(self, call: str) -> None:
        """Several threads register tasks at once: their calls are told in one order."""
        with self._lock:
            others = sum(not told.startswith("CreateTask") for told in self.calls)
            insort(self.calls, call, lo=others)


def _path(identifier: Identifier) -> str:
    return f"{identifier.project}/{identifier.domain}/{identifier.name}@{identifier.version}"
