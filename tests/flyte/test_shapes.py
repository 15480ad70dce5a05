"""Every shape of graph, drawn at random: Flyte runs what Metaflow would, in an order it allows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.refuse import refuse
from mfbuild.flyte.resolve import Resolved, Site, resolve
from mfbuild.flyte.templates import Compiled
from tests.flyte.shapes import (
    Draw,
    Sketch,
    foreach,
    named,
    plain,
    sequence,
    shapes,
    split,
    switch,
    whole,
)
from tests.flyte.simulate import Flyte, by_metaflow
from tests.flyte.structure import faults

VERSION = "f" * 40


def resolved(spec: FlowSpec) -> Resolved:
    images = {step.name: f"registry.example.com/{step.name}@sha256:0" for step in spec.steps}
    compiled = compile_flow(spec)
    assert Compiled.decode(compiled.encode()) == compiled
    return resolve(compiled, Site("recsys", "staging", images, {}), version=VERSION)


def check(spec: FlowSpec) -> Resolved:
    """Flyte's rules are kept, and the same tasks run as with Metaflow, each after its parents."""
    entities = resolved(spec)
    assert faults(spec, entities) == []
    wanted = by_metaflow(spec)
    before = Flyte(spec, entities).run()
    assert before.keys() == wanted.keys()
    assert [task for task in wanted if not wanted[task] <= before[task]] == []
    return entities


@given(shapes)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_any_flow_runs_as_with_metaflow(shape: Draw) -> None:
    spec = whole(shape)
    assert refuse(spec).problems == ()
    check(spec)


STATIC = {
    "linear": sequence(plain, plain),
    "split": split(plain, plain, plain),
    "nested split": split(split(plain, plain), sequence(plain, plain)),
    "flat foreach": foreach(plain),
    "foreach in a branch": split(foreach(plain), plain),
    "switch": sequence(switch(plain, plain), plain),
    "switch with long arms": sequence(switch(sequence(plain, plain), split(plain, plain)), plain),
    "nested switch": switch(sequence(switch(plain, plain), plain), plain),
    "switch in a branch": split(switch(plain, plain), plain),
    "flat foreach in a switch": switch(foreach(plain), plain),
}
DYNAMIC = {
    "long foreach": foreach(sequence(plain, plain)),
    "branching foreach": foreach(split(plain, plain)),
    "nested foreach": foreach(foreach(foreach(plain))),
    "nested foreach with more around": foreach(sequence(plain, foreach(plain), plain)),
    "switch in a foreach": foreach(switch(plain, plain)),
    "switch with an arm that leads on": sequence(switch(plain, None), plain),
    "arms that share steps": sequence(switch(plain, plain, plain, falling=[0]), plain),
    "recursion": switch(plain, recursive=True),
    "recursion in a foreach": foreach(sequence(switch(plain, recursive=True), plain)),
    "recursion alone in a foreach": foreach(sequence(switch(None, recursive=True), plain)),
    "recursion with several ways out": sequence(switch(plain, plain, recursive=True), plain),
    "foreach in a recursion's arm": sequence(
        switch(foreach(foreach(plain)), recursive=True), plain
    ),
}


@pytest.mark.parametrize("name", STATIC)
def test_what_flyte_can_show_is_static(name: str) -> None:
    assert check(whole(STATIC[name])).expansion_plan is None


@pytest.mark.parametrize("name", DYNAMIC)
def test_what_flyte_cannot_show_is_expanded_by_containers(name: str) -> None:
    entities = check(whole(DYNAMIC[name]))
    assert entities.expansion_plan is not None


def test_a_flow_of_one_step() -> None:
    sketch = Sketch()
    sketch.add()
    entities = check(sketch.flow())
    assert [node.id for node in entities.workflow.nodes] == ["s0"]


def test_a_switch_that_has_no_choice_is_a_plain_step() -> None:
    entities = check(whole(sequence(switch(None, None), plain)))
    assert [entities.expansion_plan, len(entities.workflow.nodes)] == [None, 4]


def test_nodes_of_ours_are_not_called_like_steps() -> None:
    """The branch node of `s1`, its arms and their sub-workflows would be, but for the `-`."""
    sketch = Sketch()
    sequence(plain, switch(sequence(plain, plain), plain), plain)(sketch)
    names = {"s0": "s1_chose_a_to_z", "s2": "s1_chose_a", "s4": "s1_chose", "s5": "z"}
    entities = check(named(sketch.flow(), names))
    branch = entities.workflow.nodes[2]
    arm = branch.branch_node.if_else.case.then_node
    assert [branch.id, arm.id] == ["s1-chose-", "s1-chose-a-to-z-"]


@pytest.mark.parametrize("length", [98, 99, 198, 450])
def test_long_flows_are_cut_into_sub_workflows(length: int) -> None:
    entities = check(whole(sequence(*[plain] * length)))
    nodes = len(entities.workflow.nodes)
    assert nodes <= 100
    assert bool(entities.sub_workflows) == (length + 2 > 100)


@pytest.mark.parametrize("width", [96, 97, 99, 100, 250])
def test_wide_splits_are_cut(width: int) -> None:
    entities = check(whole(split(*[plain] * width)))
    assert bool(entities.sub_workflows) == (width + 4 > 100)


def test_branches_in_sub_workflows_do_not_wait_for_each_other() -> None:
    entities = check(whole(split(*[sequence(plain, plain)] * 120)))
    packs = [node for part in entities.sub_workflows for node in part.nodes if node.id != "s0"]
    outer = [n for n in entities.workflow.nodes if "-and-" in n.id]
    assert len(outer) == 3 and len(packs) == 240
    assert {tuple(node.upstream_node_ids) for node in outer} == {("s1",)}


def test_ten_thousand_steps_nest_sub_workflows() -> None:
    spec = whole(sequence(*[plain] * 10_100))
    entities = resolved(spec)
    assert [len(entities.workflow.nodes), len(entities.sub_workflows)] == [2, 104]
    assert faults(spec, entities) == []


def test_long_bodies_and_arms_are_cut_too() -> None:
    long = sequence(*[plain] * 120, foreach(plain), *[plain] * 120)
    check(whole(foreach(long)))
    check(whole(switch(long, plain)))
    check(whole(split(long, *[plain] * 110)))
