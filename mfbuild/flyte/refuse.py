"""`refuse`: what a flow asks for and Flyte cannot do, told before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mfbuild.errors import Problem
from mfbuild.flow.spec import FlowSpec, ParameterSpec, StepSpec
from mfbuild.flyte.cron import flyte_cron
from mfbuild.flyte.graph import arms, graph_of, overlap
from mfbuild.flyte.names import ALLOWED_RETRIES, LONGEST_NAME, task_name
from mfbuild.flyte.quantities import is_quantity
from mfbuild.flyte.secrets import flyte_secrets
from mfbuild.runtime.inputs import input_name

_FLOW_DECORATORS = {
    "trigger": "start an execution from where the event is",
    "trigger_on_finish": "start the flow at the end of the other one, or give it a @schedule",
    "exit_hook": "Flyte notifies through its launch plans and the console",
}
_KUBERNETES = {
    "namespace": "Flyte runs steps in the namespace of the project and domain",
    "executable": "the image's own interpreter runs the step",
}
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_VARIABLE = re.compile(r"(?!\.\.|\.\Z)[-._A-Za-z][-._A-Za-z0-9]*\Z")
_INTEGERS = range(-(2**63), 2**63)


class Findings(NamedTuple):
    """What keeps a flow from Flyte, and what a person should know of a flow that it does not."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def refuse(spec: FlowSpec) -> Findings:
    """Everything about a flow that Flyte cannot do, with step, file and line."""
    problems = [*_of_flow(spec), *_of_parameters(spec)]
    for step in spec.steps:
        problems += _of_step(spec, step)
    if not problems:
        problems += _of_graph(spec)
    return Findings(tuple(problems), tuple(_warnings(spec)))


def _of_flow(spec: FlowSpec) -> Iterator[Problem]:
    where = f"{spec.file}:{spec.line}"
    for decorator in spec.decorators:
        if decorator.name in _FLOW_DECORATORS:
            yield _unsupported(f"@{decorator.name}", where, _FLOW_DECORATORS[decorator.name])
        elif decorator.name.startswith("airflow_"):
            yield _unsupported(f"@{decorator.name}", where, "it is for Airflow")
    longest = max((task_name(spec.name, step.name) for step in spec.steps), key=len)
    if len(longest) > LONGEST_NAME:
        yield Problem(f"the name `{longest}` is longer than {LONGEST_NAME} characters", where)
    if spec.schedule:
        yield from _of_schedule(spec, where)


def _of_schedule(spec: FlowSpec, where: str) -> Iterator[Problem]:
    assert spec.schedule is not None
    try:
        flyte_cron(spec.schedule.cron, spec.schedule.timezone)
    except ValueError as error:
        yield Problem(f"@schedule: {error}", where)
    if spec.schedule.timezone and not _is_zone(spec.schedule.timezone):
        yield Problem(f"@schedule: `{spec.schedule.timezone}` is not a timezone", where)
    for parameter in spec.parameters:
        if parameter.required:
            yield Problem(
                f"@schedule starts the flow without the parameter `{parameter.name}`, "
                "which is required",
                where,
                "give it a default",
            )


