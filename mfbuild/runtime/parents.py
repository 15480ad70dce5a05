"""The parents of a task: what the graph says, and where several ways lead to it, what was chosen.

A task follows the last one of the way that its run took. Where ways meet again, that way is walked
from where they could part, and each switch on it is asked in the datastore for its choice. Which
tasks are done says nothing: a switch that leads straight to a merge is done whatever it chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    @property
    def matching_join(self) -> str | None: ...


class Graph(Protocol):
    """metaflow.graph.FlowGraph."""

    def __getitem__(self, name: str) -> Node: ...


Chosen = Callable[[Sequence[str]], Mapping[str, str]]
"""The step that each of these tasks of switches (`run/step/task`) chose; only of those done."""

_Path = tuple[int, ...]


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
    return any(graph[name].type == "foreach" for name in graph[position.step].in_funcs)


def joined_foreach(graph: Graph, step: str) -> str | None:
    """The foreach that `step` joins, if it does."""
    node = graph[step]
    split = node.split_parents[-1] if node.type == "join" else None
    return split if split and graph[split].type == "foreach" else None


def parents(graph: Graph, position: TaskPosition, chosen: Chosen) -> list[str]:
    """The tasks that `position` takes its artifacts from, as `--input-paths` wants them.

    Raises LookupError where the switches before it have not led to it.
    """
    node = graph[position.step]
    if position.iteration:
        return [_spec(position, position.step, position.path, position.iteration - 1)]
    if position.step == start_step(graph):
        return [pathspec(position.run, PARAMETERS, parameters_id(position.task))]
    if node.type != "join":
        entry = _entry(graph, position.step)
        if entry != position.step:
            return _led(graph, position, entry, [position.path], chosen)
        inside = follows_foreach(graph, position)
        path = position.path[:-1] if inside else position.path
        return [_spec(position, node.split_parents[-1], path)]
    paths = [position.path]
    if joined_foreach(graph, position.step):
        paths = [(*position.path, index) for index in range(position.count or 0)]
    entries = graph[node.split_parents[-1]].out_funcs
    return [p for entry in entries for p in _led(graph, position, entry, paths, chosen)]


def _entry(graph: Graph, step: str) -> str:
    """The first step of the branch or body that `step` is in, or of the flow."""
    branches = graph[step].split_branches
    return branches[-1] if branches else start_step(graph)


def _led(
    graph: Graph, position: TaskPosition, entry: str, paths: Sequence[_Path], chosen: Chosen
) -> list[str]:
    """Of each of `paths`, the last task before the step on the way that begins at `entry`."""
    before = [
        name
        for name in graph[position.step].in_funcs
        if name != position.step and _entry(graph, name) == entry
    ]
    if len(before) == 1:
        return [_task(graph, position, before[0], path, chosen) for path in paths]
    found: dict[_Path, str] = {}
    at = dict.fromkeys(paths, entry)
    while at:
        tasks = {path: _task(graph, position, step, path, chosen) for path, step in at.items()}
        following = _following(graph, at, tasks, chosen)
        found |= {path: tasks[path] for path in at if following[path] == position.step}
        at = {path: step for path, step in following.items() if path not in found}
    return [found[path] for path in paths]


def _following(
    graph: Graph, at: Mapping[_Path, str], tasks: Mapping[_Path, str], chosen: Chosen
) -> dict[_Path, str]:
    """Where the ways go on from the steps `at`: behind its join from what splits."""
    choices = chosen([tasks[path] for path, step in at.items() if _is_switch(graph[step])])
    found: dict[_Path, str] = {}
    for path, step in at.items():
        node = graph[step]
        if _is_switch(node):
            following = choices.get(tasks[path])
        else:
            following = node.matching_join or next(iter(node.out_funcs), None)
        if following is None:
            left = "is not done in the datastore" if _is_switch(node) else "was reached without it"
            raise LookupError(f"{tasks[path]} {left}")
        found[path] = following
    return found


def _task(graph: Graph, position: TaskPosition, step: str, path: _Path, chosen: Chosen) -> str:
    """The task of `step` at `path`: of a recursive step, the last one that ran."""
    if not _is_switch(graph[step]) or step not in graph[step].out_funcs:
        return _spec(position, step, path)

    def goes_on(iteration: int) -> bool:
        spec = _spec(position, step, path, iteration)
        return chosen([spec]).get(spec) == step

    return _spec(position, step, path, _first_not(goes_on))


def _first_not(holds: Callable[[int], bool]) -> int:
    """The first n for which not `holds`, which does for all below it, in O(log n) questions."""
    low, high = -1, 0
    while holds(high):
        low, high = high, high * 2 + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


def _is_switch(node: Node) -> bool:
    return node.type == "split-switch"


def _spec(position: TaskPosition, step: str, path: _Path, iteration: int = 0) -> str:
    return pathspec(position.run, step, task_id(position.run, step, path, iteration))
