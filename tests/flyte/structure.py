"""Checks of compiled workflows that know Flyte's rules and nothing of the compiler."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flyteidl.core.interface_pb2 import TypedInterface
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import LiteralType, SimpleType
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.resolve import Resolved

MOST_NODES = 100

_KINDS = {
    "integer": SimpleType.INTEGER,
    "string_value": SimpleType.STRING,
    "float_value": SimpleType.FLOAT,
    "boolean": SimpleType.BOOLEAN,
}


def faults(spec: FlowSpec, resolved: Resolved) -> list[str]:
    """What is wrong with the entities of a flow."""
    tasks = list(resolved.tasks.values())
    subs = list(resolved.sub_workflows)
    found = list(_of_workflows([resolved.workflow, *subs], tasks, subs))
    plan = json.loads(resolved.expansion_plan or b'{"steps": {}}')
    for step, planned in plan["steps"].items():
        for expansion in _expansions(planned):
            found += [f"{step}: {fault}" for fault in _of_expansion(expansion, plan)]
    steps = set(_steps(resolved))
    found += [f"`{step.name}` is nowhere" for step in spec.steps if step.name not in steps]
    return found


def _expansions(planned: Mapping[str, Any]) -> list[Any]:
    return (
        [planned["foreach"]]
        if "foreach" in planned
        else [*filter(None, planned["switch"].values())]
    )


def _of_expansion(expansion: Any, plan: Any) -> Iterator[str]:
    tasks = [TaskTemplate.FromString(b64decode(plan["tasks"][n])) for n in expansion["tasks"]]
    parts = [
        WorkflowTemplate.FromString(b64decode(plan["workflows"][n])) for n in expansion["workflows"]
    ]
    node = Node.FromString(b64decode(expansion["node"]))
    if node.id or node.inputs or node.upstream_node_ids:
        yield "the node of an expansion is not bare"
    interface = _interface(node, _index(tasks, parts))
    if set(interface.inputs.variables) != set(expansion["inputs"]):
        yield f"the inputs of `{expansion['id']}` are not all bound"
    used = {_key(node.task_node.reference_id), _key(node.workflow_node.sub_workflow_ref)}
    yield from _of_workflows(parts, tasks, parts)
    for template in [*tasks, *parts]:
        inner = {_key(r) for part in parts for n in all_nodes(part.nodes) for r in _references(n)}
        if _key(template.id) not in used | inner:
            yield f"`{template.id.name}` comes along for nothing"


def _of_workflows(
    workflows: Iterable[WorkflowTemplate],
    tasks: Sequence[TaskTemplate],
    subs: Sequence[WorkflowTemplate],
) -> Iterator[str]:
    index = _index(tasks, subs)
    for workflow in workflows:
        for fault in _of_nodes(workflow, index):
            yield f"{workflow.id.name}: {fault}"


def _of_nodes(workflow: WorkflowTemplate, index: Mapping[bytes, TypedInterface]) -> Iterator[str]:
    nodes = list(all_nodes(workflow.nodes))
    ids = [node.id for node in workflow.nodes]
    arms = [f"{n.id}-{arm.id}" for n in workflow.nodes for arm in _arms(n)]
    if len(set(ids + arms)) != len(ids) + len(arms):
        yield "a node id is there twice"
    if len(ids) > MOST_NODES:
        yield f"there are {len(ids)} nodes"
    if not ids:
        yield "there are no nodes"
    outputs = {"": workflow.interface.inputs.variables}
    outputs |= {node.id: _interface(node, index).outputs.variables for node in workflow.nodes}
    for node in nodes:
        if missing := set(node.upstream_node_ids) - set(ids):
            yield f"`{node.id}` comes after {missing}, which is not there"
        yield from _of_bindings(node, outputs, index)
    yield from _cycles(workflow.nodes)


def _of_bindings(
    node: Node, outputs: Mapping[str, Any], index: Mapping[bytes, TypedInterface]
) -> Iterator[str]:
    wanted = _interface(node, index).inputs.variables
    bound = [binding.var for binding in node.inputs]
    if node.HasField("branch_node"):
        wanted = {}
        used = {b.condition.comparison.left_value.var for b in _blocks(node)}
        if used != set(bound):
            yield f"`{node.id}` does not have what its conditions compare"
    elif sorted(bound) != sorted(wanted):
        yield f"`{node.id}` binds {bound}, not {sorted(wanted)}"
    for binding in node.inputs:
        promise = binding.binding.promise
        if binding.binding.HasField("promise"):
            source = outputs.get(promise.node_id, {})
            if promise.var not in source:
                yield f"`{node.id}` waits for `{promise.node_id}.{promise.var}`, which nobody has"
                continue
            given = source[promise.var].type
        else:
            kind = binding.binding.scalar.primitive.WhichOneof("value")
            given = LiteralType(simple=_KINDS[kind])
        if binding.var in wanted and wanted[binding.var].type != given:
            yield f"`{node.id}` gets a wrong type for `{binding.var}`"


def all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes that are executed as such: with the arms of choices, without an array's inner."""
    for node in nodes:
        yield node
        yield from all_nodes(_arms(node))


def _blocks(node: Node) -> list[Any]:
    if not node.HasField("branch_node"):
        return []
    return [node.branch_node.if_else.case, *node.branch_node.if_else.other]


def _arms(node: Node) -> list[Node]:
    return [block.then_node for block in _blocks(node)]


def _references(node: Node) -> list[Any]:
    if node.HasField("array_node"):
        return _references(node.array_node.node)
    if node.HasField("task_node"):
        return [node.task_node.reference_id]
    return [node.workflow_node.sub_workflow_ref] if node.HasField("workflow_node") else []


def _key(identifier: Any) -> bytes:
    return bytes(identifier.SerializeToString(deterministic=True))


def _index(
    tasks: Iterable[TaskTemplate], workflows: Iterable[WorkflowTemplate]
) -> dict[bytes, TypedInterface]:
    return {_key(template.id): template.interface for template in [*tasks, *workflows]}


def _interface(node: Node, index: Mapping[bytes, TypedInterface]) -> TypedInterface:
    references = _references(node)
    return index[_key(references[0])] if references else TypedInterface()


def _cycles(nodes: Iterable[Node]) -> Iterator[str]:
    pending = {node.id: set(node.upstream_node_ids) for node in nodes}
    while ready := [name for name, before in pending.items() if not before & pending.keys()]:
        for name in ready:
            del pending[name]
    if pending:
        yield f"{sorted(pending)} wait for each other"


def _steps(resolved: Resolved) -> Iterator[str]:
    """The steps whose tasks some node runs."""
    names = {_key(task.id): step for step, task in resolved.tasks.items()}
    plan = json.loads(resolved.expansion_plan or b'{"steps": {}, "workflows": {}}')
    parts = [WorkflowTemplate.FromString(b64decode(t)) for t in plan["workflows"].values()]
    nodes = [n for w in [resolved.workflow, *resolved.sub_workflows, *parts] for n in w.nodes]
    for planned in plan["steps"].values():
        nodes += [Node.FromString(b64decode(e["node"])) for e in _expansions(planned)]
    for node in all_nodes(nodes):
        yield from (names[_key(r)] for r in _references(node) if _key(r) in names)
