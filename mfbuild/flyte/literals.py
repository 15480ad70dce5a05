"""Flyte's types, literals and bindings, as far as a flow has them."""

from __future__ import annotations

from collections.abc import Mapping

from flyteidl.core.interface_pb2 import TypedInterface, Variable, VariableMap
from flyteidl.core.literals_pb2 import (
    Binding,
    BindingData,
    Literal,
    Primitive,
    Scalar,
    Union,
    Void,
)
from flyteidl.core.types_pb2 import (
    LiteralType,
    OutputReference,
    SimpleType,
    TypeStructure,
    UnionType,
)

STRING = LiteralType(simple=SimpleType.STRING)
INTEGER = LiteralType(simple=SimpleType.INTEGER)
FLOAT = LiteralType(simple=SimpleType.FLOAT)
BOOLEAN = LiteralType(simple=SimpleType.BOOLEAN)
INTEGERS = LiteralType(collection_type=INTEGER)

_NONE = LiteralType(simple=SimpleType.NONE, structure=TypeStructure(tag="none"))
_TAGS = {
    SimpleType.STRING: "str",
    SimpleType.INTEGER: "int",
    SimpleType.FLOAT: "float",
    SimpleType.BOOLEAN: "bool",
}


def optional(type_: LiteralType) -> LiteralType:
    """The union of `type_` and none, tagged as flytekit tags Optional."""
    tagged = LiteralType(simple=type_.simple, structure=TypeStructure(tag=_TAGS[type_.simple]))
    return LiteralType(union_type=UnionType(variants=[tagged, _NONE]))


def literal(value: str | int | float | bool) -> Literal:
    """A literal of the Flyte type that corresponds to the type of `value`."""
    return Literal(scalar=Scalar(primitive=_primitive(value)))


def none() -> Literal:
    """The literal none of an optional type."""
    nothing = Literal(scalar=Scalar(none_type=Void()))
    return Literal(scalar=Scalar(union=Union(value=nothing, type=_NONE)))


def constant(name: str, value: str | int) -> Binding:
    """Binds the input `name` to a constant."""
    return Binding(var=name, binding=BindingData(scalar=Scalar(primitive=_primitive(value))))


def promise(name: str, node: str, output: str) -> Binding:
    """Binds the input `name` to an output of a node; `node` "" is the workflow and its inputs."""
    return Binding(var=name, binding=BindingData(promise=OutputReference(node_id=node, var=output)))


def interface(
    inputs: Mapping[str, LiteralType], outputs: Mapping[str, LiteralType]
) -> TypedInterface:
    """An interface of these variables."""
    return TypedInterface(inputs=_variables(inputs), outputs=_variables(outputs))


def _variables(types: Mapping[str, LiteralType]) -> VariableMap:
    return VariableMap(variables={name: Variable(type=t) for name, t in types.items()})


def _primitive(value: str | int | float | bool) -> Primitive:
    if isinstance(value, bool):
        return Primitive(boolean=value)
    if isinstance(value, int):
        return Primitive(integer=value)
    if isinstance(value, float):
        return Primitive(float_value=value)
    return Primitive(string_value=value)
