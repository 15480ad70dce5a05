"""Any graph of tasks, by hypothesis: run once, in order, within bounds, and resumed."""

from __future__ import annotations

from flyteidl.core.workflow_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from mfbuild.local.workflow.model import Attempt, AttemptFailure, Ending, Recalled, Success
from tests.local.workflows import closure, node, ok, play, task


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 12))
    nodes = []
    for i in range(count):
        ups = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        nodes.append(node(f"n{i}", *(f"n{u}" for u in sorted(ups)), retries=1))
    return draw(st.permutations(nodes))


@given(dags(), st.integers(1, 5), st.data())
def test_any_graph_runs_each_node_once_and_after_its_needs(
    nodes: list[Node], workers: int, data: st.DataObject
) -> None:
    flaky = data.draw(st.sets(st.sampled_from([n.id for n in nodes])))
    ended: list[str] = []
    needs = {n.id: set(n.upstream_node_ids) for n in nodes}

    def ends(attempt: Attempt) -> Ending:
        assert needs[attempt.node] <= set(ended)
        if attempt.node in flaky and attempt.number == 0:
            return AttemptFailure("user", "once")
        ended.append(attempt.node)
        return Success()

    story = play(closure(nodes, [task(n.id) for n in nodes]), ends, workers=workers)
    assert sorted(ended) == sorted(needs)
    assert len(story.attempts) == len(nodes) + len(flaky)
    assert story.most <= workers
    assert ok(story)


@given(dags(), st.data())
def test_any_graph_resumes_after_any_failure(nodes: list[Node], data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from([n.id for n in nodes]))
    given_closure = closure(nodes, [task(n.id) for n in nodes])
    done: dict[str, Recalled] = {}

    def first(attempt: Attempt) -> Ending:
        if attempt.node == bad:
            done[bad] = Recalled(attempt.number + 1)
            return AttemptFailure("user", "bad")
        done[attempt.node] = Recalled(1, Success())
        return Success()

    assert not ok(play(given_closure, first))
    story = play(given_closure, recall=lambda name: done.get(name, Recalled()))
    assert ok(story)
    repeated = [name for name in story.nodes if (r := done.get(name)) and r.success]
    assert repeated == []
    assert dict(story.attempts)[bad] == 2
