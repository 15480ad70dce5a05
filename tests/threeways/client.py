"""Prints what Metaflow's Client sees of runs of a flow, pickled; a program of its own.

    python client.py FLOW RUN…

A program, because Metaflow reads its configuration from the environment once, at import.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from metaflow.client.core import Run, namespace
from metaflow.exception import MetaflowExceptionWrapper


def tasks_of(run: Any) -> dict[str, list[tuple[Any, ...]]]:
    """By step: of each task its place in foreaches, attempts, whether it succeeded, artifacts."""
    return {step.id: sorted((_task(task) for task in step), key=repr) for step in run}


def _task(task: Any) -> tuple[Any, ...]:
    place = tuple(frame.index for frame in task["_foreach_stack"].data)
    # In one order, by which tasks of the same place are sorted: the datastore lists them in any.
    artifacts = {a.id: _plain(a) for a in sorted(task, key=lambda artifact: str(artifact.id))}
    return place, task.current_attempt + 1, task.successful, artifacts


def _plain(artifact: Any) -> Any:
    """A value that can be compared.

    A caught exception without its traceback, which has paths; the graph without @pypi, which is
    not there where Metaflow itself runs the flow.
    """
    value = artifact.data
    if isinstance(value, MetaflowExceptionWrapper):
        return value.type, value.exception
    if artifact.id == "_graph_info":
        for step in value["steps"].values():
            step["decorators"] = [d for d in step["decorators"] if d["name"] != "pypi"]
    return value


if __name__ == "__main__":
    namespace(None)
    flow, *names = sys.argv[1:]
    runs = [Run(f"{flow}/{name}") for name in names]
    pickle.dump([(run.successful, tasks_of(run)) for run in runs], sys.stdout.buffer)
