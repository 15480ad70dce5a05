"""Turns the loaded flow into FlowSpec as JSON, after Metaflow applied Config and mutators.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

_OWN = "flyte"
_RESOURCES = ("cpu", "memory", "disk", "gpu", "shared_memory")


def describe(
    state: Any, request: Json, recorder: Any, sibling: Callable[[str], Any]
) -> tuple[Json | None, list[Json]]:
    """(flow, []) or (None, problems): `state` is Metaflow's, its decorators are initialised."""
    return _Description(state, request, recorder, sibling).flow()


def _own_first(packages: Json, base: Json) -> Json:
    """`packages` without those of `base` that a step asks for in another spelling (PEP 503)."""

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    own = {normal(name) for name in packages if name not in base}
    return {n: v for n, v in packages.items() if n not in base or normal(n) not in own}


class _Description:
    """One flow on its way to JSON; problems are collected so that all are told at once."""

    def __init__(
        self, state: Any, request: Json, recorder: Any, sibling: Callable[[str], Any]
    ) -> None:
        self._state = state
        self._request = request
        self._recorder = recorder
        self._sibling = sibling
        self._problems: list[Json] = []

    def flow(self) -> tuple[Json | None, list[Json]]:
        metaflow = Path(str(import_module("metaflow").__file__))
        self._recorder.note_file(str(metaflow.with_name("version.py")))
        items = import_module("metaflow.flowspec").FlowStateItems
        flow = self._state.flow
        graph = flow._graph
        import_module("metaflow.lint").linter.run_checks(graph)
        flow._check_parameters(config_parameters=False)
        requested = self._requested()
        steps = [self._step(graph[name], requested) for name in graph.sorted_nodes]
        decorators = {name: list(group) for name, group in flow._flow_decorators.items()}
        mutators = flow._flow_state[items.FLOW_MUTATORS]
        configs = flow._flow_state[items.CONFIGS]
        parameters = self._sibling("probe_parameters").parameters(flow, self._problem)
        if self._problems:
            return None, self._problems
        code = self._sibling("probe_code").package(
            self._state, self._recorder, parameters.included, self._problem
        )
        if self._problems:
            return None, self._problems
        host = self._sibling("probe_host").host(
            self._state, self._request["datastores"], steps, code.metaflow
        )
        return {
            "name": flow.name,
            "file": _relative(self._request["flow"], self._request["workspace"]),
            "line": _line(type(flow)),
            "doc": graph.doc,
            "start": getattr(graph, "start_step", "start"),  # since 2.19.24
            "end": getattr(graph, "end_step", "end"),
            "steps": steps,
            "parameters": parameters.parameters,
            "configs": {name: _plain(value) for name, (value, _) in configs.items()},
            "schedule": _schedule(decorators),
            "project": _project(decorators),
            "flyte": _flyte(decorators),
            "decorators": [
                *(
                    self._decorator(decorator, requested)
                    for name, group in decorators.items()
                    for decorator in group
                    if name != _OWN
                ),
                *(_user_decorator(d, type(d).__name__) for d in mutators),
            ],
            "code": code.files,
            "host": host,
        }, []

    def _base_packages(self) -> Json:
        """What @pypi_base asks for, which Metaflow has merged into every step's @pypi."""
        found: Json = {}
        for base in self._state.flow._flow_decorators.get("pypi_base", ()):
            found.update(base.attributes.get("packages") or {})
        return found

    def _requested(self) -> list[str]:
        """The names of the decorators that `--with` and METAFLOW_DECOSPECS ask for."""
        config = import_module("metaflow.metaflow_config")
        specs = [*self._state.tl_decospecs, *config.DEFAULT_DECOSPECS.split()]
        return [spec.split(":", 1)[0] for spec in specs]

    def _step(self, node: Any, requested: list[str]) -> Json:
        decorators = {d.name: d for d in node.decorators}
        self._refuse_conda(node, decorators.get("conda"))
        pypi = decorators.get("pypi")
        used = pypi.attributes if pypi and not pypi.attributes["disabled"] else {}
        kubernetes = decorators.get("kubernetes")
        chosen = _chosen(kubernetes) if kubernetes else {}
        image = kubernetes and kubernetes.mfbuild_image and kubernetes.attributes["image"]
        timeout = decorators.get("timeout")
        source = os.path.realpath(node.source_file)
        return {
            "name": node.name,
            "type": node.type,
            "line": node.func_lineno,
            "doc": node.doc,
            "next": list(node.out_funcs),
            "switch_condition": node.condition,
            "switch_cases": {str(case): step for case, step in (node.switch_cases or {}).items()},
            "foreach": node.foreach_param,
            "parallel": bool(node.parallel_step or node.parallel_foreach),
            "matching_join": node.matching_join,
            "split_parents": list(node.split_parents),
            "python": str(used["python"]) if used.get("python") else None,
            "packages": _strings(_own_first(used.get("packages") or {}, self._base_packages())),
            "resources": self._resources(node, kubernetes or decorators.get("resources")),
            "image": image or None,
            "kubernetes": {k: v for k, v in chosen.items() if k not in (*_RESOURCES, "image")},
            "environment": _variables(_attributes(decorators.get("environment")).get("vars") or {}),
            "secrets": _plain(_attributes(decorators.get("secrets")).get("sources") or []),
            "retry": _retry(decorators.get("retry")),
            "catch": _catch(decorators.get("catch")),
            "timeout_seconds": timeout.secs if timeout else None,
            "decorators": self._decorators(node, requested),
            "file": (
                None
                if source == os.path.realpath(self._request["flow"])
                else _relative(node.source_file, self._request["workspace"])
            ),
        }

    def _decorators(self, node: Any, requested: list[str]) -> list[Json]:
        """The step's decorators without the @conda that --environment brings along, and @flyte.

        That one says where a step of a local run goes, and so nothing of the flow.
        """
        named = [d for d in node.decorators if d.name[:1] != "_" and d.name != _OWN]
        told = [self._decorator(d, requested) for d in named]
        user = [_user_decorator(d, d.decorator_name) for d in node.wrappers]
        user += [_user_decorator(d, d.decorator_name) for d in node.config_decorators]
        return [d for d in told if d["explicit"] or d["name"] != "conda"] + user

    def _decorator(self, decorator: Any, requested: list[str]) -> Json:
        """@kubernetes gets defaults from this host's settings: only what the user chose counts."""
        remote = decorator.name in ("kubernetes", "batch")
        attributes = _chosen(decorator) if remote else _plain(decorator.attributes)
        asked = decorator.statically_defined or decorator.inserted_by
        explicit = bool(asked) or decorator.name in requested
        return {"name": decorator.name, "attributes": attributes, "explicit": explicit}

    def _refuse_conda(self, node: Any, conda: Any) -> None:
        """@conda asks for what no wheel gives; the empty one that Metaflow adds is not meant."""
        if conda is None or conda.attributes.get("disabled"):
            return
        asks = conda.attributes.get("packages") or conda.is_attribute_user_defined("python")
        if asks:
            self._problem(
                f"@conda of step `{node.name}` is not supported",
                where=f"{node.source_file}:{node.func_lineno}",
                hint="use @pypi or @pypi_base, with `packages` and `python`",
            )

    def _resources(self, node: Any, decorator: Any) -> Json:
        """@kubernetes has taken over what @resources asks for, the larger of both."""
        values: Json = dict.fromkeys(_RESOURCES)
        for name, value in _attributes(decorator).items():
            if name not in values or value is None:
                continue
            try:
                number = float(value)
                values[name] = number if name == "cpu" else math.ceil(number)
            except (TypeError, ValueError, OverflowError):
                self._problem(
                    f"step `{node.name}` asks for `{name}={value}`, which is not a number",
                    where=f"{node.source_file}:{node.func_lineno}",
                    hint="Metaflow takes cores, and MB without a unit",
                )
        return values

    def _problem(self, message: str, where: str | None = None, hint: str | None = None) -> None:
        where = where or self._request["flow"]
        problem = {"kind": "flow", "message": message, "where": where, "hint": hint}
        self._problems.append(problem)


