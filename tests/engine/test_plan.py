"""Plans: what must run and why, decided from values alone."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mfbuild.engine import graph, key, plan
from mfbuild.engine.graph import ActionGraph
from mfbuild.engine.key import Record
from mfbuild.engine.model import Action, ActionResult, Blob, Digest, Output, Source
from mfbuild.engine.plan import BuildProgress, Plan, Status, make_plan
from tests.engine.fakes import action, blob, out

WHEEL = Source(blob(b"wheel"), "wheel:a.whl")
FLOW = Source(blob(b"flow"), "file:/flow.py")
LAYER = action("//layer", {"wheel": WHEEL}, outputs=("info", "layer"))
CODE = action("//code", {"flow": FLOW})
IMAGE = action("//image", {"code": out("//code"), "info": out("//layer", "info")})
ALL = (LAYER, CODE, IMAGE)
GOALS = (out("//image"), out("//layer", "layer"))


@dataclass
class World:
    """A cache, a store and a history, in memory."""

    results: dict[Digest, ActionResult] = field(default_factory=dict)
    blobs: set[Blob] = field(default_factory=set)
    history: dict[str, Record] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=lambda: {"join": 1})

    def plan(self, actions: tuple[Action, ...] = ALL, **kwargs: Any) -> Plan:
        return make_plan(
            ActionGraph(actions),
            GOALS,
            self.versions,
            self.results.get,
            self.blobs.__contains__,
            self.history.get,
            **kwargs,
        )

    def built(self, action: Action, inputs: Mapping[str, Blob]) -> dict[str, Blob]:
        """Pretend that `action` ran."""
        digests = {name: given.digest for name, given in inputs.items()}
        record = Record.of(action, digests, self.versions[action.tool])
        outputs = {name: blob(f"{record.key()}{name}".encode()) for name in action.outputs}
        self.results[record.key()] = ActionResult(outputs)
        self.blobs.update(outputs.values())
        self.history[action.label] = record
        return outputs

    def build(self) -> World:
        """Pretend that everything ran."""
        layer = self.built(LAYER, {"wheel": WHEEL.blob})
        code = self.built(CODE, {"flow": FLOW.blob})
        self.built(IMAGE, {"code": code["out"], "info": layer["info"]})
        return self


def said(found: Plan) -> dict[str, tuple[str, list[str]]]:
    return {s.action.label: (s.status.value, [str(r) for r in s.reasons]) for s in found.steps}


def test_the_plan_does_nothing_but_think() -> None:
    allowed = {"__future__", "collections", "dataclasses", "enum", "graphlib", "json", "re"}
    for module in (plan, key, graph):
        assert module.__file__
        tree = ast.parse(Path(module.__file__).read_text())
        names = {
            n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
        }
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        ours = {"mfbuild.engine.graph", "mfbuild.engine.key", "mfbuild.engine.model"}
        assert {n.split(".")[0] for n in names - ours} <= allowed | {"typing"}
        calls = {
            n.func.id
            for n in ast.walk(tree)
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert calls.isdisjoint({"open", "print", "input", "exec", "eval", "__import__"})


def test_nothing_was_built() -> None:
    found = World().plan()
    assert said(found) == {
        "//layer": ("run", ["never built"]),
        "//code": ("run", ["never built"]),
        "//image": ("run", ["never built", "after `//code`", "after `//layer`"]),
    }
    assert found.fetches == (WHEEL,)


def test_nothing_changed() -> None:
    found = World().build().plan()
    assert {s.status for s in found.steps} == {Status.CACHED}
    assert all(s.result and not s.reasons for s in found.steps)
    # The wheel is not in the store, and nobody misses it.
    assert found.fetches == ()


def test_only_what_goals_need_is_planned() -> None:
    found = World().plan((*ALL, action("//unrelated")))
    assert "//unrelated" not in said(found)


def test_an_input_changed() -> None:
    changed = replace(CODE, inputs=(("flow", replace(FLOW, blob=blob(b"new"))),))
    found = World().build().plan((LAYER, changed, IMAGE))
    old, new = Digest.of(b"flow"), Digest.of(b"new")
    assert said(found) == {
        "//layer": ("cached", []),
        "//code": ("run", [f"input `flow` changed: {old} -> {new}"]),
        "//image": ("run if its inputs change", ["after `//code`"]),
    }
    assert found.fetches == ()


def test_parameters_and_an_input_changed() -> None:
    image = replace(IMAGE, params='"other"')
    code = replace(CODE, params='"other"')
    found = said(World().build().plan((LAYER, code, image)))
    assert found["//image"] == (
        "run",
        ['parameters changed: "//image" -> "other"', "after `//code`"],
    )


def test_the_tool_changed() -> None:
    world = World().build()
    world.versions["join"] = 3
    assert said(world.plan())["//layer"] == ("run", ["tool `join` is version 3 (was 1)"])


def test_a_missing_goal_is_made_again() -> None:
    world = World().build()
    layer = world.plan().step("//layer").result
    assert layer
    world.blobs.remove(layer.outputs["layer"])
    found = world.plan()
    assert said(found) == {
        "//layer": ("run", ["output `layer` is missing from the store"]),
        "//code": ("cached", []),
        "//image": ("cached", []),
    }
    assert found.fetches == (WHEEL,)


def test_a_missing_blob_that_nothing_needs_is_not_missed() -> None:
    world = World().build()
    code = world.plan().step("//code").result
    assert code
    world.blobs.remove(code.outputs["out"])
    assert {s.status for s in world.plan().steps} == {Status.CACHED}


def test_bytes_are_brought_back_for_what_runs() -> None:
    world = World().build()
    for label, name in (("//code", "out"), ("//image", "out")):
        result = world.plan().step(label).result
        assert result
        world.blobs.remove(result.outputs[name])
    assert said(world.plan()) == {
        "//layer": ("cached", []),
        "//code": ("run", ["output `out` is missing from the store"]),
        "//image": ("run", ["output `out` is missing from the store"]),
    }


def test_downloads_that_are_there_are_not_made() -> None:
    world = World(blobs={WHEEL.blob})
    assert world.plan().fetches == ()


def test_a_forgotten_result() -> None:
    world = World().build()
    world.results.clear()
    assert said(world.plan())["//layer"] == ("run", ["its result is no longer in the cache"])


def test_no_cache_runs_everything_and_keeps_downloads() -> None:
    world = World().build()
    world.blobs.add(WHEEL.blob)
    found = world.plan(fresh=True)
    asked = ("run", ["asked for with --no-cache"])
    assert said(found) == {"//layer": asked, "//code": asked, "//image": asked}
    assert found.fetches == ()


def test_a_step_that_is_not_planned() -> None:
    with pytest.raises(KeyError):
        World().plan().step("//nothing")


@pytest.mark.parametrize("kind", ["source", "output"])
def test_an_output_with_the_content_of_its_input_does_not_wait_for_itself(kind: str) -> None:
    same = blob(b"same")
    base = action("//base", {"in": Source(same, "mem:same")})
    copy = action("//copy", {"in": out("//base") if kind == "output" else base.inputs[0][1]})
    user = action("//user", {"in": out("//copy")})
    known = {
        Record.of(a, {"in": same.digest}, 1).key(): ActionResult({"out": same})
        for a in (base, copy)
    }
    schedule = BuildProgress(
        ActionGraph([base, copy, user]),
        [out("//user")],
        {"join": 1},
        known.get,
        lambda _: False,
        fresh=False,
    )
    again = {"//base", "//copy", "//user"} if kind == "output" else {"//copy", "//user"}
    assert schedule.must_run.keys() == again
    assert [source.blob for source in schedule.take_fetches()] == [same]
    schedule.arrived(same)
    assert sorted(schedule.take_ready()) == sorted(schedule.must_run)


def test_the_blobs_of_one_source_are_fetched_once() -> None:
    twice = [action(f"//{n}", {"a": WHEEL, "b": WHEEL}) for n in range(2)]
    goals = [Output("//0", "out"), Output("//1", "out")]
    found = make_plan(
        ActionGraph(twice), goals, {"join": 1}, lambda _: None, lambda _: False, lambda _: None
    )
    assert found.fetches == (WHEEL,)
