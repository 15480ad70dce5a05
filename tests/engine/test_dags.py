"""Random graphs: a build is what a simple simulation says, and the next has nothing to do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mfbuild.engine.model import Action, Input, Output, canonical
from mfbuild.engine.plan import Status
from mfbuild.engine.store import Store
from tests.engine.fakes import Workshop, action, out

SOURCES = 4


@dataclass(frozen=True)
class Node:
    """An action of a random graph: the nodes and the sources that it takes, by number."""

    tool: str
    nodes: frozenset[int]
    sources: frozenset[int]


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    nodes = []
    for number in range(draw(st.integers(1, 8))):
        before = (
            st.frozensets(st.integers(0, number - 1), max_size=3)
            if number
            else st.just(frozenset())
        )
        nodes.append(
            Node(
                draw(st.sampled_from(["join", "first"])),
                draw(before),
                draw(st.frozensets(st.integers(0, SOURCES - 1), max_size=2)),
            )
        )
    return nodes


contents = st.lists(st.sampled_from([b"a", b"aa", b"b"]), min_size=SOURCES, max_size=SOURCES)
goal_sets = st.sets(st.integers(0, 7), min_size=1, max_size=3)


def declared(shop: Workshop, nodes: list[Node], data: list[bytes]) -> list[Action]:
    actions = []
    for number, node in enumerate(nodes):
        inputs: dict[str, Input] = {f"n{n}": out(f"//{n}") for n in node.nodes}
        inputs |= {f"s{s}": shop.source(f"s{s}-{data[s].hex()}", data[s]) for s in node.sources}
        actions.append(action(f"//{number}", inputs, tool=node.tool))
    return actions


def outputs(goals: Iterable[int], nodes: list[Node]) -> list[Output]:
    return [out(f"//{goal % len(nodes)}") for goal in goals]


def simulate(nodes: list[Node], data: list[bytes]) -> tuple[list[bytes], list[list[bytes]]]:
    """What each node makes, and what it is made from."""
    made: list[bytes] = []
    takes = []
    for number, node in enumerate(nodes):
        inputs = [made[n] for n in sorted(node.nodes)] + [data[s] for s in sorted(node.sources)]
        takes.append(inputs)
        if node.tool == "first":
            made.append(b"".join(i[:1] for i in inputs))
        else:
            made.append(f"out {canonical(f'//{number}')} ".encode() + b"".join(inputs))
    return made, takes


@given(dags(), contents, goal_sets, st.sampled_from([1, 8]))
@settings(max_examples=40, deadline=None)
def test_a_build_makes_what_a_simulation_makes(
    nodes: list[Node], data: list[bytes], goals: set[int], jobs: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        shop = Workshop(Path(directory))
        actions, wanted = declared(shop, nodes, data), outputs(goals, nodes)
        made, _ = simulate(nodes, data)
        results, _ = shop.build(actions, *wanted, jobs=jobs)
        for label, result in results.items():
            assert shop.file(result.outputs["out"]).read_bytes() == made[int(label[2:])]
        plan = shop.plan(actions, *wanted)
        assert {step.status for step in plan.steps} == {Status.CACHED}
        assert plan.fetches == ()
        again, events = shop.build(actions, *wanted)
        assert again == results
        assert {how for _, how in events.done} == {"cached"}


@given(dags(), contents, contents, goal_sets)
@settings(max_examples=40, deadline=None)
def test_exactly_what_a_change_reaches_runs_again(
    nodes: list[Node], old: list[bytes], new: list[bytes], goals: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        shop = Workshop(Path(directory))
        wanted = outputs(goals, nodes)
        shop.build(declared(shop, nodes, old), *wanted)
        plan = shop.plan(declared(shop, nodes, new), *wanted)
        results, events = shop.build(declared(shop, nodes, new), *wanted)
        before, after = simulate(nodes, old)[1], simulate(nodes, new)[1]
        changed = {f"//{n}" for n in range(len(nodes)) if before[n] != after[n]}
        assert events.labels("ran") == sorted(changed & results.keys())
        planned = {step.action.label: step.status for step in plan.steps}
        ran = set(events.labels("ran"))
        assert {label for label, status in planned.items() if status is Status.RUN} <= ran
        assert ran.isdisjoint(lb for lb, status in planned.items() if status is Status.CACHED)
        assert set(events.labels("fetched")) <= {
            f"mem:s{s}-{new[s].hex()}" for n in ran for s in nodes[int(n[2:])].sources
        }


@given(dags(), contents, goal_sets, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_whatever_is_lost_or_damaged_is_made_again(
    nodes: list[Node], data: list[bytes], goals: set[int], random: Random
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        shop = Workshop(Path(directory))
        actions, wanted = declared(shop, nodes, data), outputs(goals, nodes)
        results, _ = shop.build(actions, *wanted)
        for path in sorted((shop.root / "cas").rglob("*")) + sorted((shop.root / "ac").rglob("*")):
            if path.is_file():
                spoil(path, random.choice(["keep", "remove", "truncate", "flip"]))
        again, _ = shop.build(actions, *wanted)
        assert again == results
        assert shop.build(actions, *wanted)[1].labels("ran") == []
        with Store.open(shop.root) as store:
            assert all(store.has(results[goal.label].outputs["out"]) for goal in wanted)


def spoil(path: Path, how: str) -> None:
    path.chmod(0o644)
    if how == "remove":
        path.unlink()
    if how == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    if how == "flip" and (data := path.read_bytes()):
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
