"""What differs between what was sent and what is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.interface_pb2 import Parameter, TypedInterface
from flyteidl.core.workflow_pb2 import BranchNode, IfBlock, IfElseBlock, Node, WorkflowTemplate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfbuild.flyte.backend import Spec
from mfbuild.flyte.compare import differences
from tests.cluster.handmade import TEXT, output, runs, text, workflow
from tests.flyte.messages import messages
from tests.flyteadmin.entities import CODE, launch_plan, simple_task, simple_workflow

Change = Callable[[Any], None]


def task_spec() -> TaskSpec:
    spec = TaskSpec(template=simple_task())
    spec.template.container.env.add(key="A", value="1")
    spec.template.container.env.add(key="B", value="2")
    return spec


def workflow_spec(*parts: WorkflowTemplate) -> WorkflowSpec:
    return WorkflowSpec(template=simple_workflow("flow", "start", "fit"), sub_workflows=parts)


def branching() -> WorkflowSpec:
    inner = Node(id="b", branch_node=BranchNode(if_else=IfElseBlock(case=IfBlock())))
    inner.branch_node.if_else.case.then_node.CopyFrom(runs("x"))
    outer = Node(id="a", branch_node=BranchNode(if_else=IfElseBlock(case=IfBlock())))
    outer.branch_node.if_else.case.then_node.CopyFrom(inner)
    return WorkflowSpec(template=workflow("flow", [outer]))


def arm(node: Node) -> Node:
    then: Node = node.branch_node.if_else.case.then_node
    return then


def copied(spec: Any, change: Change) -> Any:
    made = type(spec)()
    made.CopyFrom(spec)
    change(made)
    return made


def swap_env(spec: Any) -> None:
    env = spec.template.container.env
    env[0].CopyFrom(env[1])
    env[1].key, env[1].value = "A", "1"


def add_node(spec: Any) -> None:
    spec.template.nodes.append(runs("more"))


def set_version(spec: Any) -> None:
    spec.template.nodes[1].task_node.reference_id.version = "b2"


def set_long(spec: Any) -> None:
    spec.template.container.image = "registry.example.com/image@sha256:" + "0" * 30 + "1" * 34


def set_pod(spec: Any) -> None:
    spec.template.ClearField("container")
    spec.template.k8s_pod.pod_spec.update({"containers": [{"image": "a"}]})


DIFFERENT: dict[str, tuple[Spec, Change, list[str]]] = {
    "version": (
        workflow_spec(),
        set_version,
        ['template.nodes[fit].task_node.reference_id.version: "1" here, "b2" there'],
    ),
    "node": (workflow_spec(), add_node, ["template.nodes[more]: nothing here, "]),
    "order": (
        task_spec(),
        swap_env,
        ["template.container.env: A, B here, B, A there"],
    ),
    "value": (
        task_spec(),
        lambda spec: setattr(spec.template.container.env[1], "value", "3"),
        ['template.container.env[B].value: "2" here, "3" there'],
    ),
    "argument": (
        task_spec(),
        lambda spec: spec.template.container.args.append("\x1b[31m\n"),
        ['template.container.args[1]: nothing here, "\\u001b[31m\\n" there'],
    ),
    "enum": (
        task_spec(),
        lambda spec: setattr(spec.template.interface.inputs.variables["code"].type, "simple", 1),
        ["template.interface.inputs[code].type.simple: STRING here, INTEGER there"],
    ),
    "long": (
        task_spec(),
        set_long,
        [f'template.container.image: …{"0" * 49}" here, …{"0" * 15}{"1" * 34}" there'],
    ),
    "one of": (
        task_spec(),
        set_pod,
        [
            "template.container: {image: ",
            'template.k8s_pod: nothing here, {pod_spec { fields { key: "containers"',
        ],
    ),
    "launch plan": (
        launch_plan(fixed={"code": text("a")}),
        lambda spec: spec.fixed_inputs.literals["code"].CopyFrom(text("b")),
        ['fixed_inputs[code].scalar.primitive.string_value: "a" here, "b" there'],
    ),
    "default": (
        launch_plan(),
        lambda spec: spec.default_inputs.parameters["x"].CopyFrom(Parameter(default=text("b"))),
        ["default_inputs[x]: nothing here, {default "],
    ),
    "start node with a task": (
        workflow_spec(),
        lambda spec: spec.template.nodes.append(runs("start-node")),
        ["template.nodes[start-node]: nothing here, "],
    ),
    "arm of another branch": (
        branching(),
        lambda spec: setattr(arm(spec.template.nodes[0]), "id", "c-b"),
        ['template.nodes[a].branch_node.if_else.case.then_node.id: "b" here, "c-b" there'],
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_told(name: str) -> None:
    sent, change, told = DIFFERENT[name]
    said = differences(sent, copied(sent, change))
    assert len(said) == len(told)
    for line, beginning in zip(said, told, strict=True):
        assert line.startswith(beginning)
        assert line.endswith(" there")
        assert len(line) < 250


def test_inside_a_pod_spec() -> None:
    sent = copied(task_spec(), set_pod)
    there = copied(
        sent, lambda s: s.template.k8s_pod.pod_spec.update({"containers": [{"image": "b"}]})
    )
    path = "template.k8s_pod.pod_spec[containers][0][image]"
    assert differences(sent, there) == [f'{path}: "a" here, "b" there']


def test_a_sub_workflow_is_found_by_its_name() -> None:
    one, two = simple_workflow("flow.one"), simple_workflow("flow.two")
    changed = copied(two, lambda template: setattr(template.nodes[0].metadata, "name", "x"))
    found = workflow_spec(changed, one)
    assert differences(workflow_spec(one, two), found) == [
        'sub_workflows[flow.two].nodes[start].metadata.name: "start" here, "x" there',
        "sub_workflows: flow.one, flow.two here, flow.two, flow.one there",
    ]


def compile_as_flyte(spec: Any) -> None:
    template = spec.template
    nodes = [Node(id="start-node"), Node(id="end-node", inputs=template.outputs), *template.nodes]
    del template.nodes[:]
    template.nodes.extend(nodes)
    for node in template.nodes:
        for binding in node.inputs:
            if not binding.binding.promise.node_id:
                binding.binding.promise.node_id = "start-node"


def name_arms(spec: Any) -> None:
    inner = arm(spec.template.nodes[0])
    inner.id = "a-b"
    arm(inner).id = "a-b-x"


ADDED: dict[str, tuple[Spec, Change]] = {
    "nodes and promises": (workflow_spec(), compile_as_flyte),
    "order of what is before": (
        WorkflowSpec(template=workflow("f", [runs("a"), runs("b"), runs("c", {}, "b", "a")])),
        lambda spec: spec.template.nodes[2].upstream_node_ids.sort(),
    ),
    "an empty interface": (
        copied(workflow_spec(), lambda spec: spec.template.ClearField("interface")),
        lambda spec: spec.template.interface.CopyFrom(TypedInterface(inputs={}, outputs={})),
    ),
    "ids of arms": (branching(), name_arms),
    "inputs that are required": (
        LaunchPlanSpec(),
        lambda spec: spec.default_inputs.parameters["code"].CopyFrom(Parameter(required=True)),
    ),
    "no inputs at all": (LaunchPlanSpec(), lambda spec: spec.default_inputs.SetInParent()),
}


@pytest.mark.parametrize("name", ADDED)
def test_an_addition_of_the_server_is_no_difference(name: str) -> None:
    sent, change = ADDED[name]
    found = copied(sent, change)
    assert found != sent
    assert differences(sent, found) == []


def test_an_output_of_the_workflow() -> None:
    spec = workflow_spec()
    spec.template.outputs.add(var="n", binding=output("fit", "n"))
    assert differences(spec, copied(spec, compile_as_flyte)) == []


def test_nothing_is_changed_by_comparing() -> None:
    sent = workflow_spec()
    found = copied(sent, compile_as_flyte)
    before = found.SerializeToString(deterministic=True)
    assert differences(sent, found) == []
    assert found.SerializeToString(deterministic=True) == before


few = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
specs = st.one_of(messages(TaskSpec), messages(WorkflowSpec), messages(LaunchPlanSpec))


@given(specs)
@few
def test_nothing_differs_from_itself(spec: Spec) -> None:
    assert differences(spec, copied(spec, lambda made: None)) == []


@given(messages(TaskSpec), messages(TaskSpec), st.booleans())
@few
def test_of_tasks_every_difference_is_told(one: TaskSpec, other: TaskSpec, merged: bool) -> None:
    if merged:
        other.MergeFrom(one)
    same = one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    assert (differences(one, other) == []) is same
    assert len(differences(one, other)) == len(differences(other, one))


@given(messages(WorkflowSpec), messages(WorkflowSpec))
@few
def test_of_workflows_either_side_tells_of_differences(
    one: WorkflowSpec, other: WorkflowSpec
) -> None:
    assert bool(differences(one, other)) == bool(differences(other, one))


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1), st.data())
@few
def test_whatever_is_compiled_is_the_same(names: list[str], data: st.DataObject) -> None:
    nodes = []
    for index, name in enumerate(names):
        before = data.draw(
            st.lists(st.sampled_from(names[:index]), unique=True) if index else st.just([])
        )
        nodes.append(runs(name, CODE, *before))
    sent = WorkflowSpec(template=workflow("flow", nodes, {"code": TEXT}))
    found = copied(sent, compile_as_flyte)
    assert differences(sent, found) == []
    lost = copied(found, lambda made: made.template.nodes.pop())
    assert len(differences(sent, lost)) == 1
