"""What a step leaves for Flyte: outputs.pb or futures.pb by how it went on, or error.pb."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from . import futures, literals
from .arguments import Arguments
from .code import fetch
from .errors import NonRecoverable
from .parents import Node
from .storage import Storage

Transition = tuple[Sequence[str], str | None] | None
"""FlowSpec._transition: the steps that self.next() was called with, and its foreach."""


def check_transition(node: Node, transition: Transition) -> None:
    """Raises NonRecoverable where Metaflow's own runtime would end the run."""
    called = list(transition[0]) if transition else []
    if node.type == "split-switch":
        allowed = len(called) == 1 and called[0] in node.out_funcs
    else:
        allowed = called == list(node.out_funcs)
    if not allowed:
        raise NonRecoverable(
            "WrongTransition",
            f"step `{node.name}` was to go on with {_listed(node.out_funcs)}, but has called "
            f"self.next with {_listed(called)}: its last line must be that call, and the only one",
        )


def _listed(steps: Sequence[str]) -> str:
    return ", ".join(f"`{step}`" for step in steps) or "nothing"


def write_outcome(
    node: Node,
    transition: Transition,
    splits: int | None,
    arguments: Arguments,
    inputs: Callable[[], Mapping[str, bytes]],
    storage: Storage,
) -> None:
    """Write what decides which nodes follow; most steps have nothing to write.

    `splits` is the number of a foreach's, `inputs` reads the step's own. Raises NonRecoverable
    for a plan that does not fit, and for futures that are too large.
    """
    if node.type not in ("foreach", "split-switch") or not arguments.output:
        return
    address = arguments.plan
    plan = futures.ExpansionPlan.from_json(fetch(address, storage.get)) if address else futures.NONE
    values: dict[str, literals.Value]
    if node.type == "foreach":
        assert splits is not None
        values = {"count": splits, "splits": list(range(splits))}
        job = futures.of_foreach(plan, arguments, inputs(), splits)
    else:
        assert transition is not None
        choice = transition[0][0]
        values = {"choice": choice}
        job = futures.of_switch(plan, arguments, inputs(), choice)
    if job is not None:
        storage.put(f"{arguments.output}/futures.pb", job)
    elif not futures.is_dynamic(plan, arguments.step):
        storage.put(f"{arguments.output}/outputs.pb", literals.literal_map(values))


def give_up(error: NonRecoverable, arguments: Arguments, storage: Storage) -> int:
    """Tell Flyte not to try again; the exit code. It reads error.pb only after the exit code 0."""
    sys.stderr.write(f"error: {error}\n")
    if not arguments.output:
        return 1
    document = literals.error_document(error.code, str(error))
    storage.put(f"{arguments.output}/error.pb", document)
    return 0
