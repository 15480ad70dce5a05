"""Conditions of a BranchNode, as Flyte's propeller evaluates them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flyteidl.core.condition_pb2 import (
    BooleanExpression,
    ComparisonExpression,
    ConjunctionExpression,
    Operand,
)
from flyteidl.core.literals_pb2 import Primitive
from flyteidl.core.workflow_pb2 import IfElseBlock, Node

from mfbuild.errors import RunError
from mfbuild.local.workflow.model import Values

_OPERATORS: dict[int, Callable[[Any, Any], bool]] = {
    ComparisonExpression.EQ: operator.eq,
    ComparisonExpression.NEQ: operator.ne,
    ComparisonExpression.GT: operator.gt,
    ComparisonExpression.GTE: operator.ge,
    ComparisonExpression.LT: operator.lt,
    ComparisonExpression.LTE: operator.le,
}
_ORDERED = ("integer", "float_value", "datetime", "duration")


def arms(block: IfElseBlock) -> list[Node]:
    """Every node that the branch may choose, in the order of its cases."""
    found = [block.case.then_node, *(case.then_node for case in block.other)]
    return [*found, block.else_node] if block.WhichOneof("default") == "else_node" else found


def chosen(block: IfElseBlock, inputs: Values) -> Node:
    """The node of the first case that holds, else of the default; RunError if there is none."""
    for case in (block.case, *block.other):
        if holds(case.condition, inputs):
            return case.then_node
    if block.WhichOneof("default") == "else_node":
        return block.else_node
    raise RunError(block.error.message or "no case of the branch holds")


def holds(expression: BooleanExpression, inputs: Values) -> bool:
    """Whether the condition is true; RunError if it compares what cannot be compared."""
    if expression.WhichOneof("expr") == "comparison":
        return _compare(expression.comparison, inputs)
    both = expression.conjunction
    left, right = holds(both.left_expression, inputs), holds(both.right_expression, inputs)
    if both.operator == ConjunctionExpression.AND:
        return left and right
    return left or right


def _compare(comparison: ComparisonExpression, inputs: Values) -> bool:
    left, right = _value(comparison.left_value, inputs), _value(comparison.right_value, inputs)
    kind, other = left.WhichOneof("value"), right.WhichOneof("value")
    if kind != other:
        raise RunError(f"a branch compares a `{kind}` with a `{other}`")
    name = ComparisonExpression.Operator.Name(comparison.operator)
    if name not in ("EQ", "NEQ") and kind not in _ORDERED:
        raise RunError(f"a branch compares values of the kind `{kind}` with `{name}`")
    return _OPERATORS[comparison.operator](_number(left, kind), _number(right, kind))


def _value(operand: Operand, inputs: Values) -> Primitive:
    kind = operand.WhichOneof("val")
    if kind == "primitive":
        return operand.primitive
    if kind == "scalar":
        return operand.scalar.primitive
    if operand.var not in inputs:
        raise RunError(f"a branch compares `{operand.var}`, which is no input of it")
    return inputs[operand.var].scalar.primitive


def _number(primitive: Primitive, kind: str | None) -> Any:
    """The value as something that Python compares as Flyte does."""
    value: Any = getattr(primitive, kind) if kind else None
    return (value.seconds, value.nanos) if kind in ("datetime", "duration") else value
