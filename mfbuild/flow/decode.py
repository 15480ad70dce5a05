"""Values out of JSON, each of the type that it should have: or where in the document it has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")

_SCALARS: dict[Any, tuple[str, tuple[type, ...]]] = {
    str: ("not a string", (str,)),
    int: ("not a whole number", (int,)),
    float: ("not a number", (int, float)),
    bool: ("not true or false", (bool,)),
}


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


def decode(kind: type[_T], value: Any, *, exact: bool = True) -> _T:
    """`value` as a `kind`: a dataclass, a type that a field of one may have, or one with `parse`.

    Unless it is to be `exact`, members that a dataclass does not know are passed over, and those
    that have a default may be missing. Malformed for any other value.
    """
    found: _T = _decoded(kind, exact, value)
    return found


def of(kind: type[_T]) -> Callable[[Any], _T]:
    """The converter to a `kind` of documents that another version of mfbuild may have written."""
    return partial(decode, kind, exact=False)


def member(value: Any, name: str, convert: Callable[[Any], _T]) -> _T:
    """What `convert` makes of a member of an object; Malformed where it is missing or wrong."""
    if name not in (found := mapping(value)):
        raise Malformed(f"`{name}` is missing")
    return _at(name, convert, found[name])


def mapping(value: Any) -> dict[str, Any]:
    """An object of anything; Malformed."""
    if not isinstance(value, dict):
        raise Malformed("not an object")
    return value


def _decoded(kind: Any, exact: bool, value: Any) -> Any:
    if kind is Any:
        return value
    if kind in _SCALARS:
        refusal, types = _SCALARS[kind]
        if type(value) not in types:
            raise Malformed(refusal)
        return value
    if hasattr(kind, "parse"):
        return kind.parse(value)
    if is_dataclass(kind):
        return _object(kind, exact, value)
    return _of_several(get_origin(kind), get_args(kind), exact, value)


def _of_several(origin: Any, arguments: tuple[Any, ...], exact: bool, value: Any) -> Any:
    """An array, an object of equal members, one of several words, or what may be null."""
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise Malformed("not an array")
        item = partial(_decoded, arguments[0], exact)
        return tuple(_at(index, item, each) for index, each in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise Malformed(f"`{value}` is not one of {', '.join(arguments)}")
        return value
    if NoneType in arguments:
        return None if value is None else _decoded(arguments[0], exact, value)
    key, item = (partial(_decoded, each, exact) for each in arguments)
    return {_at(n, key, n): _at(n, item, each) for n, each in mapping(value).items()}


def _object(kind: Any, exact: bool, value: Any) -> Any:
    known, found = _members(kind), mapping(value)
    if exact and (unknown := found.keys() - known.keys()):
        raise Malformed(f"`{min(unknown)}` is not known")
    for name, (_, has_default) in known.items():
        if name not in found and (exact or not has_default):
            raise Malformed(f"`{name}` is missing")
    given = {name: each for name, (each, _) in known.items() if name in found}
    return kind(**{n: _at(n, partial(_decoded, e, exact), found[n]) for n, e in given.items()})


@cache
def _members(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each field of a dataclass, and whether it has a default."""
    hints = get_type_hints(kind)
    return {
        f.name: (hints[f.name], f.default is not MISSING or f.default_factory is not MISSING)
        for f in fields(kind)
    }


def _at(step: str | int, convert: Callable[[Any], _T], value: Any) -> _T:
    try:
        return convert(value)
    except Malformed as error:
        raise error.below(step) from None
    except KeyError as error:
        raise Malformed(f"`{error.args[0]}` is missing").below(step) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise Malformed(str(error)).below(step) from error
