"""Parents of tasks; what follows from the graph alone asks for no choice."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfbuild.flow.spec import FlowSpec
from mfbuild.runtime.ids import task_id
from mfbuild.runtime.parents import Chosen, TaskPosition, follows_foreach, parents
from tests.flyte import simulate
from tests.flyte.shapes import Draw, shapes, shuffled, source, whole
from tests.flyte.simulate import Task, by_metaflow, splits

RUN = "flyte-f1"


@dataclass
class Node:
    """A step as metaflow.graph has it."""

    name: str
    type: str = "linear"
    in_funcs: list[str] = field(default_factory=list)
    out_funcs: list[str] = field(default_factory=list)
    split_parents: list[str] = field(default_factory=list)
    split_branches: list[str] = field(default_factory=list)
    matching_join: str | None = None


class Graph(dict[str, Node]):
    start_step = "start"

    def __init__(self, *nodes: Node) -> None:
        super().__init__({node.name: node for node in nodes})


# start -> each (foreach) -> pick (switch) -> a | b -> join; start is a plain step
FOREACH = Graph(
    Node("start", "start"),
    Node("each", "foreach", ["start"], ["pick"], matching_join="join"),
    Node("pick", "split-switch", ["each"], ["a", "b"], ["each"], ["pick"]),
    Node("a", "linear", ["pick"], ["join"], ["each"], ["pick"]),
    Node("b", "linear", ["pick"], ["join"], ["each"], ["pick"]),
    Node("join", "join", ["a", "b"], ["end"], ["each"]),
)
# start (split) -> pick (switch) -> a | b, and other -> join
SPLIT = Graph(
    Node("start", "split", [], ["pick", "other"], matching_join="join"),
    Node("pick", "split-switch", ["start"], ["a", "b"], ["start"], ["pick"]),
    Node("a", "linear", ["pick"], ["join"], ["start"], ["pick"]),
    Node("b", "linear", ["pick"], ["join"], ["start"], ["pick"]),
    Node("other", "linear", ["start"], ["join"], ["start"], ["other"]),
    Node("join", "join", ["a", "b", "other"], ["end"], ["start"]),
)
LOOP = Graph(
    Node("start", "start"),
    Node("loop", "split-switch", ["start", "loop"], ["loop", "end"]),
    Node("end", "end", ["loop"]),
)
# start (switch) -> arm -> end, or straight to end
STRAIGHT = Graph(
    Node("start", "split-switch", [], ["end", "train"]),
    Node("train", "linear", ["start"], ["end"]),
    Node("end", "end", ["start", "train"]),
)


def place(step: str, *path: int, iteration: int = 0, count: int | None = None) -> TaskPosition:
    return TaskPosition(RUN, step, path, iteration, count)


def spec(step: str, *path: int, iteration: int = 0) -> str:
    return f"{RUN}/{step}/{task_id(RUN, step, path, iteration)}"


def never(specs: Sequence[str]) -> dict[str, str]:
    raise AssertionError(specs)


def chose(**steps: str) -> Chosen:
    """Switches outside any foreach, by name, and what each chose."""
    return among({spec(name): chosen for name, chosen in steps.items()})


def among(known: Mapping[str, str]) -> Chosen:
    return lambda specs: {s: known[s] for s in specs if s in known}


def test_the_start_follows_the_parameters() -> None:
    start = task_id(RUN, "start")
    assert parents(FOREACH, place("start"), never) == [f"{RUN}/_parameters/{start}-params"]


def test_the_first_step_of_a_body_drops_its_split() -> None:
    assert follows_foreach(FOREACH, place("pick", 4, 2))
    assert parents(FOREACH, place("pick", 4, 2), never) == [spec("each", 4)]
    assert not follows_foreach(FOREACH, place("a", 4, 2))
    assert parents(FOREACH, place("a", 4, 2), never) == [spec("pick", 4, 2)]


def test_a_foreach_join_takes_of_each_split_the_arm_that_was_chosen() -> None:
    chosen = among({spec("pick", 0): "a", spec("pick", 1): "b", spec("pick", 2): "a"})
    found = parents(FOREACH, place("join", count=3), chosen)
    assert found == [spec("a", 0), spec("b", 1), spec("a", 2)]


def test_a_split_join_takes_one_of_each_branch() -> None:
    assert parents(SPLIT, place("join"), chose(pick="b")) == [spec("b"), spec("other")]


@pytest.mark.parametrize("way", ["end", "train"])
def test_a_merge_follows_the_way_that_was_chosen(way: str) -> None:
    parent = {"end": "start", "train": "train"}[way]
    assert parents(STRAIGHT, place("end"), chose(start=way)) == [spec(parent)]


def test_without_a_way_to_it_it_says_so() -> None:
    for graph, step in ((SPLIT, "join"), (STRAIGHT, "end")):
        with pytest.raises(LookupError, match="is not done in the datastore"):
            parents(graph, place(step), chose())


def test_a_loop_follows_itself_and_before_that_what_comes_first() -> None:
    assert parents(LOOP, place("loop"), never) == [spec("start")]
    assert parents(LOOP, place("loop", iteration=7), never) == [spec("loop", iteration=6)]


@given(st.integers(0, 5000))
def test_the_last_iteration_is_found_with_few_questions(last: int) -> None:
    ways = {spec("loop", iteration=n): "loop" for n in range(last)}
    ways[spec("loop", iteration=last)] = "end"
    asked = 0

    def chosen(specs: Sequence[str]) -> dict[str, str]:
        nonlocal asked
        asked += 1
        return dict(among(ways)(specs))

    assert parents(LOOP, place("end"), chosen) == [spec("loop", iteration=last)]
    assert asked <= 2 * (last + 1).bit_length() + 1


@given(shapes, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_parents_are_those_that_metaflow_would_give_a_task(shape: Draw, order: Random) -> None:
    flow = shuffled(whole(shape), order)
    graph = metaflow_graph(flow)

    def chosen(specs: Sequence[str]) -> dict[str, str]:
        return {s: ways[s] for s in specs if s in ways}

    tasks = by_metaflow(flow)
    switches = {step.name for step in flow.steps if step.type == "split-switch"}
    ways = {named_task(t): simulate.chosen(flow, t) for t in tasks if t.step in switches}
    for task, before in tasks.items():
        if task.step != "start":
            found = parents(graph, position_of(flow, task), chosen)
            assert sorted(found) == sorted(map(named_task, before)), task


def named_task(task: Task) -> str:
    return spec(task.step, *task.path, iteration=task.iteration)


def position_of(flow: FlowSpec, task: Task) -> TaskPosition:
    """The position as the inputs of its task say it."""
    opener = [s.name for s in flow.steps if s.matching_join == task.step and s.type == "foreach"]
    count = splits(Task(opener[0], task.path)) if opener else None
    return place(task.step, *task.path, iteration=task.iteration, count=count)


def metaflow_graph(flow: FlowSpec) -> Any:
    """What Metaflow makes of the flow, once its checks have accepted it."""
    code, name = source(flow), f"<{flow.name}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    module = {"__name__": flow.name}
    sys.modules[flow.name] = ModuleType(flow.name)
    sys.modules[flow.name].__file__ = name
    exec(compile(code, name, "exec"), module)
    graph = import_module("metaflow.graph").FlowGraph(module[flow.name])
    import_module("metaflow.lint").linter.run_checks(graph)
    return graph
