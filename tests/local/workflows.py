"""Workflows made by hand for the tests, and a driver that decides how each attempt ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flyteidl.core.condition_pb2 import BooleanExpression, ComparisonExpression, Operand
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.interface_pb2 import Variable
from flyteidl.core.literals_pb2 import Binding, BindingData, Literal, Primitive
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import INTEGER, LiteralType, OutputReference
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from mfbuild.local.workflow.interpreter import Interpreter
from mfbuild.local.workflow.model import (
    Attempt,
    AttemptFailure,
    Closure,
    Ending,
    Library,
    Recall,
    Success,
)

Ends = Callable[[Attempt], Ending]


def text(value: str) -> Literal:
    found = Literal()
    found.scalar.primitive.string_value = value
    return found


def number(value: int) -> Literal:
    found = Literal()
    found.scalar.primitive.integer = value
    return found


def numbers(values: Iterable[int]) -> Literal:
    found = Literal()
    found.collection.SetInParent()
    found.collection.literals.extend(number(v) for v in values)
    return found


def constant(value: str | int) -> BindingData:
    literal = text(value) if isinstance(value, str) else number(value)
    return BindingData(scalar=literal.scalar)


def promise(node: str, var: str) -> BindingData:
    return BindingData(promise=OutputReference(node_id=node, var=var))


def bindings(given: Mapping[str, BindingData]) -> list[Binding]:
    return [Binding(var=var, binding=data) for var, data in sorted(given.items())]


def named(name: str) -> Identifier:
    return Identifier(project="p", domain="local", name=name, version="v")


def task(
    name: str,
    args: Iterable[str] = (),
    *,
    outputs: Iterable[str] = (),
    retries: int = 0,
    env: Mapping[str, str] | None = None,
) -> TaskTemplate:
    """A task of a container `mfbuild:<name>`; its outputs are integers."""
    found = TaskTemplate(id=named(name), type="python-task")
    found.container.image = f"mfbuild:{name}"
    found.container.args.extend(args)
    for key, value in (env or {}).items():
        found.container.env.add(key=key, value=value)
    found.metadata.retries.retries = retries
    for output in outputs:
        variable = Variable(type=LiteralType(simple=INTEGER))
        found.interface.outputs.variables[output].CopyFrom(variable)
    return found


def node(
    name: str,
    *upstream: str,
    task: str | None = None,
    inputs: Mapping[str, BindingData] | None = None,
    retries: int | None = None,
    timeout: float | None = None,
) -> Node:
    """A node that runs the task `task`, or the one of its own name."""
    found = Node(id=name, upstream_node_ids=upstream, inputs=bindings(inputs or {}))
    found.task_node.reference_id.CopyFrom(named(task or name))
    if retries is not None:
        found.metadata.retries.retries = retries
    if timeout is not None:
        found.metadata.timeout.FromNanoseconds(int(timeout * 1e9))
    return found


def array(
    name: str,
    *upstream: str,
    inputs: Mapping[str, BindingData],
    bound: Iterable[str] = (),
    parallelism: int = 0,
    retries: int | None = None,
    min_successes: int | None = None,
) -> Node:
    """An ArrayNode over the task of its own name."""
    found = Node(id=name, upstream_node_ids=upstream, inputs=bindings(inputs))
    found.array_node.node.CopyFrom(node(name, retries=retries))
    found.array_node.bound_inputs.extend(bound)
    found.array_node.parallelism = parallelism
    if min_successes is not None:
        found.array_node.min_successes = min_successes
    return found


def switch(name: str, source: BindingData, arms: Mapping[str, Node], *upstream: str) -> Node:
    """A BranchNode that runs the arm named by the string `source`."""
    found = Node(id=name, upstream_node_ids=upstream, inputs=bindings({"choice": source}))
    block = found.branch_node.if_else
    for position, (value, arm) in enumerate(arms.items()):
        case = block.other.add() if position else block.case
        comparison = ComparisonExpression(
            operator=ComparisonExpression.EQ,
            left_value=Operand(var="choice"),
            right_value=Operand(primitive=Primitive(string_value=value)),
        )
        case.condition.CopyFrom(BooleanExpression(comparison=comparison))
        case.then_node.CopyFrom(arm)
    block.error.message = "no arm"
    return found


def sub_workflow(
    name: str, *upstream: str, inputs: Mapping[str, BindingData] | None = None
) -> Node:
    found = Node(id=name, upstream_node_ids=upstream, inputs=bindings(inputs or {}))
    found.workflow_node.sub_workflow_ref.CopyFrom(named(name))
    return found


def workflow(
    name: str, nodes: Iterable[Node], outputs: Mapping[str, BindingData] | None = None
) -> WorkflowTemplate:
    return WorkflowTemplate(id=named(name), nodes=nodes, outputs=bindings(outputs or {}))


def closure(
    nodes: Iterable[Node],
    tasks: Iterable[TaskTemplate],
    *subs: WorkflowTemplate,
    outputs: Mapping[str, BindingData] | None = None,
) -> Closure:
    return Closure(workflow("flow", nodes, outputs), Library.of(tasks, subs))


def futures(
    nodes: Iterable[Node],
    tasks: Iterable[TaskTemplate] = (),
    outputs: Mapping[str, BindingData] | None = None,
) -> Success:
    nodes = list(nodes)
    return Success(
        {},
        DynamicJobSpec(
            nodes=nodes, min_successes=len(nodes), outputs=bindings(outputs or {}), tasks=tasks
        ),
    )


@dataclass
class Story:
    """What was run, in order, and how it ended."""

    machine: Interpreter
    attempts: list[tuple[str, int]] = field(default_factory=list)
    most: int = 0

    @property
    def nodes(self) -> list[str]:
        return [name for name, _ in self.attempts]


def play(
    given: Closure,
    ends: Ends = lambda attempt: Success(),
    *,
    inputs: Mapping[str, Literal] | None = None,
    workers: int = 2,
    recall: Recall | None = None,
    only: str | None = None,
) -> Story:
    """Run `given` without processes, `workers` attempts at once, the oldest ending first."""
    more: dict[str, Any] = {} if recall is None else {"recall": recall}
    story = Story(Interpreter(given, inputs or {}, only=only, **more))
    running: list[Attempt] = []
    while not story.machine.finished:
        running += story.machine.ready(workers - len(running))
        story.most = max(story.most, len(running))
        attempt = running.pop(0)
        story.attempts.append((attempt.node, attempt.number))
        story.machine.ended(attempt, ends(attempt))
    return story


def ok(story: Story) -> bool:
    return story.machine.verdict() is None


def failing(times: Mapping[str, int], kind: Any = "user") -> Ends:
    """Every attempt succeeds but the first `times[node]` of these nodes."""

    def ends(attempt: Attempt) -> Ending:
        if attempt.number < times.get(attempt.node, 0):
            return AttemptFailure(kind, "as told")
        return Success()

    return ends
