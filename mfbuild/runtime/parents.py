"""The parents of a task, from the graph of Metaflow and the task's place in it.

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
class Place:
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


def follows_foreach(graph: Graph, place: Place) -> bool:
    """Whether the step is the first of a foreach's body, and so needs `--split-index`."""
    return any(graph[name].type == "foreach" for name in _before(graph, place.step))


def joined_foreach(graph: Graph, step: str) -> str | None:
    """The foreach that `step` joins, if it does."""
    node = graph[step]
    split = node.split_parents[-1] if node.type == "join" else None
    return split if split and graph[split].type == "foreach" else None


def parents(graph: Graph, place: Place, done: Done) -> list[str]:
    """The tasks that `place` takes its artifacts from, as `--input-paths` wants them.

    Raises LookupError where none of those that could have run before is done.
    """
    node = graph[place.step]
    if place.iteration:
        return [_spec(place, place.step, place.path, place.iteration - 1)]
    if place.step == start_step(graph):
        return [pathspec(place.run, PARAMETERS, parameters_id(place.task))]
    before = _before(graph, place.step)
    if node.type != "join":
        inside = follows_foreach(graph, place)
        return [_one(graph, place, before, place.path[:-1] if inside else place.path, done)]
    if joined_foreach(graph, place.step):
        paths = [(*place.path, index) for index in range(place.count or 0)]
        return _each(graph, place, before, paths, done)
    branches: dict[str, list[str]] = {}
    for name in before:
        branches.setdefault(graph[name].split_branches[-1], []).append(name)
    return [_one(graph, place, names, place.path, done) for names in branches.values()]


def _before(graph: Graph, step: str) -> list[str]:
    """The steps that lead into `step`, itself excepted."""
    return sorted(name for name in graph[step].in_funcs if name != step)


def _each(
    graph: Graph, place: Place, steps: list[str], paths: list[tuple[int, ...]], done: Done
) -> list[str]:
    """The parent at each of `paths`; the datastore is asked about all of them at once."""
    if any(_is_recursive(graph[step]) for step in steps):
        return [_one(graph, place, steps, path, done) for path in paths]
    if len(steps) == 1:
        return [_spec(place, steps[0], path) for path in paths]
    found = [[_spec(place, step, path) for step in steps] for path in paths]
    ran = done([spec for specs in found for spec in specs])
    return [_only(place, specs, ran) for specs in found]


def _one(graph: Graph, place: Place, steps: list[str], path: tuple[int, ...], done: Done) -> str:
    """The one task of `steps` at `path` that ran: of a recursive step, its last iteration."""
    if len(steps) == 1 and not _is_recursive(graph[steps[0]]):
        return _spec(place, steps[0], path)
    first = [_spec(place, step, path) for step in steps]
    ran = done(first) if len(steps) > 1 else frozenset(first)
    spec = _only(place, first, ran)
    step = steps[first.index(spec)]
    if not _is_recursive(graph[step]):
        return spec
    last = _last(lambda n: bool(done([_spec(place, step, path, n)])))
    return _spec(place, step, path, last)


def _only(place: Place, specs: Sequence[str], ran: frozenset[str]) -> str:
    for spec in specs:
        if spec in ran:
            return spec
    raise LookupError(
        f"step `{place.step}` has no parent: none of {', '.join(specs)} is done in the datastore"
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


def _spec(place: Place, step: str, path: tuple[int, ...], iteration: int = 0) -> str:
    return pathspec(place.run, step, task_id(place.run, step, path, iteration))
