"""BUILD.toml as tables: its keys, and what the value of each may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mfbuild.engine.foreign import has_nul
from mfbuild.errors import Problem, UsageError, did_you_mean
from mfbuild.files import words_of
from mfbuild.oci.reference import Reference
from mfbuild.oci.types import Platform

Check = Callable[[Any], str | None]


def _kind(kind: type, name: str) -> Check:
    return lambda value: None if type(value) is kind else f"must be {name}"


def _registry(value: Any) -> str | None:
    """A login in it would be written into every bundle, so that nothing but a prefix may be."""
    if not isinstance(value, str):
        return "must be a string"
    try:
        found = Reference.parse(f"{value}/flow")
        whole = found.directory is None and found.repository == f"{value}/flow"
    except ValueError:
        whole = not value
    form = "must be like `registry.example.com/ml/flows`, without `https://`, a login or a tag"
    return None if whole else form


def _platform_list(value: Any) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        return "must be a list of platforms like `linux/amd64`"
    for text in value:
        try:
            Platform.parse(text)
        except ValueError as error:
            return str(error)
    return None


def _string_list(value: Any) -> str | None:
    ok = isinstance(value, list) and all(isinstance(v, str) for v in value)
    return None if ok else "must be a list of strings"


def _metaflow(value: Any) -> str | None:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        return "must be a table of strings"
    wrong = [name for name in value if not _SETTING.match(name)]
    form = "must name settings like `default_datastore`, for METAFLOW_DEFAULT_DATASTORE, not"
    return f"{form} `{wrong[0]}`" if wrong else None


def _resources(value: Any) -> str | None:
    if not isinstance(value, dict) or not value.keys() <= {*RESOURCES}:
        return f"must be a table of {', '.join(RESOURCES)}"
    if not all(type(v) in (int, float) and 0 <= v < math.inf for v in value.values()):
        return "must hold numbers of at least 0"
    return "must hold a whole number of `gpu`" if value.get("gpu", 0) % 1 else None


def _overlap(value: Any) -> str | None:
    return None if value in ("warn", "error") else 'must be "warn" or "error"'


def _default_resources(value: Any) -> str | None:
    if not isinstance(value, dict) or not value.keys() <= {*DEFAULT_RESOURCES}:
        return f"must be a table of {', '.join(DEFAULT_RESOURCES)}"
    return _resources(value)


def _positive(value: Any) -> str | None:
    return None if type(value) is int and value > 0 else "must be a whole number of at least 1"


_STRING, _BOOL = _kind(str, "a string"), _kind(bool, "true or false")
RESOURCES = ("cpu", "disk", "gpu", "memory", "shared_memory")
DEFAULT_RESOURCES = ("cpu", "disk", "memory")
"""What steps may be given that ask for none; the others are a step's own."""
WORKSPACE: Mapping[str, Check] = {
    "registry": _registry,
    "base": _STRING,
    "platforms": _platform_list,
    "resources": _default_resources,
    "pyc": _BOOL,
    "overlap": _overlap,
    "jobs": _positive,
    "store": _STRING,
}
FLYTE: Mapping[str, Check] = {"project": _STRING, "endpoint": _STRING, "insecure": _BOOL}
DOMAIN: Mapping[str, Check] = {
    "registry": _registry,
    "endpoint": _STRING,
    "insecure": _BOOL,
    "activate": _BOOL,
    "service_account": _STRING,
    "image_pull_secrets": _string_list,
    "branches": _string_list,
    "resources": _default_resources,
    "metaflow": _metaflow,
}
STEP_TARGET: Mapping[str, Check] = {"base": _STRING, "resources": _resources}
FLOW_TARGET: Mapping[str, Check] = {**STEP_TARGET, "parallelism": _positive}
_SETTING = re.compile(r"(?!metaflow_)[a-z][a-z0-9_]*\Z")
_TARGET_LABEL = re.compile(r"(//(?:[^/:]+/)*[^/:]*[^/:.])(:[A-Za-z_]\w*)?\Z")
_KIND = re.compile(r"\.(bundle|code|env|flyte|image)\Z")


