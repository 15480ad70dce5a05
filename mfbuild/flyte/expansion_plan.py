"""The expansion plan: what containers of dynamic steps start, each time one ready-made node."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from mfbuild.engine.model import canonical
from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.graph import FlowGraph, arms, is_recursive, join_of
from mfbuild.flyte.names import ITERATION, PATH
from mfbuild.flyte.regions import Regions
from mfbuild.flyte.templates import Expansions, encode, runs

FORMAT = 1


def expansions(graph: FlowGraph, regions: Regions) -> dict[str, Any]:
    """What each dynamic step of a flow starts."""
    dynamic = [step for step in graph.steps.values() if step.name in graph.dynamic]
    return {step.name: _expansion(graph, regions, step) for step in dynamic}


def expansion_plan(
    flow: str,
    steps: Expansions,
    tasks: Mapping[str, TaskTemplate],
    parts: Mapping[str, WorkflowTemplate],
) -> bytes | None:
    """The plan of resolved `steps`, with the templates that they need; None without steps."""
    if not steps:
        return None
    listed = [expansion for step in steps.values() for expansion in each_expansion(step)]
    wanted = {kind: {n for e in listed for n in e[kind]} for kind in ("tasks", "workflows")}
    plan = {
        "format": FORMAT,
        "flow": flow,
        "steps": steps,
        "tasks": {name: encode(tasks[name]) for name in wanted["tasks"]},
        "workflows": {name: encode(parts[name]) for name in wanted["workflows"]},
    }
    return canonical(plan).encode()


def each_expansion(step: Any) -> list[dict[str, Any]]:
    """The expansions of one step of the plan."""
    if "foreach" in step:
        return [step["foreach"]]
    return [expansion for expansion in step["switch"].values() if expansion]


def _expansion(graph: FlowGraph, regions: Regions, step: StepSpec) -> dict[str, Any]:
    if step.type == "foreach":
        body = regions.one(step.next[0], join_of(step))
        return {"foreach": _start(regions, body, {PATH: "split"})}
    end = graph.merge[step.name]
    chosen = {
        name: None if name == end else _start(regions, regions.one(name, end), {})
        for name in arms(step)
    }
    if is_recursive(step):
        chosen[step.name] = _start(regions, regions.task(step), {ITERATION: "next"})
    return {"switch": chosen}


def _start(regions: Regions, node: Node, values: Mapping[str, str]) -> dict[str, Any]:
    """One expansion: the node without its id and inputs, and how the runtime fills these in."""
    rules = {ITERATION: "first", **values}
    inputs = {binding.var: rules.get(binding.var, "same") for binding in node.inputs}
    tasks, workflows = runs([node], {part.id.name: part for part in regions.parts.values()})
    flow = f"{regions.flow}."
    bare = deepcopy(node)
    for field in ("id", "inputs", "upstream_node_ids"):
        bare.ClearField(field)
    return {
        "id": node.id,
        "node": encode(bare),
        "inputs": inputs,
        "tasks": sorted(name.removeprefix(flow) for name in tasks),
        "workflows": sorted(name.removeprefix(flow) for name in workflows),
    }
