"""Registrations in files: `<project>/<domain>/<kind>/<name>/<version>.pb`, each written once.

A task or workflow is the bytes of its `admin.*Spec`, a launch plan those of `admin.LaunchPlan`:
what `pyflyte package` writes as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from flyteidl.admin.launch_plan_pb2 import LaunchPlan as Stored
from flyteidl.admin.launch_plan_pb2 import LaunchPlanClosure, LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from google.protobuf.message import DecodeError

from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError, Problem, did_you_mean
from mfbuild.flyte.backend import KINDS, LaunchPlan, Spec, describe
from mfbuild.local.embedded.checks import wrong_identifier, wrong_spec
from mfbuild.local.embedded.files import BLOBS, BackendFiles, component, place, read

_LAUNCH_PLAN, _ACTIVE, _SUFFIX = "launch_plan", "active", ".pb"


@dataclass(frozen=True, slots=True)
class EmbeddedRegistrations:
    """The Registrations of a workspace. `configured` are the projects that it may begin to use."""

    files: BackendFiles
    configured: Mapping[str, Sequence[str]]

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
        """As in Registrations; nothing is read."""
        path = self.files.root / BLOBS / digest.hex
        return path.is_file() and path.stat().st_size == size

    def get(self, identifier: Identifier) -> TaskSpec | WorkflowSpec | None:
        is_task = identifier.resource_type == ResourceType.TASK
        return _decoded(self._path(identifier), TaskSpec if is_task else WorkflowSpec)

    def launch_plan(self, identifier: Identifier) -> LaunchPlan | None:
        path = self._path(identifier)
        return self._read(path, self._active(identifier)) if path.exists() else None

    def create(self, identifier: Identifier, spec: Spec) -> bool:
        self.check_domain(identifier.project, identifier.domain)
        if problems := [*wrong_identifier(identifier, spec)]:
            raise _refused(identifier, problems)
        path = self._path(identifier)
        if path.exists():
            return False
        if problems := [*wrong_spec(identifier, spec, self.get)]:
            raise _refused(identifier, problems)
        return self.files.create(path, _encoded(identifier, spec))

    def launch_plans(self, project: str, domain: str, name: str) -> Iterator[LaunchPlan]:
        folder = self.files.path(project, domain, _LAUNCH_PLAN, name)
        active = self._active(Identifier(project=project, domain=domain, name=name))
        found = [self._read(path, active) for path in folder.glob(f"*{_SUFFIX}")]
        yield from sorted(found, key=lambda plan: (plan.created, plan.id.version), reverse=True)

    def active(self, project: str, domain: str) -> Iterator[LaunchPlan]:
        for marker in sorted(self.files.path(project, domain, _ACTIVE).glob("*")):
            found = self._named(project, domain, unquote(marker.name))
            version = self._active(found)
            if version is not None:  # else it was deactivated this instant
                found.version = version
                yield self._read(self._path(found), version)

    def set_active(self, identifier: Identifier, *, active: bool) -> None:
        if self.launch_plan(identifier) is None:
            raise FlyteError(f"there is no {describe(identifier)}")
        marker = self._marker(identifier)
        with self.files.locked() as scratch:
            if active:
                place(marker, f"{identifier.version}\n".encode(), mode=0o644, scratch=scratch)
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
        data = read(self._marker(identifier))
        return data.decode("utf-8", "replace").strip() if data is not None else None

    def _read(self, path: Path, active: str | None) -> LaunchPlan:
        stored = _decoded(path, Stored)
        return LaunchPlan(
            id=stored.id,
            spec=stored.spec,
            active=stored.id.version == active,
            created=stored.closure.created_at.ToDatetime(timezone.utc),
        )


def _encoded(identifier: Identifier, spec: Spec) -> bytes:
    if not isinstance(spec, LaunchPlanSpec):
        return bytes(spec.SerializeToString(deterministic=True))
    closure = LaunchPlanClosure()
    closure.created_at.FromDatetime(datetime.now(timezone.utc))
    stored = Stored(id=identifier, spec=spec, closure=closure)
    return bytes(stored.SerializeToString(deterministic=True))


def _decoded(path: Path, kind: type[Any]) -> Any:
    """The message in `path`, None if there is no such file; FlyteError if it is damaged."""
    data = read(path)
    try:
        return None if data is None else kind.FromString(data)
    except DecodeError as error:
        raise FlyteError(f"a registration cannot be read: {error}", where=str(path)) from error


def _refused(identifier: Identifier, problems: Sequence[str]) -> FlyteError:
    told = [Problem(f"registering the {describe(identifier)}: {p}") for p in problems]
    error = FlyteError.all_of(told)
    assert isinstance(error, FlyteError)
    return error