def _attributes(decorator: Any) -> Json:
    return decorator.attributes if decorator else {}


def _chosen(decorator: Any) -> Json:
    """The attributes that the user set, in the decorator, a Config or `--with`."""
    chosen = decorator._user_defined_attributes
    values = {k: v for k, v in decorator.attributes.items() if k in chosen and v is not None}
    if not decorator.mfbuild_image:
        values.pop("image", None)
    return {name: _plain(value) for name, value in values.items()}


def _user_decorator(decorator: Any, name: str) -> Json:
    attributes = {"args": _plain(list(decorator._args)), "kwargs": _plain(decorator._kwargs)}
    return {"name": name, "attributes": attributes, "explicit": True}


def _retry(decorator: Any) -> Json | None:
    if decorator is None:
        return None
    attributes = decorator.attributes
    minutes = float(attributes["minutes_between_retries"])
    return {"times": int(attributes["times"]), "minutes_between_retries": minutes}


def _catch(decorator: Any) -> Json | None:
    if decorator is None:
        return None
    attributes = decorator.attributes
    return {"var": attributes["var"], "print_exception": bool(attributes["print_exception"])}


def _schedule(decorators: dict[str, list[Any]]) -> Json | None:
    for decorator in decorators.get("schedule", []):
        if decorator.schedule:
            return {"cron": decorator.schedule, "timezone": decorator.timezone}
    return None


def _project(decorators: dict[str, list[Any]]) -> Json | None:
    for decorator in decorators.get("project", []):
        return {"name": decorator.attributes["name"]}
    return None


def _flyte(decorators: dict[str, list[Any]]) -> Json | None:
    for decorator in decorators.get(_OWN, []):
        attributes = decorator.attributes
        return {"project": attributes.get("project"), "domain": attributes.get("domain")}
    return None


def _line(cls: Any) -> int:
    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return 1


def _relative(path: str, workspace: str) -> str:
    """`path` from the workspace, with `/`; only its name if it lies elsewhere."""
    relative = os.path.relpath(path, workspace).replace(os.sep, "/")
    return Path(path).name if relative.startswith("../") else relative


def _strings(mapping: Any) -> dict[str, str]:
    return {str(k): "" if v is None else str(v) for k, v in mapping.items()}


def _variables(given: Any) -> dict[str, str]:
    """@environment's, whose values Metaflow makes text of; what is no name tells its type."""
    named = given.items() if hasattr(given, "items") else [(given, "")]
    return {n if isinstance(n, str) else f"{n} ({type(n).__name__})": str(v) for n, v in named}


def _plain(value: Any) -> Any:
    """`value` as JSON, the same in every process: an object becomes its text or its type."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(v) for v in value), key=str)
    if callable(value):
        module = getattr(value, "__module__", None)
        return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    text = str(value)
    return text if " at 0x" not in text else f"{type(value).__module__}.{type(value).__name__}"
