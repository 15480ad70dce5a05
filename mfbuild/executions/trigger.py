"""What is registered, running: triggered, waited for, shown, ended."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.model import canonical
from mfbuild.errors import FlyteError
from mfbuild.flow.spec import ParameterSpec
from mfbuild.flyte.backend import Execution, ExecutionId, Executions, LaunchPlan, TaskRun
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import RUN
from mfbuild.flyte.parameters import parameters_of
from mfbuild.flyte.pod_text import escaped_json
from mfbuild.local.parameters import parameter_values
from mfbuild.local.record.state import new_name
from mfbuild.push.target import PushTarget
from mfbuild.runtime.inputs import input_name

_POLL = 1.0
_SLOWEST = 10.0


def trigger(
    target: PushTarget,
    plan: LaunchPlan,
    pairs: Sequence[tuple[str, str]],
    *,
    name: str | None = None,
    run: str | None = None,
) -> ExecutionId:
    """Start a registered version with these Parameters (name, text); the execution's name is new.

    `run` is the Metaflow run id, `flyte-<execution>` by default. UsageError, before anything is
    started, names every unknown, missing and wrong Parameter.
    """
    parameters = parameters_of(plan.spec.default_inputs)
    values = parameter_values(parameters, pairs)
    by_name = {parameter.name: parameter for parameter in parameters}
    given = {
        input_name(name): literal(_shipped(target, plan, by_name[name], value))
        for name, value in values.items()
    }
    if run:
        told = run if "$" not in run or run.startswith("{") else canonical({"id": run})
        given[RUN] = literal(escaped_json(told))
    id = ExecutionId(plan.id.project, plan.id.domain, name or new_name())
    target.backend.executions.start(id, plan.id, LiteralMap(literals=given))
    return id


def wait(
    executions: Executions,
    id: ExecutionId,
    show: Callable[[Execution, Sequence[TaskRun]], None] = lambda execution, tasks: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Execution:
    """Wait until an execution has ended, and show it meanwhile; FlyteError if it is not there."""
    pause = _POLL
    while True:
        execution = executions.get(id)
        if execution is None:
            raise FlyteError(f"there is no execution `{id.name}` in {id.project}/{id.domain}")
        show(execution, executions.tasks(id))
        if execution.is_done:
            return execution
        sleep(pause)
        pause = min(pause * 1.2, _SLOWEST)


def _shipped(
    target: PushTarget, plan: LaunchPlan, parameter: ParameterSpec, value: str | int | float | bool
) -> str | int | float | bool:
    """The value as a pod can use it: an IncludeFile's file is uploaded, and described.

    The descriptor is Metaflow's own, of a file that it has uploaded itself (includefile.py).
    """
    if parameter.type != "file" or not isinstance(value, str) or value.startswith("{"):
        return value
    if target.embedded:
        return value
    path = Path(value)
    url = target.backend.registrations.upload(
        plan.id.project,
        plan.id.domain,
        f"{path.name}.gz",
        gzip.compress(path.read_bytes(), mtime=0),
    )
    described: Mapping[str, object] = {
        "note": "Internal representation of IncludeFile",
        "type": "uploader-v2",
        "sub-type": "uploaded",
        "url": url,
        "is_text": parameter.is_text,
        "encoding": parameter.encoding,
    }
    return json.dumps(described, sort_keys=True)
