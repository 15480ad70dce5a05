"""Workflows made by hand: the shapes that compiled flows are made of, on tasks that do little."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from flyteidl.core.condition_pb2 import BooleanExpression, ComparisonExpression, Operand
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.errors_pb2 import ErrorDocument
from flyteidl.core.identifier_pb2 import TASK, WORKFLOW, Identifier
from flyteidl.core.interface_pb2 import TypedInterface, Variable, VariableMap
from flyteidl.core.literals_pb2 import (
    Binding,
    BindingData,
    BindingDataCollection,
    Literal,
    LiteralCollection,
    LiteralMap,
    Primitive,
    RetryStrategy,
    Scalar,
)
from flyteidl.core.tasks_pb2 import Container, TaskMetadata, TaskTemplate
from flyteidl.core.types_pb2 import INTEGER, STRING, Error, LiteralType, OutputReference
from flyteidl.core.workflow_pb2 import (
    ArrayNode,
    BranchNode,
    IfBlock,
    IfElseBlock,
    Node,
    NodeMetadata,
    TaskNode,
    WorkflowNode,
    WorkflowTemplate,
)

PROJECT, DOMAIN, VERSION = "flows", "test", "1"
TEXT, NUMBER = LiteralType(simple=STRING), LiteralType(simple=INTEGER)
NUMBERS = LiteralType(collection_type=NUMBER)
Types = Mapping[str, LiteralType]


def text(value: str) -> Literal:
    """A string."""
    return Literal(scalar=Scalar(primitive=Primitive(string_value=value)))


def numbers(values: Iterable[int]) -> Literal:
    """A list of integers."""
    literals = [Literal(scalar=Scalar(primitive=Primitive(integer=value))) for value in values]
    return Literal(collection=LiteralCollection(literals=literals))


def constants(values: Iterable[int]) -> BindingData:
    """Binds an input to a list of integers."""
    each = [BindingData(scalar=literal.scalar) for literal in numbers(values).collection.literals]
    return BindingData(collection=BindingDataCollection(bindings=each))


def writes(name: str, message: LiteralMap | DynamicJobSpec | ErrorDocument) -> str:
    """The argument by which a task writes a message to a file below its output prefix."""
    return f"{name}={base64.b64encode(message.SerializeToString()).decode()}"


def task(
    name: str,
    image: str,
    *args: str,
    inputs: Types | None = None,
    outputs: Types | None = None,
    retries: int = 0,
) -> TaskTemplate:
    """A task that runs `args` in `image`."""
    return TaskTemplate(
        id=_id(TASK, name),
        type="python-task",
        metadata=TaskMetadata(retries=RetryStrategy(retries=retries)),
        interface=_interface(inputs or {}, outputs or {}),
        container=Container(image=image, args=args),
    )


def node(
    name: str, inputs: Mapping[str, BindingData] | None = None, after: Sequence[str] = ()
) -> Node:
    """A node that still lacks what it runs."""
    bindings = [Binding(var=var, binding=data) for var, data in (inputs or {}).items()]
    return Node(id=name, inputs=bindings, upstream_node_ids=after, metadata=NodeMetadata(name=name))


def output(of: str, var: str) -> BindingData:
    """The output `var` of a node; of the node "", an input of the workflow."""
    return BindingData(promise=OutputReference(node_id=of, var=var))


def runs(name: str, inputs: Mapping[str, BindingData] | None = None, *after: str) -> Node:
    """A node that runs the task of its name."""
    made = node(name, inputs, after)
    made.task_node.CopyFrom(TaskNode(reference_id=_id(TASK, name)))
    return made


def maps(name: str, inputs: Mapping[str, BindingData], bound: Sequence[str] = ()) -> Node:
    """A node that runs the task of its name for each element of its inputs but `bound`."""
    made = node(name, inputs)
    made.array_node.CopyFrom(ArrayNode(node=runs(name), bound_inputs=bound))
    return made


def chooses(name: str, choice: BindingData, arms: Mapping[str, Node]) -> Node:
    """A node that runs the arm that `choice` names."""
    made = node(name, {"choice": choice})
    blocks = [
        IfBlock(
            condition=BooleanExpression(
                comparison=ComparisonExpression(
                    operator=ComparisonExpression.EQ,
                    left_value=Operand(var="choice"),
                    right_value=Operand(primitive=text(value).scalar.primitive),
                )
            ),
            then_node=arm,
        )
        for value, arm in arms.items()
    ]
    made.branch_node.CopyFrom(
        BranchNode(
            if_else=IfElseBlock(
                case=blocks[0],
                other=blocks[1:],
                error=Error(failed_node_id=name, message="no such choice"),
            )
        )
    )
    return made


def contains(name: str, inputs: Mapping[str, BindingData]) -> Node:
    """A node that runs the sub-workflow of its name."""
    made = node(name, inputs)
    made.workflow_node.CopyFrom(WorkflowNode(sub_workflow_ref=_id(WORKFLOW, name)))
    return made


def workflow(name: str, nodes: Sequence[Node], inputs: Types | None = None) -> WorkflowTemplate:
    """A workflow without outputs."""
    return WorkflowTemplate(
        id=_id(WORKFLOW, name), interface=_interface(inputs or {}, {}), nodes=nodes
    )


def _id(kind: int, name: str) -> Identifier:
    return Identifier(
        resource_type=kind, project=PROJECT, domain=DOMAIN, name=name, version=VERSION
    )


def _interface(inputs: Types, outputs: Types) -> TypedInterface:
    return TypedInterface(inputs=_variables(inputs), outputs=_variables(outputs))


def _variables(types: Types) -> VariableMap:
    return VariableMap(variables={name: Variable(type=kind) for name, kind in types.items()})
