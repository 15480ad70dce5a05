"""`resolve`: templates and what a domain says become entities that are ready to register."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.compiler_pb2 import CompiledTask, CompiledWorkflow, CompiledWorkflowClosure
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate
from google.protobuf.message import Message

from mfbuild.engine.model import Digest
from mfbuild.errors import UsageError
from mfbuild.flyte.expansion_plan import expansion_plan
from mfbuild.flyte.names import LONGEST_NAME, PERSON
from mfbuild.flyte.pod_text import escaped_json
from mfbuild.flyte.templates import (
    Compiled,
    add_pull_secrets,
    add_requests,
    decode_node,
    encode,
    environment_of,
    fix,
    references,
    runs,
    set_environment,
    set_image,
)

VERSION_DIGITS = 40
"""Flyte 2 takes versions of at most 63 characters, which a whole sha256 is not."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where entities are to live, and what shapes them there.

    `images` are references by step, into `repository`; `environment` the METAFLOW_* settings of
    the domain; `resources` what containers ask for that do not say so themselves, as Kubernetes
    has it. `prefix` comes before every name (`<project>.<branch>.` with @project); `person` is
    in whose name the launch plan runs, as JSON (docs/flyte.md).
    """

    project: str
    domain: str
    images: Mapping[str, str]
    environment: Mapping[str, str]
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    person: str = "{}"
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Entities:
    """Everything of a flow that is registered, in the order in which that is possible.

    What one of `workflows` runs is in its spec, and comes before it.
    """

    tasks: tuple[tuple[Identifier, TaskSpec], ...]
    workflows: tuple[tuple[Identifier, WorkflowSpec], ...]
    launch_plan: tuple[Identifier, LaunchPlanSpec]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Templates as Flyte takes them, but for the addresses of the code and the expansion plan.

    `tasks` are by step, each with a version of its own; `sub_workflows` are those that `workflow`
    needs, inner ones first; `expansion_plan` is the content of the plan, None where no container
    starts others.
    """

    tasks: Mapping[str, TaskTemplate]
    workflow: WorkflowTemplate
    sub_workflows: tuple[WorkflowTemplate, ...]
    launch_plan_id: Identifier
    launch_plan: LaunchPlanSpec
    expansion_plan: bytes | None

    def with_addresses(self, addresses: Mapping[str, str]) -> Resolved:
        """The same with a launch plan that fixes where the code and the plan are, by input."""
        spec = deepcopy(self.launch_plan)
        fix(spec, addresses)
        return replace(self, launch_plan=spec)

    def entities(self, addresses: Mapping[str, str]) -> Entities:
        """What is registered, with a launch plan that has these addresses."""
        launch_plan = self.with_addresses(addresses).launch_plan
        parts = {part.id.name: part for part in self.sub_workflows}
        workflows = []
        for workflow in (*self.sub_workflows, self.workflow):
            _, used = runs(workflow.nodes, parts)
            inner = [part for name, part in parts.items() if name in used]
            workflows.append((workflow.id, WorkflowSpec(template=workflow, sub_workflows=inner)))
        return Entities(
            tasks=tuple((task.id, TaskSpec(template=task)) for task in self.tasks.values()),
            workflows=tuple(workflows),
            launch_plan=(self.launch_plan_id, launch_plan),
        )


def resolve(compiled: Compiled, site: Site, *, version: str) -> Resolved:
    """The entities of a flow for one site; workflow and launch plan have `version`.

    UsageError if a name is longer than Flyte takes.
    """
    tasks = {step: _task(step, task, site) for step, task in compiled.tasks.items()}
    ids = {task.id.name: task.id for task in tasks.values()}
    parts = _parts(compiled, site, ids)
    workflow = _workflow(compiled.workflow, site, ids)
    workflow.id.version = version
    _check_names([*ids.values(), workflow.id])
    _, used = runs(workflow.nodes, {part.id.name: part for part in parts.values()})
    launch_plan = deepcopy(compiled.launch_plan)
    launch_plan.workflow_id.CopyFrom(workflow.id)
    fix(launch_plan, {PERSON: escaped_json(site.person)})
    if site.service_account:
        launch_plan.security_context.run_as.k8s_service_account = site.service_account
    identifier = deepcopy(workflow.id)
    identifier.resource_type = ResourceType.LAUNCH_PLAN
    steps = _expansions(compiled.expansions, site, ids)
    return Resolved(
        tasks=tasks,
        workflow=workflow,
        sub_workflows=tuple(part for part in parts.values() if part.id.name in used),
        launch_plan_id=identifier,
        launch_plan=launch_plan,
        expansion_plan=expansion_plan(compiled.flow, steps, tasks, parts),
    )


