"""The protobuf encoder and decoder, byte for byte against flyteidl."""

from __future__ import annotations

import contextlib

import pytest
from flyteidl.core.errors_pb2 import ContainerError, ErrorDocument
from flyteidl.core.execution_pb2 import ExecutionError
from flyteidl.core.literals_pb2 import Literal, LiteralMap, Primitive, Scalar, Union, Void
from flyteidl.core.types_pb2 import LiteralType, SimpleType
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime import literals
from mfbuild.runtime.literals import Value

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def theirs(value: Value) -> Literal:
    """The same literal by flyteidl."""
    if isinstance(value, list):
        literal = Literal()
        literal.collection.SetInParent()
        literal.collection.literals.extend(theirs(item) for item in value)
        return literal
    if value is None:
        return Literal(scalar=Scalar(none_type=Void()))
    kind = {bool: "boolean", int: "integer", float: "float_value", str: "string_value"}
    primitive = Primitive(**{kind[type(value)]: value})
    return Literal(scalar=Scalar(primitive=primitive))


@given(values)
def test_a_literal_has_the_bytes_of_flyteidl(value: Value) -> None:
    data = theirs(value).SerializeToString(deterministic=True)
    assert literals.literal(value) == data
    assert literals.read_literal(data) == value


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_a_map_has_the_bytes_of_flyteidl(found: dict[str, Value]) -> None:
    data = LiteralMap(literals={name: theirs(value) for name, value in found.items()})
    assert LiteralMap.FromString(literals.literal_map(found)) == data
    read = literals.read_literal_map(data.SerializeToString())
    assert {name: literals.read_literal(value) for name, value in read.items()} == found


@given(scalars)
def test_the_value_of_a_union_is_read(value: Value) -> None:
    union = Union(value=theirs(value), type=LiteralType(simple=SimpleType.STRING))
    literal = Literal(scalar=Scalar(union=union))
    assert literals.read_literal(literal.SerializeToString()) == value


@given(st.text(), st.text(), st.booleans())
def test_an_error_has_the_bytes_of_flyteidl(code: str, text: str, recoverable: bool) -> None:
    error = ContainerError(
        code=code,
        message=text,
        kind=ContainerError.RECOVERABLE if recoverable else ContainerError.NON_RECOVERABLE,
        origin=ExecutionError.USER,
    )
    found = literals.error_document(code, text, recoverable=recoverable)
    assert ErrorDocument.FromString(found) == ErrorDocument(error=error)


@given(st.binary(max_size=60))
def test_what_is_no_message_is_refused_or_read(data: bytes) -> None:
    for read in (literals.read_literal, literals.read_literal_map):
        with contextlib.suppress(ValueError):
            read(data)


@pytest.mark.parametrize(
    "literal",
    [Literal(), Literal(scalar=Scalar()), Literal(scalar=Scalar(generic={"a": 1}))],
)
def test_what_no_parameter_can_be_is_refused(literal: Literal) -> None:
    with pytest.raises(ValueError, match="an input is"):
        literals.read_literal(literal.SerializeToString())
