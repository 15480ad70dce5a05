"""Everything of a flow that is registered, in the order in which that is possible: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from mfbuild.flyte.resolve import Resolved
from mfbuild.flyte.templates import references


@dataclass(frozen=True, slots=True)
class Entities:
    """What one push registers. `workflows` has whatever another one runs before that one."""

    tasks: tuple[tuple[Identifier, TaskSpec], ...]
    workflows: tuple[tuple[Identifier, WorkflowSpec], ...]
    launch_plan: tuple[Identifier, LaunchPlanSpec]


def entities(resolved: Resolved) -> Entities:
    """The entities of `resolved`, whose launch plan has its addresses."""
    parts = resolved.sub_workflows
    return Entities(
        tasks=tuple((task.id, TaskSpec(template=task)) for task in resolved.tasks.values()),
        workflows=tuple(
            (w.id, WorkflowSpec(template=w, sub_workflows=_run_by(w, parts)))
            for w in (*parts, resolved.workflow)
        ),
        launch_plan=(resolved.launch_plan_id, resolved.launch_plan),
    )


def _run_by(
    workflow: WorkflowTemplate, parts: Sequence[WorkflowTemplate]
) -> list[WorkflowTemplate]:
    """Those of `parts` that `workflow` runs, directly or not, in their order."""
    by_name = {part.id.name: part for part in parts}
    found: set[str] = set()
    waiting = [workflow]
    while waiting:
        for reference in references(waiting.pop().nodes):
            name = reference.name
            if reference.resource_type == ResourceType.WORKFLOW and name not in found:
                found.add(name)
                waiting.append(by_name[name])
    return [part for part in parts if part.id.name in found]
