"""Names that the contract fixes: the inputs that travel, entities, and node ids."""

from __future__ import annotations

from collections.abc import Iterable

from mfbuild.runtime.inputs import PREFIX

CODE, PLAN, RUN, PERSON = (f"{PREFIX}{name}" for name in ("code", "plan", "run", "person"))
TRAVELLING = (CODE, PLAN, RUN, PERSON)
"""The inputs of every task, in the order of the command line."""

PATH, SPLIT, COUNT, ITERATION = (
    f"{PREFIX}{name}" for name in ("path", "split", "count", "iteration")
)
PLACED = (PATH, SPLIT, COUNT, ITERATION)
"""The inputs that a step has by its position in the graph, in the order of the command line."""

START, END = "start-node", "end-node"
"""Nodes that Flyte's compiler adds to every workflow."""

LONGEST_NAME = 255
"""flyteidl2 allows no longer ones, and flyteadmin's tables none that are much longer."""

SPLITS, CHOICE, SIZE = "splits", "choice", "count"
"""The outputs of tasks; SIZE is how many splits a foreach has made."""

ALLOWED_RETRIES = 5
"""Metaflow ends an attempt whose number is MAX_ATTEMPTS (6) or above."""


def task_name(flow: str, step: str) -> str:
    """The name of a step's task."""
    return f"{flow}.{step}"


def base_name(name: str) -> str:
    """The last part of a name: the step of a task's, the flow of a launch plan's."""
    return name.rpartition(".")[2]


def node_id(step: str) -> str:
    """The id of a step's node.

    Propeller names pods after nodes and drops what DNS does not allow, so that `a_b` and `ab` would
    be one pod. Metaflow allows only [a-z0-9_] in the name of a step, so this is one to one.
    """
    return step.replace("_", "-")


def free_id(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, with as many `-` behind it as it takes to differ from all of `taken`.

    None of them may go on with a `-` either: Flyte's compiler calls an arm `<branch>-<arm>`.
    """
    known = tuple(taken)
    while any(name == wanted or name.startswith(f"{wanted}-") for name in known):
        wanted += "-"
    return wanted