def read_table(path: Path, problems: list[Problem]) -> dict[str, Any]:
    """The tables of a file, `insecure` folded into endpoints; `problems` gets what is wrong.

    UsageError for a file that is no TOML, or cannot be read.
    """
    import tomli

    try:
        table = tomli.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise UsageError(f"`{path.name}` is nested too deeply", where=str(path)) from None
    except (OSError, ValueError) as error:  # of TOML, of UTF-8, of a number with too many digits
        raise UsageError(f"reading `{path.name}`: {words_of(error)}", where=str(path)) from error
    _check_tables(table, path, problems)
    return table if problems else _fold_insecure(table)


def _fold_insecure(table: dict[str, Any]) -> dict[str, Any]:
    """The same with `insecure` as the scheme of the endpoint beside it, so that it holds for no
    other endpoint that comes from the environment or from another table."""
    for values in (table.get("flyte", {}), *table.get("domain", {}).values()):
        if values.pop("insecure", False):
            host = values["endpoint"].removeprefix("dns:///").rpartition("://")[2]
            values["endpoint"] = f"http://{host}"
    return table


def _check_tables(table: Mapping[str, Any], path: Path, problems: list[Problem]) -> None:
    known = {"workspace": WORKSPACE, "flyte": FLYTE, "domain": DOMAIN, "target": FLOW_TARGET}
    for name, value in table.items():
        if name not in known:
            problems.append(_unknown(name, tuple(known), str(path)))
        elif not isinstance(value, dict):
            problems.append(Problem(f"`{name}` must be a table", str(path)))
        elif name in ("workspace", "flyte"):
            _check_keys(value, known[name], name, str(path), problems)
        else:
            for key, inner in value.items():
                _check_inner(name, key, inner, known[name], str(path), problems)


def _check_inner(
    table: str, key: str, inner: Any, known: Mapping[str, Check], where: str, out: list[Problem]
) -> None:
    if not isinstance(inner, dict):
        out.append(Problem(f"`{table}.{key}` must be a table", where))
        return
    _check_keys(inner, known, f"{table}.{key}", where, out)
    if table == "target":
        _check_target(key, inner, where, out)


def _check_target(label: str, values: Mapping[str, Any], where: str, out: list[Problem]) -> None:
    found, right = _TARGET_LABEL.match(label), "//" + _KIND.sub("", label).lstrip("/")
    if not found or right != label:
        known = ".py" in right and _TARGET_LABEL.match(right)
        hint = f'write `[target."{right}"]`' if known else None
        message = f"target `{label}` is not a label like `//flow.py` or `//flow.py:step`"
        out.append(Problem(message, where, hint))
    elif found[2]:
        for key in sorted(values.keys() & FLOW_TARGET.keys() - STEP_TARGET.keys()):
            message = f"`target.{label}.{key}` means nothing: it is a flow's, and no step's"
            hint = f'write `{key} = {values[key]}` below `[target."{found[1]}"]`'
            out.append(Problem(message, where, hint))


def _check_keys(
    values: Mapping[str, Any],
    known: Mapping[str, Check],
    table: str,
    where: str,
    out: list[Problem],
) -> None:
    for key, value in values.items():
        if key not in known:
            out.append(_unknown(f"{table}.{key}", tuple(f"{table}.{k}" for k in known), where))
        elif reason := known[key](value):
            out.append(Problem(f"`{table}.{key}` {reason}", where))
        elif has_nul(value):
            out.append(Problem(f"`{table}.{key}` holds the character NUL", where))
    if values.get("insecure") is True and not isinstance(values.get("endpoint"), str):
        out.append(Problem(f"`{table}.insecure` needs `{table}.endpoint` beside it", where))
    elif values.get("insecure") is True and values["endpoint"] == "local":
        out.append(Problem(f"`{table}.insecure` means nothing: `local` is no server", where))


def _unknown(key: str, known: Sequence[str], where: str) -> Problem:
    return Problem(f"unknown key `{key}`", where, did_you_mean(key, known))
