"""Takes over what an earlier run has done: Metaflow's own cloning, one task at a time."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .errors import NonRecoverable
from .ids import PARAMETERS, parameters_id, task_id
from .parents import Graph, TaskPosition
from .run import Resume


def take_over(
    state: Any, position: TaskPosition, resume: Resume, attempt: int, tags: Sequence[str]
) -> Any | None:
    """The datastore of the earlier run's task, once that is this run's too; None if it must run.

    A task that is done had all its parents done, so that they were taken over as well; only what
    follows a step that is to run again must run again too.
    """
    if resume.step and position.step in from_step(state.graph, resume.step):
        return None
    task = task_id(resume.run, position.step, position.path, position.iteration)
    origin = _done(state.flow_datastore, resume.run, position.step, task)
    if origin is None or not origin["_task_ok"]:
        return None
    _clone(state, position, (resume.run, task, position.task), position.step, attempt, tags)
    return origin


def take_over_parameters(
    state: Any, position: TaskPosition, resume: Resume, tags: Sequence[str]
) -> None:
    """Give this run the parameters of the earlier one. NonRecoverable where that has none."""
    start = task_id(resume.run, position.step, position.path, position.iteration)
    task = parameters_id(start)
    if _done(state.flow_datastore, resume.run, PARAMETERS, task) is None:
        raise NonRecoverable(
            "UnknownRun", f"there is no run `{resume.run}` of `{state.flow.name}` to go on with"
        )
    _clone(state, position, (resume.run, task, parameters_id(position.task)), PARAMETERS, 0, tags)


def from_step(graph: Graph, step: str) -> set[str]:
    """`step`, and all steps that may run after it."""
    found: set[str] = set()
    waiting = [step]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name].out_funcs
    return found


def _done(store: Any, run: str, step: str, task: str) -> Any | None:
    missing: Any = import_module("metaflow.datastore.exceptions").DataException
    try:
        return store.get_task_datastore(run, step, task)
    except missing:
        return None


def _clone(
    state: Any,
    position: TaskPosition,
    ids: tuple[str, str, str],
    step: str,
    attempt: int,
    tags: Sequence[str],
) -> None:
    """`ids` are the earlier run, its task, and this run's task."""
    run, theirs, own = ids
    clone: Any = import_module("metaflow.clone_util").clone_task_helper
    state.metadata.add_sticky_tags(tags=list(tags))
    state.metadata.register_run_id(position.run)
    clone(
        *(state.flow.name, run, position.run, step, theirs, own),
        *(state.flow_datastore, state.metadata),
        attempt_id=attempt,
    )
