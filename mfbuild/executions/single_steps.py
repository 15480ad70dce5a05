"""One step as an execution of its own: a task of a local run, or a step on what a run has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.literals_pb2 import Literal, LiteralCollection, LiteralMap
from flyteidl.core.types_pb2 import LiteralType, SimpleType

from mfbuild.engine.model import canonical
from mfbuild.errors import FlyteError, UsageError, did_you_mean
from mfbuild.flyte.backend import ExecutionId, LaunchPlan
from mfbuild.flyte.literals import literal, none
from mfbuild.flyte.names import CODE, PERSON, RUN
from mfbuild.flyte.pod_text import escaped_json
from mfbuild.flyte.resolve import Site
from mfbuild.flyte.templates import fixed
from mfbuild.local.record.state import new_name
from mfbuild.push.deployment import deployment_of
from mfbuild.push.push import files_of, resolved_of, send_files
from mfbuild.push.record import site_of
from mfbuild.push.register import register_tasks
from mfbuild.push.registered import bundle_of
from mfbuild.push.target import PushTarget

if TYPE_CHECKING:
    from mfbuild.push.bundles import Source

_BLANKS: Mapping[int, str | int | float | bool] = {
    SimpleType.STRING: "",
    SimpleType.INTEGER: 0,
    SimpleType.FLOAT: 0.0,
    SimpleType.BOOLEAN: False,
}


@dataclass(frozen=True, slots=True)
class Tasks:
    """Steps that can be started alone: the identifier of each, and the address of the code."""

    ids: Mapping[str, Identifier]
    code: str


def push_tasks(bundle: Source, site: Site, target: PushTarget, steps: Iterable[str]) -> Tasks:
    """Bring what `steps` need to `target`: the bundle, the code and their tasks.

    Nothing that could be triggered or scheduled is registered. Errors as of `push`.
    """
    registrations = target.backend.registrations
    resolved = resolved_of(bundle, site)
    target.bundles.put(bundle, site.repository)
    code, *_ = files_of(bundle, resolved)
    sent = send_files([code], site, registrations)
    wanted = {step: resolved.tasks[step] for step in steps}
    register_tasks(registrations, [(t.id, TaskSpec(template=t)) for t in wanted.values()])
    return Tasks({step: task.id for step, task in wanted.items()}, sent.addresses[CODE])


def start_task(
    target: PushTarget, task: Identifier, *, code: str, run: Mapping[str, Any], person: str
) -> ExecutionId:
    """Start a registered task alone; `run` is the input of that name, as JSON (docs/flyte.md)."""
    spec = target.backend.registrations.get(task)
    if not isinstance(spec, TaskSpec):
        raise FlyteError(f"there is no task `{task.name}@{task.version}`")
    given = {CODE: code, RUN: escaped_json(canonical(run)), PERSON: escaped_json(person)}
    inputs = {
        name: literal(given[name]) if name in given else _blank(variable.type)
        for name, variable in spec.template.interface.inputs.variables.items()
    }
    id = ExecutionId(task.project, task.domain, new_name())
    target.backend.executions.start(id, task, LiteralMap(literals=inputs))
    return id


def start_onto(
    target: PushTarget,
    plan: LaunchPlan,
    step: str,
    *,
    run: str,
    path: Sequence[int] = (),
) -> ExecutionId:
    """Start `step` of a registered version alone, on what run `run` has left at `path`.

    UsageError for a step that there is not, and where the version's bundle is not to be had.
    """
    bundle = bundle_of(target, plan)
    site = site_of(bundle.manifest, target, deployment_of(plan.id.name))
    tasks = resolved_of(bundle, site).tasks
    if step not in tasks:
        raise UsageError(f"there is no step `{step}`", hint=did_you_mean(step, sorted(tasks)))
    onto = {"run": run, "path": list(path)}
    return start_task(
        target,
        tasks[step].id,
        code=fixed(plan.spec, CODE),
        run={"onto": onto},
        person=fixed(plan.spec, PERSON),
    )


def _blank(type_: LiteralType) -> Literal:
    """A value for an input that says nothing to a task that was started alone."""
    kind = type_.WhichOneof("type")
    if kind == "collection_type":
        return Literal(collection=LiteralCollection())
    if kind == "union_type":
        return none()
    return literal(_BLANKS[type_.simple])
