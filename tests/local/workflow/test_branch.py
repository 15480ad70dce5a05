from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.core.condition_pb2 import (
    BooleanExpression,
    ComparisonExpression,
    ConjunctionExpression,
    Operand,
)
from flyteidl.core.literals_pb2 import BindingData, Literal, Primitive
from flyteidl.core.types_pb2 import OutputReference
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.errors import RunError
from mfbuild.local.workflow.bindings import attribute, resolve
from mfbuild.local.workflow.branch import holds
from tests.local.workflows import constant, number, numbers, promise, text

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": operator.eq,
    "NEQ": operator.ne,
    "GT": operator.gt,
    "GTE": operator.ge,
    "LT": operator.lt,
    "LTE": operator.le,
}


def compare(name: str, left: Operand, right: Operand) -> BooleanExpression:
    number = ComparisonExpression.Operator.Value(name)
    comparison = ComparisonExpression(operator=number, left_value=left, right_value=right)
    return BooleanExpression(comparison=comparison)


@given(st.sampled_from(sorted(OPERATORS)), st.integers(-3, 3), st.integers(-3, 3))
def test_numbers_compare_as_numbers(name: str, left: int, right: int) -> None:
    expression = compare(name, Operand(var="x"), Operand(primitive=Primitive(integer=right)))
    assert holds(expression, {"x": number(left)}) is OPERATORS[name](left, right)


def test_durations_compare_by_length() -> None:
    longer, shorter = Primitive(), Primitive()
    longer.duration.seconds, shorter.duration.nanos = 1, 999
    assert holds(compare("GT", Operand(primitive=longer), Operand(primitive=shorter)), {})


@given(st.booleans(), st.booleans())
def test_conjunctions(left: bool, right: bool) -> None:
    truth = Operand(primitive=Primitive(boolean=True))

    def expression(value: bool) -> BooleanExpression:
        return compare("EQ", truth, Operand(primitive=Primitive(boolean=value)))

    for name, expected in (("AND", left and right), ("OR", left or right)):
        both = ConjunctionExpression(
            operator=ConjunctionExpression.LogicalOperator.Value(name),
            left_expression=expression(left),
            right_expression=expression(right),
        )
        assert holds(BooleanExpression(conjunction=both), {}) is expected


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(RunError, match="compares a `integer` with a `string_value`"):
        holds(
            compare("EQ", Operand(var="x"), Operand(primitive=Primitive(string_value="1"))),
            {"x": number(1)},
        )
    with pytest.raises(RunError, match="with `GT`"):
        letter = Operand(primitive=Primitive(string_value="a"))
        holds(compare("GT", letter, letter), {})
    with pytest.raises(RunError, match="`y`, which is no input"):
        holds(compare("EQ", Operand(var="y"), Operand(var="y")), {"x": number(1)})


def nothing(reference: OutputReference) -> Literal:
    raise AssertionError("there is no promise")


def test_bindings_of_every_kind() -> None:
    several = BindingData()
    several.collection.bindings.extend([constant(1), promise("n", "v")])
    found = resolve(several, lambda reference: number(2))
    assert found == numbers([1, 2])
    named = BindingData()
    named.map.bindings["a"].CopyFrom(constant("x"))
    assert resolve(named, nothing).map.literals["a"] == text("x")
    optional = constant(1)
    optional.union.targetType.simple = 1
    wrapped = resolve(optional, nothing)
    assert wrapped.scalar.union.value == number(1)
    assert wrapped.scalar.union.type.simple == 1
    with pytest.raises(RunError, match="kind `None`"):
        resolve(BindingData(), nothing)


def test_an_empty_list_stays_a_list() -> None:
    empty = BindingData()
    empty.collection.SetInParent()
    assert resolve(empty, nothing).WhichOneof("value") == "collection"


def test_parts_of_an_output() -> None:
    nested = Literal()
    nested.map.literals["a"].CopyFrom(numbers([4, 5]))
    assert attribute(nested, ["a", 1], "output `o`") == number(5)
    for path in (["b"], ["a", 2], ["a", "x"], [0]):
        with pytest.raises(RunError, match="output `o` has no part"):
            attribute(nested, path, "output `o`")  # type: ignore[arg-type]