def closure(resolved: Resolved) -> CompiledWorkflowClosure:
    """All templates of a workflow in the message that Flyte's compiler puts out (without the
    connections that it would add)."""
    return CompiledWorkflowClosure(
        primary=CompiledWorkflow(template=resolved.workflow),
        sub_workflows=[CompiledWorkflow(template=part) for part in resolved.sub_workflows],
        tasks=[CompiledTask(template=task) for task in resolved.tasks.values()],
    )


def _task(step: str, template: TaskTemplate, site: Site) -> TaskTemplate:
    task = deepcopy(template)
    set_image(task, site.images[step])
    set_environment(task, {**site.environment, **environment_of(task)})
    add_requests(task, site.resources)
    if site.image_pull_secrets:
        add_pull_secrets(task, site.image_pull_secrets)
    _name(task.id, site)
    task.id.version = own_version(task)
    return task


def _parts(
    compiled: Compiled, site: Site, ids: dict[str, Identifier]
) -> dict[str, WorkflowTemplate]:
    """The sub-workflows, each with a version of its own; adds their identifiers to `ids`."""
    parts: dict[str, WorkflowTemplate] = {}
    for name in _inner_first(compiled):
        part = _workflow(compiled.parts[name], site, ids)
        part.id.version = own_version(part)
        ids[part.id.name] = part.id
        parts[name] = part
    return parts


def _inner_first(compiled: Compiled) -> list[str]:
    """The names of all parts; whatever a part runs comes before it."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for reference in references(compiled.parts[name].nodes):
                if reference.resource_type == ResourceType.WORKFLOW:
                    add(reference.name.removeprefix(f"{compiled.flow}."))
            ordered[name] = None

    for name in sorted(compiled.parts):
        add(name)
    return list(ordered)


def _workflow(
    template: WorkflowTemplate, site: Site, ids: Mapping[str, Identifier]
) -> WorkflowTemplate:
    workflow = deepcopy(template)
    _name(workflow.id, site)
    _point(workflow.nodes, site, ids)
    return workflow


def _expansions(steps: Mapping[str, Any], site: Site, ids: Mapping[str, Identifier]) -> Any:
    """The expansion plan's `steps` with nodes that refer to resolved templates."""

    def resolved(expansion: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if expansion is None:
            return None
        node = decode_node(expansion["node"])
        _point([node], site, ids)
        return {**expansion, "node": encode(node)}

    return {
        name: {"foreach": resolved(step["foreach"])}
        if "foreach" in step
        else {"switch": {arm: resolved(e) for arm, e in step["switch"].items()}}
        for name, step in steps.items()
    }


def _point(nodes: Iterable[Node], site: Site, ids: Mapping[str, Identifier]) -> None:
    """Let nodes refer to the entities that `ids` names."""
    for reference in references(nodes):
        reference.CopyFrom(ids[f"{site.prefix}{reference.name}"])


def _name(identifier: Identifier, site: Site) -> None:
    identifier.project, identifier.domain = site.project, site.domain
    identifier.name = f"{site.prefix}{identifier.name}"


def own_version(template: Message) -> str:
    """The version of what has none of its own yet: the digest of its content."""
    return Digest.of(template.SerializeToString(deterministic=True)).hex[:VERSION_DIGITS]


def _check_names(identifiers: Iterable[Identifier]) -> None:
    for identifier in identifiers:
        name = identifier.name
        if len(name) > LONGEST_NAME:
            raise UsageError(f"the name `{name}` is longer than {LONGEST_NAME} characters")
