from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core.workflow_pb2 import Node, WorkflowMetadata

from mfbuild.local.workflow.model import Attempt, AttemptFailure, Ending, Recalled, Success
from tests.local.workflows import (
    Story,
    array,
    closure,
    constant,
    failing,
    futures,
    node,
    number,
    numbers,
    ok,
    play,
    promise,
    sub_workflow,
    switch,
    task,
    text,
    workflow,
)


def message(story: Story) -> str:
    verdict = story.machine.verdict()
    assert verdict is not None
    return verdict.failure.message


def test_nodes_run_after_those_that_they_name() -> None:
    nodes = [node("end", "a", "b"), node("a", "start"), node("b", "start"), node("start")]
    story = play(closure(nodes, [task(n.id) for n in nodes]))
    assert story.nodes == ["start", "a", "b", "end"]
    assert ok(story)


def test_an_output_reaches_the_node_that_it_is_promised_to() -> None:
    def ends(attempt: Attempt) -> Ending:
        if attempt.node == "end":
            assert attempt.values["n"].scalar.primitive.integer == 7
            assert attempt.values["who"].scalar.primitive.string_value == "ada"
        return Success({"n": number(7)} if attempt.node == "start" else {})

    inputs = {"n": promise("start", "n"), "who": promise("start-node", "who")}
    nodes = [node("start"), node("end", inputs=inputs)]
    tasks = [task("start", outputs=["n"]), task("end")]
    story = play(
        closure(nodes, tasks, outputs={"n": promise("start", "n")}),
        ends,
        inputs={"who": text("ada")},
    )
    assert story.machine.outputs == {"n": number(7)}


def test_user_retries_come_from_the_node_before_the_task() -> None:
    given = closure(
        [node("a", retries=1), node("b", "a")], [task("a", retries=5), task("b", retries=2)]
    )
    assert play(given, failing({"b": 2})).attempts == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]
    assert play(given, failing({"a": 9})).attempts == [("a", 0), ("a", 1)]


def test_system_failures_have_a_budget_of_their_own() -> None:
    given = closure([node("a")], [task("a")])
    assert len(play(given, failing({"a": 3}, "system")).attempts) == 4
    assert ok(play(given, failing({"a": 3}, "system")))
    assert not ok(play(given, failing({"a": 4}, "system")))


def test_both_budgets_add_up_and_the_number_counts_all_attempts() -> None:
    def ends(attempt: Attempt) -> Ending:
        kinds = ["system", "user", "system", "user"]
        return AttemptFailure(kinds[attempt.number], "x") if attempt.number < 4 else Success()  # type: ignore[arg-type]

    story = play(closure([node("a")], [task("a", retries=2)]), ends)
    assert story.attempts == [("a", n) for n in range(5)]
    assert ok(story)


def test_a_final_failure_is_not_tried_again() -> None:
    story = play(closure([node("a")], [task("a", retries=3)]), failing({"a": 9}, "final"))
    assert story.attempts == [("a", 0)]
    verdict = story.machine.verdict()
    assert verdict is not None
    assert verdict.attempt is not None
    assert (verdict.attempt.node, verdict.attempt.number) == ("a", 0)


def test_after_a_failure_nothing_new_starts() -> None:
    nodes = [node("start"), node("bad", "start"), node("good", "start"), node("after", "good")]
    story = play(closure(nodes, [task(n.id) for n in nodes]), failing({"bad": 9}))
    assert story.nodes == ["start", "bad", "good"]


def test_another_policy_lets_the_others_finish() -> None:
    nodes = [node("bad"), node("good"), node("after", "good"), node("never", "bad")]
    given = closure(nodes, [task(n.id) for n in nodes])
    given.workflow.metadata.on_failure = WorkflowMetadata.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    story = play(given, failing({"bad": 9}))
    assert story.nodes == ["bad", "good", "after"]
    assert not ok(story)


def test_an_array_runs_an_attempt_for_each_element() -> None:
    seen: dict[str, tuple[int | None, int, str, int]] = {}

    def ends(attempt: Attempt) -> Ending:
        if attempt.node == "start":
            return Success({"splits": numbers([5, 6, 7])})
        values = {n: v.scalar.primitive for n, v in attempt.values.items()}
        whole = len(attempt.inputs["split"].collection.literals)
        seen[attempt.node] = (
            attempt.index,
            values["split"].integer,
            values["c"].string_value,
            whole,
        )
        return Success({"x": number(values["split"].integer * 2)})

    nodes = [
        node("start"),
        array(
            "body", inputs={"split": promise("start", "splits"), "c": constant("code")}, bound=["c"]
        ),
    ]
    tasks = [task("start", outputs=["splits"]), task("body", outputs=["x"])]
    story = play(closure(nodes, tasks, outputs={"all": promise("body", "x")}), ends)
    assert seen == {f"body.{i}": (i, 5 + i, "code", 3) for i in range(3)}
    assert story.machine.outputs == {"all": numbers([10, 12, 14])}


