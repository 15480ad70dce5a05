"""The static graph of a build: actions that are known to fit together, producers first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from mfbuild.engine.model import Action, Output

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")


class ActionGraph:
    """A valid set of actions: labels are unique, inputs exist, and there is no cycle.

    `actions` is by label in topological order: a producer before its consumers. ValueError, with
    everything that is wrong, if they do not make a graph.
    """

    def __init__(self, actions: Iterable[Action]) -> None:
        given = list(actions)
        by_label = {action.label: action for action in given}
        problems = [*_repeated(given), *_problems(by_label)]
        if problems:
            raise ValueError("; ".join(problems))
        self.actions: Mapping[str, Action] = {label: by_label[label] for label in _sorted(by_label)}

    def closure(self, goals: Iterable[Output]) -> tuple[Action, ...]:
        """The actions that make `goals` or what they are made of, in topological order."""
        needed = set()
        for goal in goals:
            if problem := _undeclared(self.actions, goal):
                raise ValueError(f"goal {problem}")
            needed.add(goal.label)
        for label in reversed(list(self.actions)):
            if label in needed:
                needed.update(producers(self.actions[label]))
        return tuple(action for label, action in self.actions.items() if label in needed)


def producers(action: Action) -> Iterator[str]:
    """The labels of the actions whose outputs `action` takes, with repetitions."""
    return (source.label for _, source in action.inputs if isinstance(source, Output))


def _repeated(actions: Iterable[Action]) -> Iterator[str]:
    seen = set()
    for action in actions:
        if action.label in seen:
            yield f"two actions are labelled `{action.label}`"
        seen.add(action.label)


def _problems(actions: Mapping[str, Action]) -> Iterator[str]:
    for label, action in actions.items():
        for kind, names in (
            ("inputs", [name for name, _ in action.inputs]),
            ("outputs", list(action.outputs)),
        ):
            if names != sorted(set(names)):
                yield f"the {kind} of `{label}` are not sorted and distinct"
        # Outputs become files of these names in the action's own directory.
        for name in action.outputs:
            if not _FILE_NAME.match(name):
                yield f"output `{name}` of `{label}` is not a plain file name"
        for _, given in action.inputs:
            if isinstance(given, Output) and (problem := _undeclared(actions, given)):
                yield f"`{label}` takes {problem}"


def _undeclared(actions: Mapping[str, Action], output: Output) -> str | None:
    producer = actions.get(output.label)
    if producer is None:
        return f"`{output.name}` of `{output.label}`, which does not exist"
    if output.name not in producer.outputs:
        return f"`{output.name}` of `{output.label}`, which makes no such output"
    return None


def _sorted(actions: Mapping[str, Action]) -> list[str]:
    sorter = TopologicalSorter({label: producers(action) for label, action in actions.items()})
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise ValueError(f"actions depend on each other: {' -> '.join(error.args[1])}") from None
