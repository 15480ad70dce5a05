"""The closure of a workflow: the tasks that it names, and what Flyte's compiler makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flyteidl.core.compiler_pb2 import CompiledTask, CompiledWorkflow, CompiledWorkflowClosure
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from tests.cluster import compiler
from tests.cluster.build import program
from tests.flyteadmin.refusals import Refused, invalid, not_found, text
from tests.flyteadmin.state import Key, State, key_of


def closure_of(
    state: State, template: WorkflowTemplate, parts: Sequence[WorkflowTemplate]
) -> CompiledWorkflowClosure:
    """The templates of a workflow and of all tasks that it names; refused if one is missing."""
    named: dict[Key, Identifier] = {}
    for workflow in (template, *parts):
        named.update((key_of(found), found) for found in _tasks(workflow.nodes))
    tasks: list[CompiledTask] = []
    for key, identifier in named.items():
        if key not in state.tasks.rows:
            raise not_found("TASK", identifier)
        tasks.append(state.tasks.rows[key].message.closure.compiled_task)
    return CompiledWorkflowClosure(
        primary=CompiledWorkflow(template=template),
        sub_workflows=[CompiledWorkflow(template=part) for part in parts],
        tasks=tasks,
    )


def compile_workflow(
    state: State, template: WorkflowTemplate, parts: Sequence[WorkflowTemplate]
) -> tuple[CompiledWorkflowClosure, CompiledWorkflowClosure]:
    """The templates of a workflow, and the same compiled; refused where Flyte's compiler refuses.

    Where the compiler is not built, the second is the first with the nodes that it would add.
    """
    try:
        templates = closure_of(state, template, parts)
        if program("flyteworkflow").exists():
            return templates, compiler.compiled(templates)
    except (Refused, ValueError) as error:
        raise invalid(
            f"failed to compile workflow for [{text(template.id)}] with err: {error}"
        ) from None
    stand_in = CompiledWorkflowClosure()
    stand_in.CopyFrom(templates)
    nodes = [Node(id="start-node"), *template.nodes, Node(id="end-node")]
    del stand_in.primary.template.nodes[:]
    stand_in.primary.template.nodes.extend(nodes)
    return templates, stand_in


def _tasks(nodes: Sequence[Node]) -> Iterator[Identifier]:
    for node in nodes:
        kind = node.WhichOneof("target")
        if kind == "task_node":
            yield node.task_node.reference_id
        elif kind == "array_node":
            yield from _tasks([node.array_node.node])
        elif kind == "branch_node":
            block = node.branch_node.if_else
            yield from _tasks([block.case.then_node, *(other.then_node for other in block.other)])
            if block.HasField("else_node"):
                yield from _tasks([block.else_node])
