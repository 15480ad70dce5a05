"""Nodes of a workflow: a step's task, an array of tasks, a choice, a sub-workflow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flyteidl.core.condition_pb2 import BooleanExpression, ComparisonExpression, Operand
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import Binding, Primitive, RetryStrategy
from flyteidl.core.types_pb2 import Error
from flyteidl.core.workflow_pb2 import (
    ArrayNode,
    BranchNode,
    IfBlock,
    IfElseBlock,
    Node,
    NodeMetadata,
    TaskNode,
    WorkflowNode,
)
from google.protobuf.duration_pb2 import Duration

from mfbuild.flow.spec import StepSpec
from mfbuild.flyte.literals import constant, promise
from mfbuild.flyte.names import CHOICE, COUNT, ITERATION, SIZE, SPLIT, SPLITS, node_id, task_name
from mfbuild.flyte.tasks import retries, retry_delay
from mfbuild.flyte.templates import inner_nodes

GRACE_SECONDS = 1800
"""What a pod may take to be scheduled, to pull its image and to end: Flyte counts it too."""


def task_node(
    flow: str,
    step: StepSpec,
    inputs: Iterable[str],
    upstream: Sequence[str],
    *,
    counted: str | None = None,
    timed: bool = True,
) -> Node:
    """The node of a step. `inputs` are bound to the workflow's of the same names, but ITERATION
    to 0, and COUNT to the output of the node `counted`. A step that starts others is not
    `timed`: its deadline would be theirs."""
    return Node(
        id=node_id(step.name),
        metadata=_metadata(step, timed=timed),
        inputs=[_binding(name, counted) for name in sorted(inputs)],
        upstream_node_ids=sorted(upstream),
        task_node=TaskNode(reference_id=_task(flow, step)),
    )


def array_node(
    flow: str, step: StepSpec, inputs: Iterable[str], foreach: str, parallelism: int
) -> Node:
    """The node that runs a step once for each of the splits that the node `foreach` puts out."""
    shared = sorted(set(inputs) - {SPLIT})
    one = Node(
        id=node_id(step.name),
        metadata=_metadata(step, timed=True),
        task_node=TaskNode(reference_id=_task(flow, step)),
    )
    array = ArrayNode(node=one, bound_inputs=shared)
    if parallelism:
        array.parallelism = parallelism
    return Node(
        id=node_id(step.name),
        metadata=NodeMetadata(name=step.name),
        inputs=[*(_binding(name) for name in shared), promise(SPLIT, foreach, SPLITS)],
        upstream_node_ids=[foreach],
        array_node=array,
    )


def branch_node(identifier: str, switch: StepSpec, arms: Mapping[str, Node]) -> Node:
    """The node that runs the arm that a switch chose; `arms` by the name of their first step."""
    decider = node_id(switch.name)
    first, *others = (IfBlock(condition=_chose(n), then_node=arm) for n, arm in arms.items())
    never = Error(failed_node_id=decider, message=f"`{switch.name}` chose none of its next steps")
    return Node(
        id=identifier,
        metadata=NodeMetadata(name=f"{switch.name} chose"),
        inputs=[promise(CHOICE, decider, CHOICE)],
        upstream_node_ids=[decider],
        branch_node=BranchNode(if_else=IfElseBlock(case=first, other=others, error=never)),
    )


def workflow_node(
    identifier: str, workflow: str, inputs: Iterable[str], upstream: Iterable[str]
) -> Node:
    """The node of the sub-workflow `workflow`, with the inputs of the workflow around it."""
    reference = Identifier(resource_type=ResourceType.WORKFLOW, name=workflow)
    return Node(
        id=identifier,
        metadata=NodeMetadata(name=identifier),
        inputs=[_binding(name) for name in sorted(inputs)],
        upstream_node_ids=sorted(upstream),
        workflow_node=WorkflowNode(sub_workflow_ref=reference),
    )


def workflow_inputs(nodes: Iterable[Node]) -> Iterator[str]:
    """The inputs of the workflow around them that nodes are bound to."""
    for node in nodes:
        for binding in node.inputs:
            if binding.binding.HasField("promise") and not binding.binding.promise.node_id:
                yield binding.binding.promise.var
        yield from workflow_inputs(inner_nodes(node))


def timeout_seconds(step: StepSpec) -> int | None:
    """The deadline of one attempt of a node, None if it has none.

    Metaflow's own alarm ends the step; this ends what the alarm cannot. Propeller counts from the
    start of the attempt, with the wait for a pod, its image and the delay between retries; and it
    gives all attempts together no more than twice as long (buildNodeSpec: ActiveDeadline).
    """
    if step.timeout_seconds is None:
        return None
    attempt = step.timeout_seconds + retry_delay(step) + GRACE_SECONDS
    attempts = 1 + retries(step)
    return math.ceil(attempt * max(1.0, attempts / 2))


def _metadata(step: StepSpec, *, timed: bool) -> NodeMetadata:
    metadata = NodeMetadata(name=step.name, retries=RetryStrategy(retries=retries(step)))
    seconds = timeout_seconds(step) if timed else None
    if seconds is not None:
        metadata.timeout.CopyFrom(Duration(seconds=seconds))
    return metadata


def _task(flow: str, step: StepSpec) -> Identifier:
    return Identifier(resource_type=ResourceType.TASK, name=task_name(flow, step.name))


def _binding(name: str, counted: str | None = None) -> Binding:
    if name == ITERATION:
        return constant(ITERATION, 0)
    if name == COUNT and counted:
        return promise(COUNT, counted, SIZE)
    return promise(name, "", name)


def _chose(step: str) -> BooleanExpression:
    return BooleanExpression(
        comparison=ComparisonExpression(
            operator=ComparisonExpression.EQ,
            left_value=Operand(var=CHOICE),
            right_value=Operand(primitive=Primitive(string_value=step)),
        )
    )
