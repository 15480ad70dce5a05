"""Prints what Metaflow's Client sees of a run, pickled; a program of its own.

    python client.py FLOW RUN

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
    artifacts = {artifact.id: _plain(artifact.data) for artifact in task}
    return place, task.current_attempt + 1, task.successful, artifacts


def _plain(value: Any) -> Any:
    """A value that can be compared; a caught exception without its traceback, which has paths."""
    if isinstance(value, MetaflowExceptionWrapper):
        return value.type, value.exception
    return value


if __name__ == "__main__":
    namespace(None)
    found = Run("/".join(sys.argv[1:]))
    pickle.dump((found.successful, tasks_of(found)), sys.stdout.buffer)
