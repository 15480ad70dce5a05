"""What a run that goes on where another failed starts with."""

from __future__ import annotations

import json
from typing import Any

from metaflow import JSONType
from metaflow.datastore.exceptions import DataException
from metaflow.exception import CommandException


def resumed(origin: str, step: str | None) -> str:
    """The input `run` (docs/flyte.md) of a run that goes on with `origin`."""
    resume = {"run": origin, "step": step} if step else {"run": origin}
    return json.dumps({"resume": resume})


def parameters_of(obj: Any, origin: str) -> list[tuple[str, str]]:
    """The parameters of run `origin`, as text. CommandException if there is no such run.

    The new run clones them; Flyte asks for those that are required, and shows them all.
    """
    from mfbuild.runtime.ids import PARAMETERS, parameters_id, task_id

    start = getattr(obj.graph, "start_step", "start")
    task = parameters_id(task_id(origin, start))
    try:
        stored = obj.flow_datastore.get_task_datastore(origin, PARAMETERS, task)
    except DataException:
        raise CommandException(
            f"There is no run *{origin}* of *{obj.flow.name}* on Flyte to resume."
        ) from None
    pairs = []
    for variable, parameter in obj.flow._get_parameters():
        if not parameter.IS_CONFIG_PARAMETER and variable in stored:
            value = stored[variable]
            if value is not None:
                pairs.append((parameter.name, _text(parameter, value)))
    return pairs


def _text(parameter: Any, value: Any) -> str:
    """A value as the command line would have it; a file by the descriptor that Metaflow stored."""
    if parameter.separator and isinstance(value, list):
        return str(parameter.separator).join(value)
    if isinstance(value, str) and parameter.kwargs.get("type") != JSONType:
        return value
    described = getattr(value, "descriptor", None)
    return json.dumps(value if described is None else described)