def splits(**more: Any) -> list[Node]:
    """A foreach over the input `splits`, and the node that joins it."""
    return [
        array("body", inputs={"split": promise("start-node", "splits")}, **more),
        node("join", "body"),
    ]


def test_an_array_keeps_to_its_parallelism_and_the_workers() -> None:
    given = closure(splits(parallelism=3), [task("body"), task("join")])
    inputs = {"splits": numbers(range(9))}
    assert play(given, inputs=inputs, workers=8).most == 3
    assert play(given, inputs=inputs, workers=2).most == 2
    free = closure(splits(), [task("body"), task("join")])
    assert play(free, inputs=inputs, workers=8).most == 8


def test_only_the_failed_element_of_an_array_runs_again() -> None:
    given = closure(splits(retries=1), [task("body"), task("join")])
    story = play(given, failing({"body.1": 1}), inputs={"splits": numbers(range(3))})
    assert sorted(story.attempts) == [
        ("body.0", 0),
        ("body.1", 0),
        ("body.1", 1),
        ("body.2", 0),
        ("join", 0),
    ]


@pytest.mark.parametrize(("needed", "good"), [(None, False), (2, True), (3, False)])
def test_an_array_needs_all_elements_or_so_many(needed: int | None, good: bool) -> None:
    more = {} if needed is None else {"min_successes": needed}
    given = closure(splits(**more), [task("body"), task("join")])
    story = play(given, failing({"body.1": 1}), inputs={"splits": numbers(range(3))})
    assert ok(story) is good


def test_a_branch_runs_one_arm_and_skips_the_others() -> None:
    nodes = [
        node("start"),
        switch("choose", promise("start", "choice"), {"x": node("x"), "y": node("y")}, "start"),
        node("after_x", "x"),
        node("end", "choose"),
    ]
    tasks = [task(name) for name in ("start", "x", "y", "after_x", "end")]

    def ends(attempt: Attempt) -> Ending:
        return Success({"choice": text("y")} if attempt.node == "start" else {})

    story = play(closure(nodes, tasks), ends)
    assert story.nodes == ["start", "y", "end"]
    assert sorted(story.machine.skipped) == ["after_x", "x"]
    assert ok(story)


def test_a_branch_waits_for_what_its_arms_need() -> None:
    arm = node("x", inputs={"n": promise("slow", "n")})
    nodes = [switch("choose", constant("x"), {"x": arm, "y": node("y")}), node("slow")]

    def ends(attempt: Attempt) -> Ending:
        return Success({"n": number(1)} if attempt.node == "slow" else {})

    story = play(closure(nodes, [task(n) for n in ("slow", "x", "y")]), ends)
    assert story.nodes == ["slow", "x"]


def test_a_branch_without_a_case_that_holds_fails_with_its_message() -> None:
    nodes = [switch("choose", constant("z"), {"x": node("x"), "y": node("y")})]
    assert message(play(closure(nodes, [task("x"), task("y")]))) == "no arm"


def test_the_outputs_of_the_taken_arm_are_the_branch_s() -> None:
    nodes = [
        switch("choose", constant("y"), {"x": node("x"), "y": node("y")}),
        node("end", inputs={"n": promise("choose", "n")}),
    ]
    tasks = [task("x", outputs=["n"]), task("y", outputs=["n"]), task("end")]
    story = play(closure(nodes, tasks), lambda attempt: Success({"n": number(3)}))
    assert story.nodes == ["y", "end"]


def test_a_sub_workflow_has_its_own_names_and_inputs() -> None:
    inner = workflow(
        "inner",
        [node("start", inputs={"n": promise("start-node", "n")})],
        {"n": promise("start", "n")},
    )
    nodes = [
        node("start"),
        sub_workflow("inner", "start", inputs={"n": promise("start", "n")}),
        node("end", inputs={"n": promise("inner", "n")}),
    ]
    tasks = [task("start", outputs=["n"]), task("end")]
    story = play(closure(nodes, tasks, inner), lambda attempt: Success({"n": number(1)}))
    assert story.nodes == ["start", "inner.start", "end"]


def test_an_arm_may_be_a_sub_workflow() -> None:
    inner = workflow("long", [node("one"), node("two", "one")])
    nodes = [
        switch("choose", constant("long"), {"short": node("short"), "long": sub_workflow("long")}),
        node("end", "choose"),
    ]
    tasks = [task(n) for n in ("one", "two", "short", "end")]
    assert play(closure(nodes, tasks, inner)).nodes == ["long.one", "long.two", "end"]


