"""Everything of a flow that is registered, in the order in which that is possible: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from mfbuild.flyte.nodes import references
from mfbuild.flyte.resolve import Resolved


@dataclass(frozen=True, slots=True)
class Entities:
    """What one push registers. `workflows` has whatever another one runs before that one."""

    tasks: tuple[tuple[Identifier, TaskSpec], ...]
    workflows: tuple[tuple[Identifier, WorkflowSpec], ...]
    launch_plan: tuple[Identifier, LaunchPlanSpec]


def entities(resolved: Resolved) -> Entities:
    """The entities of `resolved`, whose launch plan has its addresses."""
    parts = {part.id.name: part for part in resolved.sub_workflows}
    ordered = [*_inner_first(parts), resolved.workflow]
    return Entities(
        tasks=tuple((task.id, TaskSpec(template=task)) for task in resolved.tasks.values()),
        workflows=tuple(
            (w.id, WorkflowSpec(template=w, sub_workflows=_inner_first(_run_by(w, parts))))
            for w in ordered
        ),
        launch_plan=(resolved.launch_plan_id, resolved.launch_plan),
    )


def _run_by(
    workflow: WorkflowTemplate, parts: Mapping[str, WorkflowTemplate]
) -> dict[str, WorkflowTemplate]:
    """Those of `parts` that `workflow` runs, directly or not."""
    found: dict[str, WorkflowTemplate] = {}
    waiting = [workflow]
    while waiting:
        for reference in references(waiting.pop().nodes):
            name = reference.name
            if reference.resource_type == ResourceType.WORKFLOW and name not in found:
                found[name] = parts[name]
                waiting.append(parts[name])
    return found


def _inner_first(parts: Mapping[str, WorkflowTemplate]) -> list[WorkflowTemplate]:
    """`parts` by name, each after those that it runs."""
    ordered: dict[str, WorkflowTemplate] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for inner in sorted(_run_by(parts[name], parts)):
                add(inner)
            ordered[name] = parts[name]

    for name in sorted(parts):
        add(name)
    return list(ordered.values())
