"""Entities become registrations: what is there is compared, what is missing is sent, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier

from mfbuild.engine.model import canonical
from mfbuild.errors import FlyteError, Problem
from mfbuild.flyte.backend import LaunchPlan, Registrations, describe
from mfbuild.flyte.compare import differences
from mfbuild.flyte.names import CODE, PERSON, PLAN
from mfbuild.flyte.resolve import Entities
from mfbuild.flyte.templates import fixed
from mfbuild.http.parallel import for_each
from mfbuild.runtime.inputs import PREFIX

if TYPE_CHECKING:
    from mfbuild.http.parallel import Tick

_AT_ONCE = 16
"""Calls at once: a server looks things up for most of their time."""

_SHOWN = 5

Outcome = tuple[Identifier, bool, FlyteError | None]
"""An entity, whether it was not there yet, and what keeps it from being the one wanted."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What `register` has sent, and what it found otherwise than it would have sent it (told)."""

    sent: tuple[Identifier, ...]
    notes: tuple[str, ...]


def register(
    registrations: Registrations, wanted: Entities, found: LaunchPlan | None, *, each: bool
) -> Registered:
    """Register what is not there yet: tasks at once, then workflows, then the launch plan.

    Nothing is sent where the launch plan is `found`, but with `each` what was lost. FlyteError,
    with everything that differs, where something else has one of the identifiers.
    """
    identifier, launch_plan = wanted.launch_plan
    if found is not None and not each:
        return Registered((), accept(launch_plan, found))
    outcomes = register_tasks(registrations, wanted.tasks)
    for workflow, spec in wanted.workflows:
        outcomes.append(_register(registrations, workflow, spec))
        _raise(outcomes)
    notes: tuple[str, ...] = ()
    sent = found is None and registrations.create(identifier, launch_plan)
    if not sent:
        found = found or registrations.launch_plan(identifier)
        if found is None:
            raise FlyteError(f"{describe(identifier)} exists, and cannot be read")
        notes = accept(launch_plan, found)
    created = [i for i, was_sent, _ in outcomes if was_sent] + ([identifier] if sent else [])
    return Registered(tuple(created), notes)


def register_tasks(
    registrations: Registrations, tasks: Sequence[tuple[Identifier, TaskSpec]]
) -> list[Outcome]:
    """Which of the tasks were not there yet, and now are; FlyteError as of `register`."""
    done: dict[int, Outcome] = {}

    def one(number: int, tick: Tick) -> None:
        done[number] = _register(registrations, *tasks[number])

    # Not a pool of concurrent.futures, which ^C would leave waiting for a silent server.
    for_each(range(len(tasks)), one, _AT_ONCE)
    outcomes = [done[number] for number in range(len(tasks))]
    _raise(outcomes)
    return outcomes


def accept(wanted: LaunchPlanSpec, found: LaunchPlan) -> tuple[str, ...]:
    """What to tell of a launch plan that is there already; FlyteError if it is another one.

    Another owner and other addresses of the same content are told: they are in no version.
    """
    here, there = deepcopy(wanted), deepcopy(found.spec)
    problems, notes = [], []
    for name in (CODE, PLAN):
        what, own, other = name.removeprefix(PREFIX), fixed(wanted, name), fixed(found.spec, name)
        if own.partition("#")[2] != other.partition("#")[2]:
            problems.append(f"`{what}` is another one: `{other}`, not `{own}`")
        elif own != other:
            notes.append(f"{describe(found.id)} has its {what} at {other.partition('#')[0]}")
    if fixed(wanted, PERSON) != fixed(found.spec, PERSON):
        notes.append(f"{describe(found.id)} was registered as {canonical(person(found.spec))}")
    for spec in (here, there):
        for name in (CODE, PLAN, PERSON):
            spec.fixed_inputs.literals.pop(name, None)
    problems += differences(here, there)
    if problems:
        raise _another(found.id, problems)
    return tuple(notes)


def person(spec: LaunchPlanSpec) -> dict[str, Any]:
    """In whose name a launch plan runs, as it may be shown: without the production token."""
    try:
        found = json.loads(fixed(spec, PERSON))
    except ValueError:
        found = None
    values = found if isinstance(found, dict) else {}  # what others have registered may be anything
    return {name: value for name, value in values.items() if name != "production_token"}


def _register(
    registrations: Registrations, identifier: Identifier, spec: TaskSpec | WorkflowSpec
) -> Outcome:
    """Whether this call has registered it, and what keeps it from being the one that is wanted."""
    found = registrations.get(identifier)
    if found is None and registrations.create(identifier, spec):
        return identifier, True, None
    found = found or registrations.get(identifier)
    if found is None:
        return identifier, False, FlyteError(f"{describe(identifier)} exists, and cannot be read")
    different = differences(spec, found)
    return identifier, False, _another(identifier, different) if different else None


def _another(identifier: Identifier, different: list[str]) -> FlyteError:
    shown = "".join(f"\n  {line}" for line in different[:_SHOWN])
    more = f"\n  and {len(different) - _SHOWN} more" if different[_SHOWN:] else ""
    return FlyteError(f"{describe(identifier)} has other content:{shown}{more}")


def _raise(outcomes: list[Outcome]) -> None:
    problems: list[Problem] = [p for _, _, error in outcomes if error for p in error.problems]
    FlyteError.raise_for(problems)
