"""The graph of a flow: what it holds, and what of the command line reaches its tasks."""

from __future__ import annotations

import json
from pathlib import Path

from mfbuild.build.analyze import Analysis, FlowInput, analyze
from mfbuild.build.environments import StepNeed
from mfbuild.config import Config, Target
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.model import Output
from mfbuild.python.model import Lock, LockedEnvironment, LockedWheel, Request
from tests.specs import AMD64, ARM64, base, flow, step

SIX = LockedWheel("six-1-py3-none-any.whl", "six", "1", 10, "6" * 64)
PLAIN = Request("3.11", "2.36", (), ())
WITH_SIX = Request("3.11", "2.36", (), ("six",))
LOCK = Lock(
    {
        r.digest(): LockedEnvironment(
            r, dict.fromkeys((AMD64, ARM64), (SIX,) if r.requirements else ())
        )
        for r in (PLAIN, WITH_SIX)
    }
)


def analysis(*options: str, compilers: dict[str, str] | None = None, **config: object) -> Analysis:
    """A flow whose step `a` asks for six, and `b` and `c` for nothing."""
    spec = flow(step("a"), step("b"), step("c"))
    requests = {"a": WITH_SIX, "b": PLAIN, "c": PLAIN}
    needs = {name: StepNeed(base(), request) for name, request in requests.items()}
    settings = Config(root=Path("/w"), store=Path("/s"), jobs=1, environ={}, **config)  # type: ignore[arg-type]
    given = FlowInput("//train.py", spec, needs, (), (), options, compilers or {})
    return analyze([given], LOCK, settings)


def params(found: Analysis, label: str) -> dict[str, object]:
    (action,) = [a for a in found.actions if a.label == label]
    value: dict[str, object] = json.loads(action.params)
    return value


def test_steps_with_one_environment_share_the_image_of_the_first() -> None:
    (target,) = analysis().flows
    assert {name: s.label for name, s in target.steps.items()} == {
        "a": "//train.py:a.image",
        "b": "//train.py:b.image",
        "c": "//train.py:b.image",
    }
    assert target.steps["b"].environment == PLAIN.digest()


def test_the_actions_make_a_graph_whose_goals_are_all_a_bundle_needs() -> None:
    found = analysis()
    graph = ActionGraph(found.actions)
    assert {a.label for a in graph.closure(found.goals())} == {a.label for a in found.actions}
    labels = {a.label for a in found.actions}
    assert {"//train.py.code", "//train.py.flyte", "//images/python3.11[linux/arm64]"} <= labels


def test_what_wheels_bring_several_times_is_settled_for_each_environment_above_them() -> None:
    found = analysis()
    made = {a.label: a for a in found.actions if a.tool == "wheel.overlap"}
    steps = found.flows[0].steps
    for name in ("a", "b"):
        assert {o.label for o in steps[name].overlaps.values()} <= made.keys()
        assert set(steps[name].overlaps.values()) <= set(found.goals())
        for stack in steps[name].image.layers.values():
            (at,) = [n for n, each in enumerate(stack) if each.blob.label in made]
            wheels = {each.blob.label for each in stack if each.paths is None}
            inputs = {
                g.label for _, g in made[stack[at].blob.label].inputs if isinstance(g, Output)
            }
            assert wheels == inputs
            assert all(stack[n].blob.label not in wheels for n in range(at, len(stack)))


def test_bytecode_is_made_only_where_a_compiler_is() -> None:
    labels = [a.label for a in analysis(compilers={"3.12": "3.12.1"}).actions]
    assert [label for label in labels if "pyc" in label] == []
    found = analysis(compilers={"3.11": "3.11.7"})
    made = [a for a in found.actions if a.tool == "python.pyc"]
    assert {json.loads(a.params)["compiler"] for a in made} == {"3.11.7"}


def test_tasks_get_the_options_that_mean_something_to_them() -> None:
    words = ("--with", "retry", "--config", "cfg", "/here/cfg.json", "--config-value=x", "1")
    found = analysis(*words, "--package-suffixes=.csv", "--branch", "b")
    assert params(found, "//train.py.flyte")["options"] == ["--with", "retry", "--branch", "b"]


def test_the_policy_s_resources_and_parallelism_reach_the_compiler() -> None:
    targets = {
        "//train.py": Target("//train.py", parallelism=3),
        "//train.py:b": Target("//train.py:b", resources={"gpu": 1}),
    }
    found = params(analysis(targets=targets), "//train.py.flyte")
    assert (found["parallelism"], found["resources"]) == (3, {"b": {"gpu": 1}})


def test_nothing_of_the_machine_is_in_a_parameter() -> None:
    found = analysis()
    assert [a.label for a in found.actions if "/w" in a.params or '/s"' in a.params] == []
