"""FlowSpec to JSON and back: explicit and strict, the same shape that the probe writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from types import NoneType
from typing import Any, TypeVar

from mfbuild.flow.decode import (
    Malformed,
    anything,
    array_of,
    mapping,
    mapping_of,
    member,
    optional,
    text,
)
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

_INNER: dict[Any, dict[str, Any]] = {
    FlowSpec: {
        "steps": StepSpec,
        "parameters": ParameterSpec,
        "schedule": Schedule,
        "project": Project,
        "decorators": DecoratorSpec,
    },
    StepSpec: {
        "resources": Resources,
        "retry": Retry,
        "catch": Catch,
        "decorators": DecoratorSpec,
    },
}
"""The members of a public FlowSpec that are objects with fields of their own, or arrays of such."""


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
    """The FlowSpec that `public_json` described, with nothing for what that leaves out.

    What a later version has added is passed over, and what an earlier one did not have yet has its
    default: bundles outlive the mfbuild that made them. Malformed for any other value.
    """
    version = member(value, "host", lambda host: member(host, "metaflow_version", text))
    host = Host(python="", metaflow_version=version, datastore="", requirements=(), sources=())
    known = _readable(FlowSpec, value)
    return from_json({**known, "code": [], "flyte": None, "host": asdict(host)})


def from_json(value: Any) -> FlowSpec:
    """The FlowSpec that `to_json` described; Malformed for any other value."""
    return _build(
        FlowSpec,
        value,
        steps=array_of(_step),
        parameters=array_of(lambda v: _build(ParameterSpec, v, default=anything)),
        configs=mapping,
        schedule=optional(lambda v: _build(Schedule, v)),
        project=optional(lambda v: _build(Project, v)),
        flyte=optional(lambda v: _build(Destination, v)),
        decorators=array_of(_decorator),
        code=array_of(code_file),
        host=_host,
    )


def code_file(value: Any) -> CodeFile:
    """One CodeFile from JSON; Malformed unless exactly one of `path` and `text` is there."""
    file = _build(CodeFile, value)
    if (file.path is None) == (file.text is None):
        raise Malformed(f"`{file.arcname}` needs exactly one of path and text")
    return file


def _step(value: Any) -> StepSpec:
    return _build(
        StepSpec,
        value,
        type=_node_type,
        next=array_of(text),
        switch_cases=mapping_of(text),
        split_parents=array_of(text),
        packages=mapping_of(text),
        resources=lambda v: _build(Resources, v),
        kubernetes=mapping,
        environment=mapping_of(text),
        secrets=array_of(anything),
        retry=optional(lambda v: _build(Retry, v)),
        catch=optional(lambda v: _build(Catch, v)),
        decorators=array_of(_decorator),
    )


def _decorator(value: Any) -> DecoratorSpec:
    return _build(DecoratorSpec, value, attributes=mapping)


def _host(value: Any) -> Host:
    def source(entry: Any) -> SourcePackage:
        return _build(SourcePackage, entry, files=array_of(code_file))

    return _build(Host, value, requirements=array_of(text), sources=array_of(source))


def _build(cls: Callable[..., _T], value: Any, **convert: Callable[[Any], Any]) -> _T:
    """`cls` from an object with exactly its fields, each converted or a checked scalar."""
    known = {field.name: str(field.type) for field in fields(cls)}  # type: ignore[arg-type]
    found = mapping(value)
    if missing := known.keys() - found.keys():
        raise Malformed(f"`{min(missing)}` is missing")
    if unknown := found.keys() - known.keys():
        raise Malformed(f"`{min(unknown)}` is not known")
    arguments = {}
    for name, item in found.items():
        if name not in convert:
            if type(item) not in _SCALARS[known[name]]:
                raise Malformed(f"not `{known[name]}`", name)
            arguments[name] = item
            continue
        try:
            arguments[name] = convert[name](item)
        except Malformed as error:
            raise error.below(name) from None
    return cls(**arguments)


def _readable(cls: Any, value: Any) -> Any:
    """`value` without the keys that `cls` does not know, and with its defaults for those that lack.

    What is no object is left as it is, for `from_json` to refuse.
    """
    if isinstance(value, list):
        return [_readable(cls, item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = _INNER.get(cls, {})
    return {
        f.name: _readable(inner[f.name], value[f.name]) if f.name in inner else value[f.name]
        for f in fields(cls)
        if f.name in value
    } | {f.name: f.default for f in fields(cls) if f.name not in value and f.default is not MISSING}


def _node_type(value: Any) -> str:
    if value not in _NODE_TYPES:
        raise Malformed(f"`{value}` is not a node type")
    return str(value)
