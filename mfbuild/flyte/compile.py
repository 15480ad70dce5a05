"""`compile`: a FlowSpec as templates of Flyte's entities, before any project, image or version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.expansion_plan import expansions
from mfbuild.flyte.graph import graph_of
from mfbuild.flyte.launch_plan import launch_plan
from mfbuild.flyte.quantities import overridden
from mfbuild.flyte.regions import Regions
from mfbuild.flyte.tasks import task_template
from mfbuild.flyte.templates import Compiled


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