def _is_zone(name: str) -> bool:
    """Whether there is a timezone `name`; a machine that knows of none believes it."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return not available_timezones()
    return True


def _of_parameters(spec: FlowSpec) -> Iterator[Problem]:
    where = f"{spec.file}:{spec.line}"
    seen: dict[str, str] = {}
    for parameter in spec.parameters:
        shown = f"parameter `{parameter.name}`"
        name = input_name(parameter.name)
        if name in seen:
            yield Problem(f"{shown} and `{seen[name]}` are the same input `{name}`", where)
        elif _is_too_large(parameter):
            yield Problem(f"the default of {shown} does not fit into 64 bits", where)
        seen.setdefault(name, parameter.name)


def _is_too_large(parameter: ParameterSpec) -> bool:
    value = parameter.default
    return parameter.type == "int" and isinstance(value, int) and value not in _INTEGERS


def _of_step(spec: FlowSpec, step: StepSpec) -> Iterator[Problem]:
    where = _where(spec, step)
    own = f"of step `{step.name}`"
    if step.parallel and step.type != "foreach":
        yield _unsupported(
            f"@parallel {own}", where, "Flyte starts no gang of tasks; use a foreach"
        )
    for decorator in step.decorators:
        if decorator.name == "batch":
            yield _unsupported(f"@batch {own}", where, "use @resources or @kubernetes")
    try:
        flyte_secrets(step.secrets)
    except ValueError as error:
        hint = "write `flyte.<group>/<key>`, and a `variable` where the key cannot be one"
        yield Problem(f"@secrets {own}: {error}", where, hint)
    for problem in _of_environment(step.environment):
        yield Problem(f"@environment {own}: {problem}", where)
    for problem, advice in _of_kubernetes(step.kubernetes):
        yield Problem(f"@kubernetes {own}: {problem}", where, advice)


def _of_environment(variables: Mapping[str, str]) -> Iterator[str]:
    """What no process or pod can have: IsEnvVarName of Kubernetes, and C's and UTF-8's limits."""
    for name, value in variables.items():
        if not _VARIABLE.match(name):
            yield f"`{name!a}` is not the name of a variable"
        elif "\0" in value:
            yield f"the value of `{name}` has a NUL, where it would end"
        elif not _is_text(value):
            yield f"the value of `{name}` is no text in UTF-8"


def _is_text(value: str) -> bool:
    """Whether it has no lone surrogates."""
    return value.encode("utf-8", "ignore").decode() == value


def _of_kubernetes(asked: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """What is wrong with the attributes of @kubernetes, and a hint to each."""
    for name, reason in _KUBERNETES.items():
        if asked.get(name):
            yield f"`{name}` is not supported", reason
    for key, value in (asked.get("labels") or {}).items():
        if not (_is_qualified(str(key)) and _LABEL.match(str(value or ""))):
            yield f"`{key}={value}` is not a label", None
    for key in asked.get("annotations") or {}:
        if not _is_qualified(str(key)):
            yield f"`{key}` is not the name of an annotation", None
    for key, value in (asked.get("extended_resources") or {}).items():
        if not (_is_qualified(str(key)) and is_quantity(value)):
            yield f"`{key}={value}` is not an amount of a resource", None
    for name in ("tmpfs_size", "port"):
        if asked.get(name) is not None and not str(asked[name]).isdigit():
            yield f"`{name}={asked[name]}` is not a whole number", None


def _is_qualified(name: str) -> bool:
    """Whether Kubernetes takes `name` as a key: `[domain/]name`."""
    domain, slash, rest = name.rpartition("/")
    return bool(rest and _LABEL.match(rest) and (not slash or _DOMAIN.match(domain)))


def _of_graph(spec: FlowSpec) -> Iterator[Problem]:
    """Branches of a split share no step: such a step would have to run once for each of them."""
    graph = graph_of(spec)
    for step in spec.steps:
        if step.type == "split":
            twice = overlap(graph.steps, arms(step), graph.merge[step.name])
            if twice:
                yield Problem(
                    f"step `{twice}` is reached by several branches of step `{step.name}`, "
                    "which is not supported",
                    _where(spec, graph.steps[twice]),
                    "join the branches before it",
                )


def _warnings(spec: FlowSpec) -> Iterator[Problem]:
    for step in spec.steps:
        times = step.retry.times if step.retry else 0
        if times + bool(step.catch) > ALLOWED_RETRIES:
            yield Problem(
                f"step `{step.name}` is retried {ALLOWED_RETRIES} times, not {times}",
                _where(spec, step),
                "Metaflow makes at most 6 attempts, that of @catch included",
            )


def _unsupported(what: str, where: str, hint: str) -> Problem:
    return Problem(f"{what} is not supported", where, hint)


def _where(spec: FlowSpec, step: StepSpec) -> str:
    return f"{step.file or spec.file}:{step.line}"