def test_futures_run_in_the_place_of_their_task() -> None:
    def ends(attempt: Attempt) -> Ending:
        if attempt.node == "start":
            nodes = [node(f"body-{i}", task="body", inputs={"i": constant(i)}) for i in range(3)]
            return futures(nodes, [task("body")], {"count": constant(3)})
        if attempt.node == "join":
            assert attempt.values["count"].scalar.primitive.integer == 3
        return Success()

    nodes = [node("start"), node("join", inputs={"count": promise("start", "count")})]
    story = play(closure(nodes, [task("start", outputs=["count"]), task("join")]), ends)
    bodies = [f"start.body-{i}" for i in range(3)]
    assert story.nodes == ["start", *bodies, "join"]
    assert ok(story)


def test_recursion_through_futures_may_go_deep() -> None:
    deep = 3000

    def ends(attempt: Attempt) -> Ending:
        done = attempt.values["i"].scalar.primitive.integer if "i" in attempt.values else 0
        if done == deep or attempt.node == "end":
            return Success()
        return futures([node("loop", inputs={"i": constant(done + 1)})], [task("loop")])

    story = play(closure([node("loop"), node("end", "loop")], [task("loop"), task("end")]), ends)
    assert len(story.attempts) == deep + 2
    assert len(set(story.nodes)) == deep + 2
    assert max(map(len, story.nodes)) <= 100
    assert ok(story)


def test_a_failure_below_a_dynamic_node_does_not_run_its_parent_again() -> None:
    def ends(attempt: Attempt) -> Ending:
        if attempt.node == "start":
            return futures([node("body")], [task("body", retries=1)])
        return AttemptFailure("user", "as told")

    story = play(closure([node("start", retries=3)], [task("start")]), ends)
    assert story.attempts == [("start", 0), ("start.body", 0), ("start.body", 1)]
    assert not ok(story)


def test_what_is_recalled_does_not_run_again_and_attempts_go_on() -> None:
    known = {
        "start": Recalled(2, Success({"n": number(1)})),
        "middle": Recalled(3),
        "other": Recalled(1, futures([node("inner")], [task("inner")])),
    }
    nodes = [
        node("start"),
        node("middle", inputs={"n": promise("start", "n")}),
        node("other"),
        node("end", "middle", "other"),
    ]
    given = closure(nodes, [task(n.id) for n in nodes])
    story = play(given, recall=lambda name: known.get(name, Recalled()))
    assert sorted(story.attempts) == [("end", 0), ("middle", 3), ("other.inner", 0)]


def test_a_single_task_runs_again_where_what_it_needs_is_known() -> None:
    known = {
        "start": Recalled(1, Success({"splits": numbers(range(2))})),
        "body.0": Recalled(1, Success()),
        "body.1": Recalled(2),
        "join": Recalled(1, Success()),
    }
    nodes = [
        node("start"),
        array("body", inputs={"split": promise("start", "splits")}),
        node("join", "body"),
    ]
    given = closure(nodes, [task("start", outputs=["splits"]), task("body"), task("join")])
    story = play(given, recall=lambda name: known.get(name, Recalled()), only="body")
    assert story.attempts == [("body.0", 1), ("body.1", 2)]
    assert ok(story)


def test_a_single_task_without_what_it_needs_is_a_failure() -> None:
    given = closure([node("start"), node("end", "start")], [task("start"), task("end")])
    story = play(given, only="end")
    assert story.attempts == []
    assert message(story).startswith("nothing of the run leads to it")


def test_missing_templates_and_outputs_are_named() -> None:
    assert "`a` runs the task `a`, which is missing" in message(play(closure([node("a")], [])))
    nodes = [node("a"), node("b", inputs={"n": promise("a", "n")})]
    given = closure(nodes, [task("a"), task("b")])
    assert message(play(given)) == "node `a` has no output `n`"
    assert "the sub-workflow `s`" in message(play(closure([sub_workflow("s")], [])))
    assert "wait for `ghost`" in message(play(closure([node("a", "ghost")], [task("a")])))
    twice = closure([node("a"), node("a")], [task("a")])
    assert "two nodes have the id `a`" in message(play(twice))


def test_a_circle_of_nodes_is_a_failure_not_a_success() -> None:
    story = play(closure([node("a", "b"), node("b", "a")], [task("a"), task("b")]))
    assert message(story) == "its nodes wait for each other"


def test_lists_of_different_length_are_refused() -> None:
    nodes = [
        array("body", inputs={"a": promise("start-node", "a"), "b": promise("start-node", "b")})
    ]
    story = play(closure(nodes, [task("body")]), inputs={"a": numbers([1]), "b": numbers([1, 2])})
    assert message(story) == "the lists of ArrayNode `body` have `[1, 2]` elements"
