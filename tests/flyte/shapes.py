"""Flows of every shape as FlowSpecs: written down step by step, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from mfbuild.flow.spec import FlowSpec, NodeType, StepSpec
from tests.specs import flow, step


@dataclass
class Sketch:
    """Steps in topological order; their edges may be filled in later."""

    steps: dict[str, StepSpec] = field(default_factory=dict)

    def add(self, kind: NodeType = "linear") -> str:
        name = f"s{len(self.steps)}"
        self.steps[name] = step(name, kind=kind, line=len(self.steps) + 5)
        return name

    def lead(self, name: str, *following: str, **more: Any) -> None:
        self.steps[name] = replace(self.steps[name], next=following, **more)

    def flow(self) -> FlowSpec:
        names = list(self.steps)
        first, last = names[0], names[-1]
        if self.steps[first].type == "linear":
            self.steps[first] = replace(self.steps[first], type="start")
        self.steps[last] = replace(self.steps[last], type="end")
        return flow(*self.steps.values())


@dataclass(frozen=True)
class Piece:
    """A stretch of a flow: its first step, and the steps that lead on from it, yet unbound."""

    first: str
    last: Callable[[str], None]


Draw = Callable[[Sketch], Piece]


def plain(sketch: Sketch) -> Piece:
    name = sketch.add()
    return Piece(name, lambda following: sketch.lead(name, following))


def sequence(*parts: Draw) -> Draw:
    def draw(sketch: Sketch) -> Piece:
        pieces = [part(sketch) for part in parts]
        for before, after in pairwise(pieces):
            before.last(after.first)
        return Piece(pieces[0].first, pieces[-1].last)

    return draw


def split(*branches: Draw) -> Draw:
    def draw(sketch: Sketch) -> Piece:
        name = sketch.add("split")
        pieces = [branch(sketch) for branch in branches]
        join = sketch.add("join")
        sketch.lead(name, *(piece.first for piece in pieces), matching_join=join)
        for piece in pieces:
            piece.last(join)
        return Piece(name, lambda following: sketch.lead(join, following))

    return draw


def foreach(body: Draw) -> Draw:
    def draw(sketch: Sketch) -> Piece:
        name = sketch.add("foreach")
        piece = body(sketch)
        join = sketch.add("join")
        sketch.lead(name, piece.first, foreach="items", matching_join=join)
        piece.last(join)
        return Piece(name, lambda following: sketch.lead(join, following))

    return draw


def switch(*arms: Draw | None, recursive: bool = False, falling: Sequence[int] = ()) -> Draw:
    """A choice; an arm of None leads straight on, one of `falling` leads into the next arm."""

    def draw(sketch: Sketch) -> Piece:
        name = sketch.add("split-switch")
        pieces = [arm(sketch) if arm else None for arm in arms]
        open_ends = []
        for number, piece in enumerate(pieces):
            following = next((p for p in pieces[number + 1 :] if p), None)
            if piece and number in falling and following:
                piece.last(following.first)
            elif piece:
                open_ends.append(piece.last)

        def last(following: str) -> None:
            ways = [piece.first if piece else following for piece in pieces]
            ways += [name] if recursive else []
            sketch.lead(name, *dict.fromkeys(ways), switch_condition="way")
            for end in open_ends:
                end(following)

        return Piece(name, last)

    return draw


def whole(draw: Draw) -> FlowSpec:
    """The flow of a stretch between a start and an end of its own."""
    sketch = Sketch()
    sequence(plain, draw, plain)(sketch)
    return sketch.flow()


def _switches(inner: st.SearchStrategy[Draw]) -> st.SearchStrategy[Draw]:
    """A switch with a step behind it: no arm may lead straight into a join."""
    arms = st.lists(st.none() | inner, min_size=1, max_size=3).filter(any)
    return st.builds(
        lambda a, recursive, falling: sequence(
            switch(*a, *([None] if len(a) == 1 else []), recursive=recursive, falling=falling),
            plain,
        ),
        arms,
        st.booleans(),
        st.sets(st.integers(0, 2)),
    )


def _bare_switches(inner: st.SearchStrategy[Draw]) -> st.SearchStrategy[Draw]:
    """A switch that may be the last of a branch or body."""
    return st.lists(inner, min_size=2, max_size=3).map(lambda arms: switch(*arms))


def _larger(inner: st.SearchStrategy[Draw]) -> st.SearchStrategy[Draw]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: sequence(*parts)),
        several.map(lambda parts: split(*parts)),
        inner.map(foreach),
        _switches(inner),
        _bare_switches(inner),
    )


shapes: st.SearchStrategy[Draw] = st.recursive(st.just(plain), _larger, max_leaves=12)
"""Any stretch of a flow that Metaflow accepts."""
