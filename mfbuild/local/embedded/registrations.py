"""Registrations in files: `<project>/<domain>/<kind>/<name>/<version>.pb`, each written once.

A task or workflow is the bytes of its `admin.*Spec`, a launch plan those of `admin.LaunchPlan`:
what `pyflyte package` writes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote

from flyteidl.admin.launch_plan_pb2 import LaunchPlan as Stored
from flyteidl.admin.launch_plan_pb2 import LaunchPlanClosure, LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.engine.kept import Damaged, checked
from mfbuild.engine.kept import with_checksum as with_line
from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError, Problem, did_you_mean
from mfbuild.flyte.backend import KINDS, LaunchPlan, Spec, describe
from mfbuild.local.embedded.checks import wrong_identifier, wrong_spec
from mfbuild.local.embedded.files import BLOBS, BackendFiles, component, place, read
from mfbuild.local.embedded.messages import M, parse_checked, with_checksum

_LAUNCH_PLAN, _ACTIVE, _SUFFIX = "launch_plan", "active", ".pb"


@dataclass(frozen=True, slots=True)
class EmbeddedRegistrations:
    """The Registrations of a workspace. `configured` are the projects that it may begin to use.

    What is damaged counts as not registered; `warn` is told of it, once.
    """

    files: BackendFiles
    configured: Mapping[str, Sequence[str]]
    warn: Callable[[str], None]
    _told: set[Path] = field(default_factory=set, init=False)

    def projects(self) -> Mapping[str, Sequence[str]]:
        known = {name: dict.fromkeys(domains) for name, domains in self.configured.items()}
        for name, domains in self.files.projects().items():
            known.setdefault(name, {}).update(dict.fromkeys(domains))
        return {name: tuple(domains) for name, domains in known.items()}

    def upload(self, project: str, domain: str, name: str, data: bytes) -> str:
        """As in Registrations; content is kept once, whatever it is called and whose it is."""
        self.check_domain(project, domain)
        path = self.files.root / BLOBS / Digest.of(data).hex
        if read(path) != data:
            with self.files.locked() as scratch:
                place(path, data, scratch=scratch)
        return path.absolute().as_uri()

    def keeps(self, digest: Digest, size: int) -> bool:
        """As in Registrations."""
        data = read(self.files.root / BLOBS / digest.hex)
        return data is not None and Digest.of(data) == digest

    def get(self, identifier: Identifier) -> TaskSpec | WorkflowSpec | None:
        is_task = identifier.resource_type == ResourceType.TASK
        found = self._decoded(self._path(identifier), TaskSpec if is_task else WorkflowSpec)
        return found if found is not None and found.template.id == identifier else None

    def launch_plan(self, identifier: Identifier) -> LaunchPlan | None:
        found = self._read(self._path(identifier), self._active(identifier))
        return found if found and found.id == identifier else None

    def create(self, identifier: Identifier, spec: Spec) -> bool:
        self.check_domain(identifier.project, identifier.domain)
        if problems := [*wrong_identifier(identifier, spec)]:
            raise _refused(identifier, problems)

        def whole() -> bool:
            """Whether it is registered, and its file not damaged."""
            is_plan = identifier.resource_type == ResourceType.LAUNCH_PLAN
            return bool(self.launch_plan(identifier) if is_plan else self.get(identifier))

        if whole():
            return False
        if problems := [*wrong_spec(identifier, spec, self.get)]:
            raise _refused(identifier, problems)
        data = with_checksum(_encoded(identifier, spec))
        return self.files.create(self._path(identifier), data, whole)

    def launch_plans(self, project: str, domain: str, name: str) -> Iterator[LaunchPlan]:
        folder = self.files.path(project, domain, _LAUNCH_PLAN, name)
        active = self._active(Identifier(project=project, domain=domain, name=name))
        plans = (self._read(path, active) for path in folder.glob(f"*{_SUFFIX}"))
        found = [plan for plan in plans if plan]
        yield from sorted(found, key=lambda plan: (plan.created, plan.id.version), reverse=True)

    def active(self, project: str, domain: str) -> Iterator[LaunchPlan]:
        for marker in sorted(self.files.path(project, domain, _ACTIVE).glob("*")):
            found = self._named(project, domain, unquote(marker.name))
            version = self._active(found)
            if version is not None:  # else it was deactivated this instant
                found.version = version
                if plan := self._read(self._path(found), version):
                    yield plan

    def set_active(self, identifier: Identifier, *, active: bool) -> None:
        if self.launch_plan(identifier) is None:
            raise FlyteError(f"there is no {describe(identifier)}")
        marker = self._marker(identifier)
        with self.files.locked() as scratch:
            if active:
                data = with_line(marker.name, identifier.version.encode())
                place(marker, data, mode=0o644, scratch=scratch)
            elif self._active(identifier) == identifier.version:
                marker.unlink()

    def check_domain(self, project: str, domain: str) -> None:
        """FlyteError if there is no such project, or no such domain of it."""
        projects = self.projects()
        if project not in projects:
            hint = did_you_mean(project, sorted(projects))
            raise FlyteError(f"there is no project `{project}`", hint=hint)
        if domain not in projects[project]:
            hint = did_you_mean(domain, sorted(projects[project]))
            raise FlyteError(f"the project `{project}` has no domain `{domain}`", hint=hint)

    @staticmethod
    def _named(project: str, domain: str, name: str) -> Identifier:
        kind = ResourceType.LAUNCH_PLAN
        return Identifier(resource_type=kind, project=project, domain=domain, name=name)

    def _path(self, identifier: Identifier) -> Path:
        kind = KINDS[identifier.resource_type].replace(" ", "_")
        folder = self.files.path(identifier.project, identifier.domain, kind, identifier.name)
        return folder / f"{component(identifier.version)}{_SUFFIX}"

    def _marker(self, identifier: Identifier) -> Path:
        return self.files.path(identifier.project, identifier.domain, _ACTIVE, identifier.name)

    def _active(self, identifier: Identifier) -> str | None:
        """The active version of the launch plan of this name."""
        marker = self._marker(identifier)
        data = read(marker)
        try:
            return None if data is None else checked(marker.name, data).decode()
        except ValueError:
            self._tell(marker, f"which version of `{identifier.name}` is active is not known")
            return None

    def _read(self, path: Path, active: str | None) -> LaunchPlan | None:
        stored = self._decoded(path, Stored)
        return stored and LaunchPlan(
            id=stored.id,
            spec=stored.spec,
            active=stored.id.version == active,
            created=stored.closure.created_at.ToDatetime(timezone.utc),
        )

    def _decoded(self, path: Path, kind: type[M]) -> M | None:
        """The message in `path`; None if there is no such file, and if it is damaged."""
        data = read(path)
        try:
            return None if data is None else parse_checked(kind, data)
        except Damaged:
            self._tell(path, "a registration is damaged: push it again")
            return None

    def _tell(self, path: Path, sentence: str) -> None:
        """Warn of a damaged file, once."""
        if path not in self._told:
            self._told.add(path)
            self.warn(f"{sentence} ({path})")


def _encoded(identifier: Identifier, spec: Spec) -> bytes:
    if not isinstance(spec, LaunchPlanSpec):
        return bytes(spec.SerializeToString(deterministic=True))
    closure = LaunchPlanClosure()
    closure.created_at.FromDatetime(datetime.now(timezone.utc))
    stored = Stored(id=identifier, spec=spec, closure=closure)
    return bytes(stored.SerializeToString(deterministic=True))


def _refused(identifier: Identifier, problems: Sequence[str]) -> FlyteError:
    told = [Problem(f"registering the {describe(identifier)}: {p}") for p in problems]
    error = FlyteError.all_of(told)
    assert isinstance(error, FlyteError)
    return error
