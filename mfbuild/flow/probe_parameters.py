"""Parameters as JSON: types, and defaults of which deploy-time functions are evaluated once.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    Json = dict[str, Any]

# click's types by class name; a Choice and the like are text that the flow itself checks.
_TYPES = {
    "IntParamType": "int",
    "FloatParamType": "float",
    "BoolParamType": "bool",
    "StringParamType": "str",
    "Choice": "str",
    "DateTime": "str",
    "UUIDParameterType": "str",
    "JSONTypeClass": "json",
    "FilePathClass": "file",
}


class Parameters(NamedTuple):
    """`parameters` as ParameterSpec JSON; `included`: name in the archive -> absolute path."""

    parameters: list[Json]
    included: dict[str, str]


def parameters(flow: Any, problem: Callable[..., None]) -> Parameters:
    """The flow's Parameters (not its Configs), in the order that Metaflow lists them."""
    told = Parameters([], {})
    for variable, parameter in flow._get_parameters():
        if parameter.IS_CONFIG_PARAMETER:
            continue
        try:
            told.parameters.append(_parameter(variable, parameter, told.included))
        except _Unsupported as error:
            problem(f"parameter `{parameter.name}` {error}")
    return told


class _Unsupported(Exception):
    pass


def _parameter(variable: str, parameter: Any, included: dict[str, str]) -> Json:
    kwargs = parameter.kwargs
    kind = _kind(kwargs)
    given = kwargs.get("default")
    default, deploy_time = _file(parameter, given, included) if kind == "file" else (given, False)
    if kind != "file" and type(given).__name__ == "DeployTimeField":
        default, deploy_time = given(deploy_time=True), True
    if kind != "file" and default is not None:
        default = _json(kwargs["type"], kind, default)
    return {
        "name": parameter.name,
        "variable": variable,
        "type": kind,
        "required": bool(kwargs.get("required")) and given is None,
        "has_default": given is not None,
        "default": default,
        "deploy_time": deploy_time,
        "help": kwargs.get("help") or "",
        "separator": parameter.separator,
        "is_text": kwargs["type"]._is_text if kind == "file" else True,
        "encoding": kwargs["type"]._encoding if kind == "file" else None,
    }


def _kind(kwargs: Json) -> str:
    declared = import_module("metaflow._vendor.click.types").convert_type(kwargs["type"])
    for cls in type(declared).__mro__:
        if cls.__name__ in _TYPES:
            return _TYPES[cls.__name__]
    name = getattr(kwargs["type"], "__name__", type(kwargs["type"]).__name__)
    raise _Unsupported(f"has the type `{name}`, which is not supported")


def _file(parameter: Any, given: Any, included: dict[str, str]) -> Any:
    """(name in the archive, deploy time) of an IncludeFile's default; nothing is uploaded."""
    if given is None:
        return None, False
    text = given(deploy_time=False)
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise _Unsupported(f"includes the file `{text}`, which is not there")
    name = f".mf_meta/include/{parameter.name}/{path.name}"
    included[name] = str(path)
    return name, type(given.print_representation).__name__ == "DeployTimeField"


def _json(declared: Any, kind: str, default: Any) -> Any:
    """The default as click would convert it, as a JSON value."""
    click = import_module("metaflow._vendor.click")
    try:
        value: Any | None = click.types.convert_type(declared).convert(default, None, None)
        if kind == "str":
            value = default if isinstance(default, str) else str(value)
        dumps(value, allow_nan=False)
        return value
    except click.ClickException as error:
        raise _Unsupported(f"has a default that is wrong: {error.format_message()}") from error
    except (TypeError, ValueError) as error:
        raise _Unsupported(f"has a default that is not JSON: {error}") from error
