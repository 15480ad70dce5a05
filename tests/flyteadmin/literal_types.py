"""Types of literals, and which may stand for which: propeller's compiler/validators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.types_pb2 import (
    BINARY,
    BOOLEAN,
    DATETIME,
    DURATION,
    ERROR,
    FLOAT,
    INTEGER,
    NONE,
    STRING,
    STRUCT,
    LiteralType,
    UnionType,
)

_PRIMITIVES = {"integer": INTEGER, "float_value": FLOAT, "string_value": STRING,
               "boolean": BOOLEAN, "datetime": DATETIME, "duration": DURATION}  # fmt: skip
_SCALARS = {"binary": BINARY, "none_type": NONE, "error": ERROR, "generic": STRUCT}


def type_of(literal: Literal) -> LiteralType | None:
    """The type of a value; None where it is none."""
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return LiteralType(collection_type=_common(literal.collection.literals))
    if kind == "map":
        return LiteralType(map_value_type=_common(literal.map.literals.values()))
    return _scalar(literal.scalar) if kind == "scalar" else None


def castable(given: LiteralType | None, wanted: LiteralType) -> bool:
    """Whether a value of the type `given` may be used where `wanted` is."""
    if given is None:
        return False
    variants = given.union_type.variants
    return (len(variants) == 1 and _casts(variants[0], wanted)) or _casts(given, wanted)


def _casts(given: LiteralType, wanted: LiteralType) -> bool:
    kind = wanted.WhichOneof("type")
    if kind in ("collection_type", "map_value_type"):
        inner = getattr(given, kind)
        if given.WhichOneof("type") != kind:
            return False
        return _is_none(inner) or _casts(inner, getattr(wanted, kind))
    if kind == "union_type":
        return _casts_to_union(given, wanted.union_type)
    if kind == "simple" and wanted.simple == NONE:
        return _is_none(given)
    return _same(given, wanted)


def _casts_to_union(given: LiteralType, wanted: UnionType) -> bool:
    if given.WhichOneof("type") == "union_type":
        return all(
            any(castable(one, other) for other in wanted.variants)
            for one in given.union_type.variants
        )
    return sum(castable(given, variant) for variant in wanted.variants) == 1


def _same(given: LiteralType, wanted: LiteralType) -> bool:
    string = LiteralType(simple=STRING)
    given_enum, wanted_enum = (t.WhichOneof("type") == "enum_type" for t in (given, wanted))
    if (given_enum and _bare(wanted) == string) or (wanted_enum and _bare(given) == string):
        return True
    if given.structure.tag and given.structure.tag != wanted.structure.tag:
        return False
    return bool(_bare(given) == _bare(wanted))


def _bare(type_: LiteralType) -> LiteralType:
    bare = LiteralType()
    bare.CopyFrom(type_)
    for name in ("structure", "metadata", "annotation"):
        bare.ClearField(name)
    return bare


def _is_none(type_: LiteralType) -> bool:
    return type_.WhichOneof("type") == "simple" and bool(type_.simple == NONE)


def _scalar(scalar: Any) -> LiteralType | None:
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        return LiteralType(simple=_PRIMITIVES[scalar.primitive.WhichOneof("value")])
    if kind == "union":
        return LiteralType(union_type=UnionType(variants=[scalar.union.type]))
    if kind == "blob":
        return LiteralType(blob=scalar.blob.metadata.type)
    return LiteralType(simple=_SCALARS[kind]) if kind in _SCALARS else None


def _common(literals: Iterable[Literal]) -> LiteralType:
    types: dict[bytes, LiteralType] = {}
    for literal in literals:
        found = type_of(literal)
        if found is not None:
            types.setdefault(found.SerializeToString(deterministic=True), found)
    if not types:
        return LiteralType(simple=NONE)
    if len(types) == 1:
        return next(iter(types.values()))
    return LiteralType(union_type=UnionType(variants=[types[key] for key in sorted(types)]))
