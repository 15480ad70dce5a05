"""The task ids of Metaflow: a pure function of where a task stands in its run.

So a retry is an attempt of the same task, and a step knows its parents without being told.
"""

from __future__ import annotations

import hashlib
import json

PARAMETERS = "_parameters"


def task_id(run: str, step: str, path: tuple[int, ...] = (), iteration: int = 0) -> str:
    """The id of a task: `t-` and 16 hex digits.

    `path` has the split index of each enclosing foreach, outermost first, the own one included;
    `iteration` counts the runs of a recursive step from 0. An id must not be a number, which
    would pass for one that the metadata service gave out.
    """
    position = json.dumps(
        [run, step, "/".join(map(str, path)), iteration], separators=(",", ":"), ensure_ascii=True
    )
    return f"t-{hashlib.sha256(position.encode('ascii')).hexdigest()[:16]}"


def parameters_id(start: str) -> str:
    """The id of the task `_parameters`, from that of the start step's task."""
    return f"{start}-params"


def pathspec(run: str, step: str, task: str) -> str:
    """A task as Metaflow's `--input-paths` has it."""
    return f"{run}/{step}/{task}"
