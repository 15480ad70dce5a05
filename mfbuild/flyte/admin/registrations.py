"""The port Registrations over AdminService and DataProxyService."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timezone
from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.engine.model import Digest
from mfbuild.flyte.admin.client import PAGE, Client
from mfbuild.flyte.admin.failures import Refusal
from mfbuild.flyte.admin.limits import limit_hint
from mfbuild.flyte.admin.upload import upload
from mfbuild.flyte.backend import KINDS, LaunchPlan, Spec

_EXISTS = "with different structure already exists"
"""flyteadmin's words for another content under the same identifier (its pkg/errors/errors.go)."""


class AdminRegistrations:
    """What is registered at one Flyte."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def projects(self) -> Mapping[str, Sequence[str]]:
        admin, doing = self._client.admin, "list its projects"
        request = project_pb2.ProjectListRequest(limit=PAGE)
        projects = list(self._client.pages(admin.ListProjects, request, "projects", doing))
        return {p.id: [domain.id for domain in p.domains] for p in projects}

    def upload(self, project: str, domain: str, name: str, data: bytes) -> str:
        return upload(self._client, project, domain, name, data)

    def keeps(self, digest: Digest, size: int) -> bool:
        return True

    def get(self, identifier: Identifier) -> task_pb2.TaskSpec | workflow_pb2.WorkflowSpec | None:
        """As the port says; a workflow is as compiled, and `compare.differences` knows of that."""
        if identifier.resource_type == ResourceType.TASK:
            task = self._find(self._client.admin.GetTask, identifier)
            return task and task_pb2.TaskSpec(template=task.closure.compiled_task.template)
        found = self._find(self._client.admin.GetWorkflow, identifier)
        if found is None:
            return None
        compiled = found.closure.compiled_workflow
        subs = [sub.template for sub in compiled.sub_workflows]
        return workflow_pb2.WorkflowSpec(template=compiled.primary.template, sub_workflows=subs)

    def launch_plan(self, identifier: Identifier) -> LaunchPlan | None:
        found = self._find(self._client.admin.GetLaunchPlan, identifier)
        return _launch_plan(found) if found is not None else None

    def create(self, identifier: Identifier, spec: Spec) -> bool:
        method, request = self._creation(identifier, spec)
        try:
            self._client.call(method, request, f"register {described(identifier)}")
        except Refusal as refusal:
            if refusal.code == "ALREADY_EXISTS":
                return False
            if refusal.code == "INVALID_ARGUMENT":
                if _EXISTS in refusal.words:
                    return False
                hint = limit_hint(refusal.words, identifier) or self._domain_hint(
                    identifier.project, identifier.domain
                )
                known = {"code": refusal.code, "words": refusal.words}
                raise Refusal(str(refusal), **known, hint=hint) from None
            raise
        return True

    def launch_plans(self, project: str, domain: str, name: str) -> Iterator[LaunchPlan]:
        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=project, domain=domain, name=name),
            limit=PAGE,
            sort_by=NEWEST_FIRST,
        )
        method, doing = self._client.admin.ListLaunchPlans, f"list the versions of `{name}`"
        for found in self._client.pages(method, request, "launch_plans", doing):
            yield _launch_plan(found)

    def active(self, project: str, domain: str) -> Iterator[LaunchPlan]:
        request = launch_plan_pb2.ActiveLaunchPlanListRequest(
            project=project, domain=domain, limit=PAGE, sort_by=BY_NAME
        )
        method, doing = self._client.admin.ListActiveLaunchPlans, f"list what is active in {domain}"
        for found in self._client.pages(method, request, "launch_plans", doing):
            yield _launch_plan(found)

    def set_active(self, identifier: Identifier, *, active: bool) -> None:
        states = launch_plan_pb2.LaunchPlanState
        state = states.ACTIVE if active else states.INACTIVE
        request = launch_plan_pb2.LaunchPlanUpdateRequest(id=identifier, state=state)
        doing = f"{'' if active else 'de'}activate {described(identifier)}"
        self._client.call(self._client.admin.UpdateLaunchPlan, request, doing)

    def _domain_hint(self, project: str, domain: str) -> str | None:
        """The projects that there are where `project` is none, else the domains that it has."""
        projects = self.projects()
        if project in projects:
            known = projects[project]
            return None if domain in known else f"`{project}` has the domains {', '.join(known)}"
        return f"there are the projects {', '.join(sorted(projects))}"

    def _creation(self, identifier: Identifier, spec: Spec) -> tuple[Any, Any]:
        """The method and the request that register `spec`."""
        admin = self._client.admin
        if isinstance(spec, task_pb2.TaskSpec):
            return admin.CreateTask, task_pb2.TaskCreateRequest(id=identifier, spec=spec)
        if isinstance(spec, workflow_pb2.WorkflowSpec):
            request = workflow_pb2.WorkflowCreateRequest(id=identifier, spec=spec)
            return admin.CreateWorkflow, request
        request = launch_plan_pb2.LaunchPlanCreateRequest(id=identifier, spec=spec)
        return admin.CreateLaunchPlan, request

    def _find(self, method: Any, identifier: Identifier) -> Any:
        """What is registered under `identifier`, or None."""
        request = common_pb2.ObjectGetRequest(id=identifier)
        try:
            return self._client.call(method, request, f"find {described(identifier)}")
        except Refusal as refusal:
            if refusal.code == "NOT_FOUND":
                return None
            raise


BY_NAME = common_pb2.Sort(key="name", direction=common_pb2.Sort.ASCENDING)
NEWEST_FIRST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)


def described(identifier: Identifier) -> str:
    """An entity as people are told of it."""
    return f"{KINDS[identifier.resource_type]} `{identifier.name}`"


def _launch_plan(found: launch_plan_pb2.LaunchPlan) -> LaunchPlan:
    closure = found.closure
    created = (
        closure.created_at.ToDatetime(timezone.utc) if closure.HasField("created_at") else None
    )
    active = closure.state == launch_plan_pb2.LaunchPlanState.ACTIVE
    return LaunchPlan(id=found.id, spec=found.spec, active=active, created=created)
