"""A flow's Parameters: words of the command line become values of their types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mfbuild.errors import Problem, UsageError, did_you_mean
from mfbuild.flow.options import BOOLEANS
from mfbuild.flow.spec import ParameterSpec

Value = str | int | float | bool
_INTEGERS = range(-(2**63), 2**63)


def parameter_values(
    parameters: Sequence[ParameterSpec], pairs: Sequence[tuple[str, str]]
) -> dict[str, Value]:
    """The values of `pairs` (name, text) by the parameter's name, each of its type.

    UsageError with everything that is wrong: unknown names, values of another type, names that
    come twice, and required parameters that are missing.
    """
    known = {parameter.name: parameter for parameter in parameters}
    problems: list[Problem] = []
    values: dict[str, Value] = {}
    for name, text in pairs:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) if known else "the flow has no parameters"
            problems.append(Problem(f"unknown option or parameter `--{name}`", hint=hint))
        elif name in values:
            problems.append(Problem(f"parameter `--{name}` is given twice"))
        else:
            try:
                values[name] = _value(known[name], text)
            except ValueError as error:
                problems.append(Problem(f"parameter `--{name}` {error}"))
                values[name] = text
    for name, parameter in known.items():
        if parameter.required and name not in values:
            problems.append(
                Problem(f"parameter `--{name}` is required", hint=parameter.help or None)
            )
    UsageError.raise_for(problems)
    return values


def _value(parameter: ParameterSpec, text: str) -> Value:
    """`text` as a value of the parameter's type; ValueError says what it must be."""
    if parameter.type == "int":
        return _integer(text)
    if parameter.type == "float":
        return _float(text)
    if parameter.type == "bool":
        if text.lower() not in BOOLEANS:
            raise ValueError(f"must be true or false, not `{text}`")
        return BOOLEANS[text.lower()]
    if parameter.type == "json":
        try:
            json.loads(text)
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from None
    if parameter.type == "file":
        return _file(text)
    return text


def _integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not `{text}`") from None
    if value not in _INTEGERS:
        raise ValueError(f"must fit into 64 bits, unlike `{text}`")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, not `{text}`") from None


def _file(text: str) -> str:
    """The absolute path of an IncludeFile's file; a descriptor that Metaflow wrote stays one."""
    if text.startswith("{"):
        return text
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"names no file: `{text}`")
    return str(path)
