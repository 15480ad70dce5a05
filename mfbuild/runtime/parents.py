"""The parents of a task, from the graph of Metaflow and the task's position in it.

Only where one of several steps ran, after a switch, or a step ran an unknown number of times is
the datastore asked which tasks are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .ids import PARAMETERS, parameters_id, pathspec, task_id


class Node(Protocol):
    """A step in metaflow.graph.FlowGraph, as far as it counts here."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def in_funcs(self) -> Iterable[str]: ...
    @property
    def out_funcs(self) -> Sequence[str]: ...
    @property
    def split_parents(self) -> Sequence[str]: ...
    @property
    def split_branches(self) -> Sequence[str]: ...


class Graph(Protocol):
    """metaflow.graph.FlowGraph."""

    def __getitem__(self, name: str) -> Node: ...


Done = Callable[[Sequence[str]], frozenset[str]]
"""Which of these pathspecs (`run/step/task`) are done in the datastore."""


@dataclass(frozen=True, slots=True)
class TaskPosition:
    """A task of a run: `path` has the own split, `count` is that of the foreach which it joins."""

    run: str
    step: str
    path: tuple[int, ...]
    iteration: int
    count: int | None

    @property
    def task(self) -> str:
        return task_id(self.run, self.step, self.path, self.iteration)


def start_step(graph: Any) -> str:
    """The first step; Metaflow before 2.19.20 knew no other name for it."""
    name: str = getattr(graph, "start_step", None) or "start"
    return name


def follows_foreach(graph: Graph, position: TaskPosition) -> bool:
    """Whether the step is the first of a foreach's body, and so needs `--split-index`."""
    return any(graph[name].type == "foreach" for name in _before(graph, position.step))


def joined_foreach(graph: Graph, step: str) -> str | None:
    """The foreach that `step` joins, if it does."""
    node = graph[step]
    split = node.split_parents[-1] if node.type == "join" else None
    return split if split and graph[split].type == "foreach" else None


def parents(graph: Graph, position: TaskPosition, done: Done) -> list[str]:
    """The tasks that `position` takes its artifacts from, as `--input-paths` wants them.

    Raises LookupError where none of those that could have run before is done.
    """
    node = graph[position.step]
    if position.iteration:
        return [_spec(position, position.step, position.path, position.iteration - 1)]
    if position.step == start_step(graph):
        return [pathspec(position.run, PARAMETERS, parameters_id(position.task))]
    before = _before(graph, position.step)
    if node.type != "join":
        inside = follows_foreach(graph, position)
        return [
            _one(graph, position, before, position.path[:-1] if inside else position.path, done)
        ]
    if joined_foreach(graph, position.step):
        paths = [(*position.path, index) for index in range(position.count or 0)]
        return _each(graph, position, before, paths, done)
    branches: dict[str, list[str]] = {}
    for name in before:
        branches.setdefault(graph[name].split_branches[-1], []).append(name)
    return [_one(graph, position, names, position.path, done) for names in branches.values()]


def _before(graph: Graph, step: str) -> list[str]:
    """The steps that lead into `step`, itself excepted."""
    return sorted(name for name in graph[step].in_funcs if name != step)


def _each(
    graph: Graph, position: TaskPosition, steps: list[str], paths: list[tuple[int, ...]], done: Done
) -> list[str]:
    """The parent at each of `paths`; the datastore is asked about all of them at once."""
    if any(_is_recursive(graph[step]) for step in steps):
        return [_one(graph, position, steps, path, done) for path in paths]
    if len(steps) == 1:
        return [_spec(position, steps[0], path) for path in paths]
    found = [[_spec(position, step, path) for step in steps] for path in paths]
    ran = done([spec for specs in found for spec in specs])
    return [_only(position, specs, ran) for specs in found]


def _one(
    graph: Graph, position: TaskPosition, steps: list[str], path: tuple[int, ...], done: Done
) -> str:
    """The one task of `steps` at `path` that ran: of a recursive step, its last iteration."""
    if len(steps) == 1 and not _is_recursive(graph[steps[0]]):
        return _spec(position, steps[0], path)
    first = [_spec(position, step, path) for step in steps]
    ran = done(first) if len(steps) > 1 else frozenset(first)
    spec = _only(position, first, ran)
    step = steps[first.index(spec)]
    if not _is_recursive(graph[step]):
        return spec
    last = _last(lambda n: bool(done([_spec(position, step, path, n)])))
    return _spec(position, step, path, last)


def _only(position: TaskPosition, specs: Sequence[str], ran: frozenset[str]) -> str:
    for spec in specs:
        if spec in ran:
            return spec
    raise LookupError(
        f"step `{position.step}` has no parent: none of {', '.join(specs)} is done in the datastore"
    )


def _last(holds: Callable[[int], bool]) -> int:
    """The largest n for which `holds`, which does for 0 and all up to n, in O(log n) questions."""
    high = 1
    while holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _is_recursive(node: Node) -> bool:
    return node.type == "split-switch" and node.name in node.out_funcs


def _spec(position: TaskPosition, step: str, path: tuple[int, ...], iteration: int = 0) -> str:
    return pathspec(position.run, step, task_id(position.run, step, path, iteration))
