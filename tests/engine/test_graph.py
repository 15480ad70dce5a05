"""Graphs: what does not fit together is refused, and producers come before consumers."""

from __future__ import annotations

import re

import pytest

from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.model import Action, Source
from tests.engine.fakes import action, blob, out


def chain(length: int) -> list[Action]:
    return [action(f"//{n}", {"in": out(f"//{n - 1}")} if n else {}) for n in range(length)]


def test_producers_come_first() -> None:
    graph = ActionGraph(reversed(chain(4)))
    assert list(graph.actions) == ["//0", "//1", "//2", "//3"]


def test_a_long_chain_is_no_trouble() -> None:
    assert len(ActionGraph(chain(5000)).closure([out("//4999")])) == 5000


def test_the_closure_holds_what_goals_need() -> None:
    actions = [*chain(4), action("//side", {"in": out("//1")}), action("//alone")]
    found = [a.label for a in ActionGraph(actions).closure([out("//side"), out("//0")])]
    assert found == ["//0", "//1", "//side"]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([action("//x"), action("//x")], "two actions are labelled `//x`"),
        (
            [action("//x", {"in": out("//y")})],
            "`//x` takes `out` of `//y`, which does not exist",
        ),
        (
            [action("//x", {"in": out("//y", "log")}), action("//y")],
            "`//x` takes `log` of `//y`, which makes no such output",
        ),
        (
            [
                Action("//x", "join", "{}", (("b", out("//y")), ("a", out("//y"))), ("out",), ""),
                action("//y"),
            ],
            "the inputs of `//x` are not sorted and distinct",
        ),
        (
            [Action("//x", "join", "{}", (), ("b", "a"), "")],
            "the outputs of `//x` are not sorted and distinct",
        ),
        (
            [action("//x", outputs=["../up"])],
            "output `../up` of `//x` is not a plain file name",
        ),
        (
            [action("//x", {"in": out("//y")}), action("//y", {"in": out("//x")})],
            "actions depend on each other: //x -> //y -> //x",
        ),
    ],
)
def test_what_is_no_graph_is_refused(actions: list[Action], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        ActionGraph(actions)
    assert str(caught.value) == message


def test_all_that_is_wrong_is_said() -> None:
    wrong = [action("//x", {"in": out("//y"), "more": out("//z")})]
    with pytest.raises(ValueError, match=r"`//y`.*; .*`//z`"):
        ActionGraph(wrong)


def test_a_goal_must_exist() -> None:
    with pytest.raises(ValueError, match="goal `log` of `//x`, which makes no such output"):
        ActionGraph([action("//x")]).closure([out("//x", "log")])


def test_sources_need_no_producer() -> None:
    graph = ActionGraph([action("//x", {"in": Source(blob(b"a"), "mem:a")})])
    assert len(graph.closure([out("//x")])) == 1
