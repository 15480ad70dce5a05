"""Templates in a container's command and arguments, such as `{{.outputPrefix}}`.

The names and their meaning are those of flyteplugins, core/template; they are replaced in one
pass, so that nothing within a value is ever taken for a template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from flyteidl.core.literals_pb2 import Literal, Primitive

from mfbuild.errors import RunError
from mfbuild.local.workflow.model import Values

_TEMPLATE = re.compile(r"{{\s*[.$](?:(inputs)\.([^}\s]+)|(\w+))\s*}}", re.IGNORECASE)


def render(texts: Iterable[str], places: Mapping[str, str], values: Values) -> tuple[str, ...]:
    """`texts` with their templates replaced; RunError if an input is missing or cannot be text.

    `places` maps the lower-case names (`outputprefix`) to what they stand for; a template of
    another name is left as it is.
    """

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            if found[2] not in values:
                raise RunError(f"the template `{found[0]}` names no input of the task")
            return as_text(values[found[2]])
        return places.get(found[3].lower(), found[0])

    return tuple(_TEMPLATE.sub(replaced, text) for text in texts)


def as_text(literal: Literal) -> str:
    """A literal as Flyte writes it into an argument; RunError if it cannot be."""
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return f"[{','.join(as_text(each) for each in literal.collection.literals)}]"
    scalar = literal.scalar.WhichOneof("value") if kind == "scalar" else None
    if scalar == "primitive":
        return _primitive(literal.scalar.primitive)
    if scalar in ("blob", "schema"):
        uri: str = getattr(literal.scalar, scalar).uri
        return uri
    if scalar == "union":
        return as_text(literal.scalar.union.value)
    raise RunError(f"a value of the kind `{scalar or kind}` cannot be an argument")


def _primitive(primitive: Primitive) -> str:
    kind = primitive.WhichOneof("value")
    if kind is None:
        raise RunError("an empty value cannot be an argument")
    value = getattr(primitive, kind)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "float_value":
        return go_float(value)
    text: str = value.ToJsonString() if kind in ("datetime", "duration") else str(value)
    return text


def go_float(value: float) -> str:
    """`value` as Go's `%v` prints it: shortest digits, an exponent from 1e+06 and below 1e-04."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, _ = (exact := Decimal(repr(value)).normalize()).as_tuple()
    exponent = exact.adjusted()
    if value and not -5 < exponent < 6:
        mantissa = "".join(map(str, digits))
        fraction = f".{mantissa[1:]}" if mantissa[1:] else ""
        return f"{'-' if sign else ''}{mantissa[0]}{fraction}e{exponent:+03d}"
    return f"{exact:f}"
