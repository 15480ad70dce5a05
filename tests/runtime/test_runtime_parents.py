"""Parents of tasks; what follows from the graph alone never asks the datastore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.runtime.ids import task_id
from mfbuild.runtime.parents import TaskPosition, follows_foreach, parents

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


class Graph(dict[str, Node]):
    start_step = "start"

    def __init__(self, *nodes: Node) -> None:
        super().__init__({node.name: node for node in nodes})


# start -> each (foreach) -> pick (switch) -> a | b -> join; start is a plain step
FOREACH = Graph(
    Node("start", "start"),
    Node("each", "foreach", ["start"], ["pick"]),
    Node("pick", "split-switch", ["each"], ["a", "b"], ["each"], ["pick"]),
    Node("a", "linear", ["pick"], ["join"], ["each"], ["pick"]),
    Node("b", "linear", ["pick"], ["join"], ["each"], ["pick"]),
    Node("join", "join", ["a", "b"], ["end"], ["each"]),
)
# start (split) -> pick (switch) -> a | b, and other -> join
SPLIT = Graph(
    Node("start", "split", [], ["pick", "other"]),
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


def place(step: str, *path: int, iteration: int = 0, count: int | None = None) -> TaskPosition:
    return TaskPosition(RUN, step, path, iteration, count)


def spec(step: str, *path: int, iteration: int = 0) -> str:
    return f"{RUN}/{step}/{task_id(RUN, step, path, iteration)}"


def never(specs: Sequence[str]) -> frozenset[str]:
    raise AssertionError(specs)


def only(*done: str):  # type: ignore[no-untyped-def]
    return lambda specs: frozenset(specs) & frozenset(done)


def test_the_start_follows_the_parameters() -> None:
    start = task_id(RUN, "start")
    assert parents(FOREACH, place("start"), never) == [f"{RUN}/_parameters/{start}-params"]


def test_the_first_step_of_a_body_drops_its_split() -> None:
    assert follows_foreach(FOREACH, place("pick", 4, 2))
    assert parents(FOREACH, place("pick", 4, 2), never) == [spec("each", 4)]
    assert not follows_foreach(FOREACH, place("a", 4, 2))
    assert parents(FOREACH, place("a", 4, 2), never) == [spec("pick", 4, 2)]


def test_a_foreach_join_takes_of_each_split_the_arm_that_ran() -> None:
    done = only(spec("a", 0), spec("b", 1), spec("a", 2), spec("b", 3))
    found = parents(FOREACH, place("join", count=3), done)
    assert found == [spec("a", 0), spec("b", 1), spec("a", 2)]


def test_a_split_join_takes_one_of_each_branch() -> None:
    found = parents(SPLIT, place("join"), only(spec("b"), spec("other")))
    assert sorted(found) == sorted([spec("b"), spec("other")])


def test_without_a_parent_that_is_done_it_says_so() -> None:
    with pytest.raises(LookupError, match="step `join` has no parent: none of"):
        parents(SPLIT, place("join"), only(spec("other")))


def test_a_loop_follows_itself_and_before_that_what_comes_first() -> None:
    assert parents(LOOP, place("loop"), never) == [spec("start")]
    assert parents(LOOP, place("loop", iteration=7), never) == [spec("loop", iteration=6)]


@given(st.integers(0, 5000))
def test_the_last_iteration_is_found_with_few_questions(last: int) -> None:
    ran = {spec("loop", iteration=n): n for n in range(last + 1)}
    asked = 0

    def done(specs: Sequence[str]) -> frozenset[str]:
        nonlocal asked
        asked += 1
        return frozenset(s for s in specs if s in ran)

    assert parents(LOOP, place("end"), done) == [spec("loop", iteration=last)]
    assert asked <= 2 * (last + 1).bit_length() + 1
