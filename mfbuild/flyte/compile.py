"""`compile`: a FlowSpec as templates of Flyte's entities, before any project, image or version."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from mfbuild.engine.model import canonical
from mfbuild.errors import BundleError
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.expansion_plan import Expansions, encode, expansions
from mfbuild.flyte.graph import graph_of
from mfbuild.flyte.launch_plan import launch_plan
from mfbuild.flyte.quantities import overridden
from mfbuild.flyte.regions import Regions
from mfbuild.flyte.tasks import task_template

FORMAT = 1
TEMPLATES = "application/vnd.mfbuild.flyte.v1+json"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A flow as templates: ids have names alone, images are `mfbuild:<step>`.

    `tasks` are by step; `parts` are the sub-workflows of `workflow` and of the plan, by node id;
    `expansions` are the plan's `steps`, empty where no container starts others.
    """

    flow: str
    tasks: Mapping[str, TaskTemplate]
    workflow: WorkflowTemplate
    parts: Mapping[str, WorkflowTemplate]
    launch_plan: LaunchPlanSpec
    expansions: Expansions

    def encode(self) -> bytes:
        """The bytes that a bundle keeps, media type TEMPLATES."""
        value = {
            "format": FORMAT,
            "flow": self.flow,
            "tasks": {name: encode(task) for name, task in self.tasks.items()},
            "workflow": encode(self.workflow),
            "parts": {name: encode(part) for name, part in self.parts.items()},
            "launch_plan": encode(self.launch_plan),
            "expansions": self.expansions,
        }
        return f"{canonical(value)}\n".encode()

    @classmethod
    def decode(cls, data: bytes) -> Compiled:
        """What `encode` wrote; BundleError if it is anything else."""
        from google.protobuf.message import DecodeError

        try:
            return _decoded(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
            raise BundleError(f"the templates of Flyte cannot be read: {error}") from error


def compile_flow(
    spec: FlowSpec,
    *,
    options: Sequence[str] = (),
    resources: Mapping[str, Mapping[str, float]] | None = None,
    parallelism: int = 0,
) -> Compiled:
    """The templates of a flow in which `refuse` found no problem.

    `options` are Metaflow's top-level options, which every task gets; `resources` those that
    BUILD.toml sets, by step; `parallelism` how many nodes, and how many elements of an array, run
    at once (0: as many as the platform allows).
    """
    graph = graph_of(spec)
    overrides = resources or {}
    tasks = {
        step.name: task_template(
            spec, graph, step, options, overridden(step.resources, overrides.get(step.name, {}))
        )
        for step in spec.steps
    }
    regions = Regions(spec.name, graph, tasks, parallelism)
    workflow = regions.workflow(spec.name, regions.nodes(spec.start, None))
    return Compiled(
        flow=spec.name,
        tasks=tasks,
        workflow=workflow,
        parts=regions.parts,
        expansions=expansions(graph, regions),
        launch_plan=launch_plan(spec, parallelism),
    )


def _decoded(value: Any) -> Compiled:
    if value["format"] != FORMAT:
        raise ValueError(f"the format is `{value['format']}`, not `{FORMAT}`")

    def read(kind: Any, text: str) -> Any:
        return kind.FromString(b64decode(text, validate=True))

    return Compiled(
        flow=value["flow"],
        tasks={name: read(TaskTemplate, text) for name, text in value["tasks"].items()},
        workflow=read(WorkflowTemplate, value["workflow"]),
        parts={name: read(WorkflowTemplate, text) for name, text in value["parts"].items()},
        launch_plan=read(LaunchPlanSpec, value["launch_plan"]),
        expansions=value["expansions"],
    )
