"""Bindings: from what a node's input is bound to, to the literal that it receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flyteidl.core.literals_pb2 import Binding, BindingData, Literal, LiteralMap
from flyteidl.core.types_pb2 import OutputReference

from mfbuild.errors import RunError
from mfbuild.local.workflow.model import Values

Promises = Callable[[OutputReference], Literal]
"""Gives the output that a promise stands for."""


def resolve_all(bindings: Iterable[Binding], promised: Promises) -> dict[str, Literal]:
    """The literals that `bindings` give, by variable."""
    return {b.var: resolve(b.binding, promised) for b in bindings}


def resolve(data: BindingData, promised: Promises) -> Literal:
    """The literal that `data` stands for; RunError if it is of no known kind."""
    kind = data.WhichOneof("value")
    if kind == "scalar":
        literal = Literal(scalar=data.scalar)
    elif kind == "promise":
        literal = promised(data.promise)
    elif kind == "collection":
        literal = Literal()
        literal.collection.SetInParent()
        literal.collection.literals.extend(resolve(d, promised) for d in data.collection.bindings)
    elif kind == "map":
        literal = Literal()
        literal.map.SetInParent()
        for name, inner in data.map.bindings.items():
            literal.map.literals[name].CopyFrom(resolve(inner, promised))
    else:
        raise RunError(f"a binding of the kind `{kind}` is not supported")
    return _in_union(literal, data) if data.HasField("union") else literal


def literal_map(values: Values) -> LiteralMap:
    """`values` as the message that inputs.pb and outputs.pb hold."""
    return LiteralMap(literals=values)


def attribute(literal: Literal, path: Iterable[str | int], what: str) -> Literal:
    """The part of `literal` that an attr_path leads to; RunError naming `what` if there is none."""
    for step in path:
        kind = literal.WhichOneof("value")
        try:
            if kind == "collection" and isinstance(step, int):
                literal = literal.collection.literals[step]
            elif kind == "map" and isinstance(step, str) and step in literal.map.literals:
                literal = literal.map.literals[step]
            else:
                raise IndexError
        except IndexError:
            raise RunError(f"{what} has no part `{step}`") from None
    return literal


def _in_union(literal: Literal, data: BindingData) -> Literal:
    """A value bound to an input that may be of several types, as Flyte's propeller wraps it."""
    if literal.WhichOneof("value") == "scalar" and literal.scalar.HasField("union"):
        return literal
    wrapped = Literal()
    wrapped.scalar.union.value.CopyFrom(literal)
    wrapped.scalar.union.type.CopyFrom(data.union.targetType)
    return wrapped
