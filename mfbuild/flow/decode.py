"""Values out of JSON: each of the type that it should have, or where in the document it has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Malformed(ValueError):
    """A JSON value is not what it should be; `path` is where it stands: `spec.steps[0].retry`."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message, path)
        self.message, self.path = message, path

    def __str__(self) -> str:
        return f"`{self.path}`: {self.message}" if self.path else self.message

    def below(self, step: str | int) -> Malformed:
        """The same, seen from the object or array that has it as `step`."""
        if isinstance(step, int):
            before = f"[{step}]"
        else:
            before = step if step.isidentifier() else f"[{json.dumps(step)}]"
        dot = "." if self.path and not self.path.startswith("[") else ""
        return Malformed(self.message, f"{before}{dot}{self.path}")


def member(value: Any, name: str, convert: Callable[[Any], _T]) -> _T:
    """What `convert` makes of a member of an object; Malformed where it is missing or wrong."""
    if name not in (found := mapping(value)):
        raise Malformed(f"`{name}` is missing")
    return _at(name, convert, found[name])


def array_of(convert: Callable[[Any], _T]) -> Callable[[Any], tuple[_T, ...]]:
    """The converter of arrays of what `convert` takes."""

    def each(value: Any) -> tuple[_T, ...]:
        if not isinstance(value, (list, tuple)):
            raise Malformed("not an array")
        return tuple(_at(index, convert, item) for index, item in enumerate(value))

    return each


def mapping_of(convert: Callable[[Any], _T]) -> Callable[[Any], dict[str, _T]]:
    """The converter of objects of what `convert` takes."""
    return lambda value: {n: _at(n, convert, item) for n, item in mapping(value).items()}


def optional(convert: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    """The converter that takes null, too."""
    return lambda value: None if value is None else convert(value)


def mapping(value: Any) -> dict[str, Any]:
    """An object of anything."""
    if not isinstance(value, dict):
        raise Malformed("not an object")
    return value


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Malformed("not a string")
    return value


def anything(value: Any) -> Any:
    """Whatever it is."""
    return value


def _at(step: str | int, convert: Callable[[Any], _T], value: Any) -> _T:
    try:
        return convert(value)
    except Malformed as error:
        raise error.below(step) from None
    except KeyError as error:
        raise Malformed(f"`{error.args[0]}` is missing").below(step) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise Malformed(str(error)).below(step) from error
