"""What a dynamic step starts, as a core.DynamicJobSpec; docs/flyte.md has the plan's format."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .arguments import Arguments
from .errors import NonRecoverable
from .literals import Value, integer, literal, message


@dataclass(frozen=True, slots=True)
class ExpansionPlan:
    """The plan of a flow; empty where no step needs one."""

    steps: Mapping[str, Any]
    tasks: Mapping[str, str]
    workflows: Mapping[str, str]

    @classmethod
    def from_json(cls, text: bytes) -> ExpansionPlan:
        """Raises NonRecoverable for a plan of another format than this runtime's."""
        plan = json.loads(text)
        if plan.get("format") != 1:
            raise NonRecoverable(
                "WrongPlan", f"the plan has format `{plan.get('format')}`; this image reads 1"
            )
        return cls(plan["steps"], plan["tasks"], plan["workflows"])


NONE = ExpansionPlan({}, {}, {})


def of_foreach(
    plan: ExpansionPlan, arguments: Arguments, inputs: Mapping[str, bytes], count: int
) -> bytes | None:
    """One node for each split; None where an ArrayNode of the workflow does the expanding.

    `inputs` are the step's own, each as the bytes of a core.Literal of a scalar.
    """
    expansion = plan.steps.get(arguments.step, {}).get("foreach")
    if expansion is None:
        return None
    nodes = [
        _node(expansion, f"{expansion['id']}-{index}", arguments, inputs, index)
        for index in range(count)
    ]
    return _job(plan, expansion, nodes, {"count": count}, arguments)


def of_switch(
    plan: ExpansionPlan, arguments: Arguments, inputs: Mapping[str, bytes], choice: str
) -> bytes | None:
    """One node for the step `choice`; None where there is nothing to start or to expand."""
    expansion = plan.steps.get(arguments.step, {}).get("switch", {}).get(choice)
    if expansion is None:
        return None
    node = _node(expansion, expansion["id"], arguments, inputs, None)
    return _job(plan, expansion, [node], {}, arguments)


def is_dynamic(plan: ExpansionPlan, step: str) -> bool:
    """Whether the container of `step` does the expanding, and writes no outputs of its own."""
    return step in plan.steps


def _node(
    expansion: Mapping[str, Any],
    name: str,
    arguments: Arguments,
    inputs: Mapping[str, bytes],
    index: int | None,
) -> bytes:
    """core.Node: the plan's bytes, then its id and its inputs, which protobuf merges."""
    bindings = b"".join(
        message(3, _binding(variable, _constant(kind, variable, arguments, inputs, index)))
        for variable, kind in sorted(expansion["inputs"].items())
    )
    return base64.b64decode(expansion["node"]) + message(1, name.encode("utf-8")) + bindings


def _constant(
    kind: str, name: str, arguments: Arguments, inputs: Mapping[str, bytes], index: int | None
) -> bytes:
    value: Value
    match kind:
        case "same":
            return inputs[name]
        case "split" if index is not None:
            value = "/".join(map(str, (*arguments.path, index)))
        case "first":
            value = 0
        case "next":
            value = arguments.iteration + 1
        case _:
            raise NonRecoverable("WrongPlan", f"the plan binds `{name}` to `{kind}`")
    return literal(value)


def _binding(variable: str, data: bytes) -> bytes:
    """core.Binding of a constant: a scalar's core.Literal has the bytes of a core.BindingData."""
    return message(1, variable.encode("utf-8")) + message(2, data)


def _job(
    plan: ExpansionPlan,
    expansion: Mapping[str, Any],
    nodes: Sequence[bytes],
    outputs: Mapping[str, Value],
    arguments: Arguments,
) -> bytes:
    """core.DynamicJobSpec. Raises NonRecoverable where propeller would not read it."""
    job = b"".join(
        (
            *(message(1, node) for node in nodes),
            integer(2, len(nodes)),  # min_successes
            *(message(3, _binding(name, literal(value))) for name, value in outputs.items()),
            *(message(4, base64.b64decode(plan.tasks[name])) for name in expansion["tasks"]),
            *(message(5, base64.b64decode(plan.workflows[n])) for n in expansion["workflows"]),
        )
    )
    if len(job) > arguments.max_futures:
        raise NonRecoverable(
            "TooManySplits",
            f"step `{arguments.step}` starts {len(nodes)} tasks at once, which takes {len(job)} "
            f"bytes, more than the {arguments.max_futures} that propeller reads: make two nested "
            "foreaches of the one, or raise propeller's storage.limits.maxDownloadMBs and "
            "MFBUILD_MAX_FUTURES_MB alike",
        )
    return job
