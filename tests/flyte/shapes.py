"""Flows of every shape as FlowSpecs: written down step by step, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
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


def _closed(closed: st.SearchStrategy[Draw], opened: st.SearchStrategy[Draw]) -> Any:
    """Stretches that may be the last of a branch or body: no arm may lead straight into a join."""
    several = st.lists(closed, min_size=2, max_size=3)
    return st.one_of(
        st.builds(sequence, closed | opened, closed),
        several.map(lambda parts: split(*parts)),
        closed.map(foreach),
        several.map(lambda arms: switch(*arms)),
    )


def _opened(closed: st.SearchStrategy[Draw], opened: st.SearchStrategy[Draw]) -> Any:
    """Switches that need a step behind them, which arms lead to straight and from others' ends."""
    return st.builds(
        lambda arms, recursive, falling: switch(
            *arms, *([None] if len(arms) == 1 else []), recursive=recursive, falling=falling
        ),
        st.lists(st.none() | closed | opened, min_size=1, max_size=3).filter(any),
        st.booleans(),
        st.sets(st.integers(0, 2)),
    )


_stretches: st.SearchStrategy[Draw] = st.recursive(
    st.just(plain),
    lambda inner: _closed(inner, _opened(inner, _opened(inner, st.nothing()))),
    max_leaves=12,
)
shapes = _stretches | st.builds(sequence, _opened(_stretches, st.nothing()), st.just(plain))
"""Any stretch of a flow that Metaflow accepts."""


def named(spec: FlowSpec, names: Mapping[str, str]) -> FlowSpec:
    """The flow with other names for some of its steps."""

    def new(name: str) -> str:
        return names.get(name, name)

    steps = [
        replace(
            s,
            name=new(s.name),
            next=tuple(map(new, s.next)),
            matching_join=new(s.matching_join) if s.matching_join else None,
        )
        for s in spec.steps
    ]
    return replace(spec, steps=tuple(steps), start=new(spec.start), end=new(spec.end))


def shuffled(spec: FlowSpec, order: Random) -> FlowSpec:
    """The flow with names whose order says nothing of the steps'; `start` and `end` keep theirs."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    fresh = [f"{a}{b}" for a in letters for b in ("1", "_", "")]
    fresh += [f"{name}x{n}" for n in range(len(spec.steps) // len(fresh) + 1) for name in fresh]
    inner = [step.name for step in spec.steps if step.name not in (spec.start, spec.end)]
    names = dict(zip(inner, order.sample(fresh, len(inner)), strict=True))
    return named(spec, {**names, spec.start: "start", spec.end: "end"})


def source(spec: FlowSpec) -> str:
    """A flow of this graph in Python, whose tasks note what they came from.

    Its foreaches split, and its switches choose, as `simulate` has it.
    """
    return _HEAD + "".join(_method(step) for step in spec.steps) + _FOOT


_HEAD = """from hashlib import sha256
from metaflow import FlowSpec, step

def number(*task):
    return int.from_bytes(sha256(repr(task).encode()).digest()[:4], "big")

def chosen(ways, *task):
    choice = ways[number(*task) % len(ways)]
    if choice == task[0] and task[2] + 1 == 3:
        choice = next(way for way in ways if way != task[0])
    return choice

class TrainFlow(FlowSpec):


    def place(self):
        return tuple(frame[0] for frame in self.foreach_stack() or ())
"""
_FOOT = """
if __name__ == "__main__":
    TrainFlow()
"""


def _method(step: StepSpec) -> str:
    """One step's; each leaves an artifact of its own, and the way to it."""
    join = step.type == "join"
    way = "(sorted((i.trail for i in inputs), key=repr),)" if join else "getattr(self, 'trail', ())"
    lines = [
        "@step",
        f"def {step.name}({'self, inputs' if join else 'self'}):",
        f"    self.trail = (*{way}, ({step.name!r}, self.place()))",
        f"    self.at_{step.name} = rounds = getattr(self, 'at_{step.name}', -1) + 1",
    ]
    onward = ", ".join(f"self.{name}" for name in step.next)
    task = f"{step.name!r}, self.place()"
    if step.type == "foreach":
        lines += [f"    self.splits = list(range(1 + number({task}, 0) % 3))"]
        onward += ", foreach='splits'"
    elif step.type == "split-switch":
        lines += [f"    self.way = chosen({step.next!r}, {task}, rounds)"]
        cases = ", ".join(f"{name!r}: self.{name}" for name in step.next)
        onward = f"{{{cases}}}, condition='way'"
    lines += [f"    self.next({onward})"] if step.next else []
    return "".join(f"\n    {line}" for line in lines) + "\n"
