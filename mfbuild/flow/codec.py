"""FlowSpec to JSON and back: explicit and strict, the same shape that the probe writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from types import NoneType
from typing import Any, TypeVar

from mfbuild.flow.spec import (
    Catch,
    CodeFile,
    DecoratorSpec,
    Destination,
    FlowSpec,
    Host,
    ParameterSpec,
    Project,
    Resources,
    Retry,
    Schedule,
    SourcePackage,
    StepSpec,
)

_T = TypeVar("_T")

_NODE_TYPES = ("start", "linear", "split", "foreach", "split-switch", "join", "end")
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, NoneType),
    "int": (int,),
    "int | None": (int, NoneType),
    "float": (int, float),
    "float | None": (int, float, NoneType),
    "bool": (bool,),
}


def to_json(spec: FlowSpec) -> dict[str, Any]:
    """`spec` as a JSON value; it holds the absolute paths of this machine's files."""
    return asdict(spec)


def public_json(spec: FlowSpec) -> dict[str, Any]:
    """What a bundle may carry: `to_json` without what is this machine's or this person's.

    `code` is left out, being paths, and `flyte`, being a deployment's; of `host`, Metaflow's
    version remains: the interpreter and the datastore configured here are not the pods', and the
    locked environments say the rest.
    """
    value = to_json(spec)
    del value["code"], value["flyte"]
    value["host"] = {"metaflow_version": spec.host.metaflow_version}
    return value


def from_public_json(value: Any) -> FlowSpec:
    """The FlowSpec that `public_json` described, with nothing for what that leaves out."""
    version = value["host"]["metaflow_version"]
    host = Host(python="", metaflow_version=version, datastore="", requirements=(), sources=())
    return from_json({**value, "code": [], "flyte": None, "host": asdict(host)})


def from_json(value: Any) -> FlowSpec:
    """The FlowSpec that `to_json` described; ValueError for any other value."""
    return _build(
        FlowSpec,
        value,
        steps=_tuple_of(_step),
        parameters=_tuple_of(lambda v: _build(ParameterSpec, v, default=_any)),
        configs=_mapping,
        schedule=_optional(lambda v: _build(Schedule, v)),
        project=_optional(lambda v: _build(Project, v)),
        flyte=_optional(lambda v: _build(Destination, v)),
        decorators=_tuple_of(_decorator),
        code=_tuple_of(code_file),
        host=_host,
    )


def code_file(value: Any) -> CodeFile:
    """One CodeFile from JSON; ValueError unless exactly one of `path` and `text` is there."""
    file = _build(CodeFile, value)
    if (file.path is None) == (file.text is None):
        raise ValueError(f"`{file.arcname}` needs exactly one of path and text")
    return file


def _step(value: Any) -> StepSpec:
    return _build(
        StepSpec,
        value,
        type=_node_type,
        next=_strings,
        switch_cases=_string_mapping,
        split_parents=_strings,
        packages=_string_mapping,
        resources=lambda v: _build(Resources, v),
        kubernetes=_mapping,
        environment=_string_mapping,
        secrets=_tuple_of(_any),
        retry=_optional(lambda v: _build(Retry, v)),
        catch=_optional(lambda v: _build(Catch, v)),
        decorators=_tuple_of(_decorator),
    )


def _decorator(value: Any) -> DecoratorSpec:
    return _build(DecoratorSpec, value, attributes=_mapping)


def _host(value: Any) -> Host:
    def source(entry: Any) -> SourcePackage:
        return _build(SourcePackage, entry, files=_tuple_of(code_file))

    return _build(Host, value, requirements=_strings, sources=_tuple_of(source))


def _build(cls: Callable[..., _T], value: Any, **convert: Callable[[Any], Any]) -> _T:
    """`cls` from an object with exactly its fields, each converted or a checked scalar."""
    known = {field.name: str(field.type) for field in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(value, dict) or value.keys() != known.keys():
        raise ValueError(f"not a {cls.__name__}")
    arguments = {}
    for name, item in value.items():
        if name in convert:
            arguments[name] = convert[name](item)
        elif type(item) in _SCALARS[known[name]]:
            arguments[name] = item
        else:
            raise ValueError(f"`{name}` of a {cls.__name__} is not {known[name]}")
    return cls(**arguments)


def _any(value: Any) -> Any:
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _string_mapping(value: Any) -> dict[str, str]:
    if not all(isinstance(item, str) for item in _mapping(value).values()):
        raise ValueError("not an object of strings")
    return _mapping(value)


def _strings(value: Any) -> tuple[str, ...]:
    items = _tuple_of(_any)(value)
    if not all(isinstance(item, str) for item in items):
        raise ValueError("not an array of strings")
    return items


def _node_type(value: Any) -> str:
    if value not in _NODE_TYPES:
        raise ValueError(f"`{value}` is not a node type")
    return str(value)


def _tuple_of(convert: Callable[[Any], _T]) -> Callable[[Any], tuple[_T, ...]]:
    def each(value: Any) -> tuple[_T, ...]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("not an array")
        return tuple(convert(item) for item in value)

    return each


def _optional(convert: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    return lambda value: None if value is None else convert(value)
