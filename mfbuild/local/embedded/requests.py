"""What an execution was asked for: checked as flyteadmin checks it, and kept beside the run."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from flyteidl.admin.execution_pb2 import ExecutionCreateRequest, ExecutionSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import Literal, LiteralMap
from google.protobuf.message import DecodeError

from mfbuild.errors import FlyteError, Problem
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.backend import ExecutionId, describe
from mfbuild.flyte.names import RUN
from mfbuild.local.embedded.checks import defaults_of, wrong_inputs
from mfbuild.local.embedded.files import read
from mfbuild.local.embedded.registered import RegisteredRun, registered
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from mfbuild.local.record.state import RunInfo
from mfbuild.local.sandbox.render import as_text
from mfbuild.local.workflow.model import Values
from mfbuild.runtime.inputs import input_name

REQUEST = "request.pb"
NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
"""What flyteadmin takes for an execution's name (execution_validator.go)."""


def request_of(id: ExecutionId, of: Identifier, inputs: LiteralMap) -> ExecutionCreateRequest:
    """Flyte's own message for an execution; `launch_plan` may be a task there too."""
    return ExecutionCreateRequest(
        project=id.project,
        domain=id.domain,
        name=id.name,
        spec=ExecutionSpec(launch_plan=of),
        inputs=inputs,
    )


def encoded(asked: ExecutionCreateRequest) -> bytes:
    """The bytes of a request, by which the same call is known."""
    return bytes(asked.SerializeToString(deterministic=True))


def read_request(folder: Path) -> ExecutionCreateRequest | None:
    """The request of the run in `folder`; None if it is of nothing that is registered.

    FlyteError if it is damaged.
    """
    data = read(folder / REQUEST)
    try:
        return None if data is None else ExecutionCreateRequest.FromString(data)
    except DecodeError as error:
        where = str(folder / REQUEST)
        raise FlyteError(f"the request of the run cannot be read: {error}", where=where) from error


def begun(
    asked: ExecutionCreateRequest,
    registrations: EmbeddedRegistrations,
    sandbox: str,
    owner: str | None,
) -> RunInfo:
    """The record of a run that has yet to begin; FlyteError names all that is wrong with it."""
    of, given = asked.spec.launch_plan, dict(asked.inputs.literals)
    if not NAME.match(asked.name):
        raise FlyteError(
            f"`{asked.name}` is no name of an execution",
            hint="it has 1 to 63 lower-case letters, digits and `-`, and begins with a letter",
        )
    registrations.check_domain(asked.project, asked.domain)
    if problems := list(_wrong(of, given, registrations)):
        raise FlyteError.all_of([Problem(f"starting the {describe(of)}: {p}") for p in problems])
    found = registered(of, given, registrations)
    return RunInfo(
        name=asked.name,
        flow=found.packaged.spec.name,
        run=_run_id(asked.name, found.inputs),
        source="",
        version=found.packaged.version,
        sandbox=sandbox,
        began=time.time(),
        parameters=_texts(found.packaged.spec, given),
        phase="queued",
        project=asked.project,
        domain=asked.domain,
        entity=of.name,
        prefix=of.name[: of.name.index(found.packaged.spec.name)],
        owner=owner,
        here=str(Path.cwd()),
    )


def runnable(folder: Path, registrations: EmbeddedRegistrations) -> RegisteredRun:
    """What the run in `folder` runs; FlyteError if that is not there any more."""
    asked = read_request(folder)
    if asked is None:
        raise FlyteError("what the run was asked for is gone", where=str(folder / REQUEST))
    return registered(asked.spec.launch_plan, dict(asked.inputs.literals), registrations)


def _wrong(
    of: Identifier, given: Mapping[str, Literal], registrations: EmbeddedRegistrations
) -> Iterator[str]:
    if of.resource_type == ResourceType.TASK:
        task = registrations.get(of)
        if task is None:
            yield "it is not registered"
        else:
            yield from wrong_inputs(given, task.template.interface.inputs)
    elif of.resource_type == ResourceType.LAUNCH_PLAN:
        plan = registrations.launch_plan(of)
        workflow = registrations.get(plan.spec.workflow_id) if plan else None
        if plan is None or workflow is None:
            yield "it is not registered"
        else:
            wanted, fixed = workflow.template.interface.inputs, plan.spec.fixed_inputs.literals
            yield from wrong_inputs(given, wanted, defaults=defaults_of(plan.spec), fixed=fixed)
    else:
        yield "it is no launch plan and no task"


def _run_id(name: str, inputs: Values) -> str:
    """Metaflow's run id: that of the input RUN, which may be an object that has more to say."""
    text = inputs[RUN].scalar.primitive.string_value if RUN in inputs else ""
    try:
        given = json.loads(text).get("id") if text.startswith("{") else text
    except ValueError as error:
        raise FlyteError(f"the input `{RUN}` is no JSON: {error}") from error
    return given or f"flyte-{name}"


def _texts(spec: FlowSpec, given: Mapping[str, Literal]) -> dict[str, str]:
    """The Parameters that were given, as on a command line."""
    known = {parameter.name: given.get(input_name(parameter.name)) for parameter in spec.parameters}
    return {name: as_text(value) for name, value in known.items() if value is not None}
