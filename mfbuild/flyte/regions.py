"""Regions of a flow as nodes: the steps from an entry up to, not including, an end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import LiteralType
from flyteidl.core.workflow_pb2 import Node, WorkflowMetadata, WorkflowTemplate

from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.graph import FlowGraph, arms, join_of
from mfbuild.flyte.literals import interface
from mfbuild.flyte.names import free_id, node_id, task_name
from mfbuild.flyte.nodes import array_node, branch_node, task_node, workflow_inputs, workflow_node

LIMIT = 100
"""The nodes that flyteadmin allows in a workflow unless it is told otherwise
(registration.maxWorkflowNodes), start and end not counted."""


class Regions:
    """Makes the nodes of one flow's regions; `parts` collects the sub-workflows they refer to."""

    def __init__(
        self, flow: str, graph: FlowGraph, tasks: Mapping[str, TaskTemplate], parallelism: int
    ) -> None:
        self.parts: dict[str, WorkflowTemplate] = {}
        self.flow = flow
        self._graph = graph
        self._tasks = tasks
        self._parallelism = parallelism
        self._types: dict[str, LiteralType] = {
            name: variable.type
            for template in tasks.values()
            for name, variable in template.interface.inputs.variables.items()
        }
        self._ids = {node_id(name) for name in graph.steps}

    def workflow(self, name: str, nodes: Sequence[Node]) -> WorkflowTemplate:
        """The template of a workflow of `nodes`; its inputs are those that they are bound to."""
        inputs = {name: self._types[name] for name in sorted(set(workflow_inputs(nodes)))}
        return WorkflowTemplate(
            id=Identifier(resource_type=ResourceType.WORKFLOW, name=name),
            metadata=WorkflowMetadata(),
            interface=interface(inputs, {}),
            nodes=nodes,
        )

    def nodes(self, entry: str, end: str | None) -> list[Node]:
        """The nodes of a region, at most LIMIT."""
        nodes, _ = self._region(entry, end, ())
        return nodes

    def one(self, entry: str, end: str | None) -> Node:
        """A region as one node, a sub-workflow if it has several; it is upstream of nothing."""
        nodes = self.nodes(entry, end)
        if len(nodes) == 1:
            return nodes[0]
        return self._part(f"{node_id(entry)}-to-{node_id(end or 'end')}", nodes, ())

    def task(
        self, step: StepSpec, upstream: Sequence[str] = (), counted: str | None = None
    ) -> Node:
        """The node of one step, after the nodes `upstream`."""
        inputs = self._tasks[step.name].interface.inputs.variables
        timed = step.name not in self._graph.dynamic
        return task_node(self.flow, step, inputs, upstream, counted=counted, timed=timed)

    def _region(
        self, entry: str, end: str | None, upstream: Sequence[str]
    ) -> tuple[list[Node], Sequence[str]]:
        """The nodes of a region that begins after `upstream`, and the ids of its last ones."""
        groups: list[list[Node]] = []
        name: str | None = entry
        while name is not None and name != end:
            step = self._graph.steps[name]
            group, upstream, name = self._group(step, upstream)
            groups.append(group)
        return self._cut(groups, upstream, LIMIT)

    def _group(
        self, step: StepSpec, upstream: Sequence[str]
    ) -> tuple[list[Node], Sequence[str], str | None]:
        """What one step of the way through a region becomes: nodes that pass each other values and
        so stay together, the ids of the last ones, and the step where the way goes on."""
        node = self.task(step, upstream)
        merge = self._graph.merge[step.name]
        if step.type == "foreach":
            return self._foreach(step, node)
        if step.type == "split":
            nodes, ends = self._split(step, node, merge)
            return nodes, ends, merge
        if step.name in self._graph.branched:
            branch = self._branch(step, merge)
            return [node, branch], (branch.id,), merge
        return [node], (node.id,), merge

    def _foreach(self, step: StepSpec, node: Node) -> tuple[list[Node], Sequence[str], str | None]:
        """The foreach step, an array of its body unless its container expands it, and its join."""
        nodes = [node]
        if step.name in self._graph.flat:
            body = self._graph.steps[step.next[0]]
            inputs = self._tasks[body.name].interface.inputs.variables
            nodes.append(array_node(self.flow, body, inputs, node.id, self._parallelism))
        join = self._graph.steps[join_of(step)]
        nodes.append(self.task(join, (nodes[-1].id,), counted=node.id))
        return nodes, (nodes[-1].id,), self._graph.merge[join.name]

    def _split(
        self, step: StepSpec, node: Node, merge: str | None
    ) -> tuple[list[Node], Sequence[str]]:
        regions = [self._region(name, merge, (node.id,)) for name in arms(step)]
        ends = list(dict.fromkeys(chain.from_iterable(ends for _, ends in regions)))
        nodes, last = self._cut([nodes for nodes, _ in regions], ends, LIMIT - 1)
        return [node, *nodes], last

    def _branch(self, step: StepSpec, merge: str | None) -> Node:
        chosen = {name: self.one(name, merge) for name in arms(step)}
        return branch_node(free_id(f"{node_id(step.name)}-chose", self._ids), step, chosen)

    def _cut(
        self, groups: Sequence[Sequence[Node]], ends: Sequence[str], limit: int
    ) -> tuple[list[Node], Sequence[str]]:
        """The nodes of `groups`, neighbours made sub-workflows until at most `limit` are left.

        The groups are in topological order, and only what is within a group passes values on.
        """
        while sum(map(len, groups)) > limit:
            moved: dict[str, str] = {}
            groups = [[self._enclosed(pack, moved)] for pack in _packed(groups)]
            ends = tuple(dict.fromkeys(moved.get(end, end) for end in ends))
        return list(chain.from_iterable(groups)), ends

    def _enclosed(self, nodes: Sequence[Node], moved: dict[str, str]) -> Node:
        """`nodes` as one; `moved` says which node now holds a node of the same list."""
        own = {node.id for node in nodes}
        upstream = {
            moved.get(name, name)
            for node in nodes
            for name in node.upstream_node_ids
            if name not in own
        }
        if len(nodes) == 1:
            (outer,) = nodes
            outer.upstream_node_ids[:] = sorted(upstream)
            return outer
        for node in nodes:
            node.upstream_node_ids[:] = [name for name in node.upstream_node_ids if name in own]
        outer = self._part(f"{nodes[0].id}-and-{len(nodes) - 1}-more", nodes, upstream)
        moved |= dict.fromkeys(own, outer.id)
        return outer

    def _part(self, wanted: str, nodes: Sequence[Node], upstream: Iterable[str]) -> Node:
        identifier = free_id(wanted, self._ids)
        name = task_name(self.flow, identifier)
        template = self.workflow(name, nodes)
        if self.parts.setdefault(identifier, template) != template:
            raise AssertionError(f"BUG: two sub-workflows are called `{identifier}`")
        return workflow_node(identifier, name, template.interface.inputs.variables, upstream)


def _packed(groups: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """Neighbouring groups together, as many as LIMIT allows."""
    packs: list[list[Node]] = [[]]
    for group in groups:
        if packs[-1] and len(packs[-1]) + len(group) > LIMIT:
            packs.append([])
        packs[-1] += group
    return packs
