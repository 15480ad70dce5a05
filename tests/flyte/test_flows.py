"""The repository's own flows: each compiles to the nodes that docs/flyte.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from mfbuild.engine.model import Digest
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.names import COUNT, ITERATION, PATH, SPLIT, TRAVELLING
from mfbuild.flyte.refuse import refuse
from mfbuild.flyte.resolve import Site, resolve
from mfbuild.flyte.templates import Compiled
from tests.flyte.flows import FLOWS, REFUSED, ROOT
from tests.flyte.test_shapes import check

Load = Callable[[str], FlowSpec]


@pytest.mark.parametrize("name", [name for name in FLOWS if name not in REFUSED])
def test_flows_of_the_repository_run_as_with_metaflow(name: str, loaded: Load) -> None:
    assert refuse(loaded(name)).problems == ()
    check(loaded(name))


def shape(name: str, load: Load) -> dict[str, str]:
    """Each node of a flow's workflow with its kind and what it waits for."""
    workflow = compile_flow(load(f"tests/flows/{name}.py")).workflow
    return {
        node.id: " ".join([str(node.WhichOneof("target")), *node.upstream_node_ids])
        for node in workflow.nodes
    }


def test_a_line_of_steps(loaded: Load) -> None:
    assert shape("linear", loaded) == {"start": "task_node", "end": "task_node start"}


def test_a_single_step(loaded: Load) -> None:
    assert shape("single", loaded) == {"only": "task_node"}


def test_steps_with_other_names(loaded: Load) -> None:
    assert shape("named", loaded) == {"begin": "task_node", "finish": "task_node begin"}


def test_branches_of_branches(loaded: Load) -> None:
    assert shape("nested_branch", loaded) == {
        "start": "task_node",
        "left": "task_node start",
        "left-a": "task_node left",
        "left-b": "task_node left",
        "left-join": "task_node left-a left-b",
        "right": "task_node start",
        "join": "task_node left-join right",
        "end": "task_node join",
    }


def test_a_foreach_is_an_array(loaded: Load) -> None:
    compiled = compile_flow(loaded("tests/flows/foreach.py"), parallelism=7)
    start, body, join, end = compiled.workflow.nodes
    array = body.array_node
    assert [array.node.task_node.reference_id.name, array.parallelism] == ["ForeachFlow.body", 7]
    assert list(array.bound_inputs) == sorted(TRAVELLING)
    promises = {b.var: b.binding.promise for b in [*body.inputs, *join.inputs]}
    assert [promises[SPLIT].node_id, promises[SPLIT].var] == ["start", "splits"]
    assert [promises[COUNT].node_id, promises[COUNT].var] == ["start", "count"]
    assert [list(n.upstream_node_ids) for n in (start, body, join, end)] == [
        [],
        ["start"],
        ["body"],
        ["join"],
    ]
    assert compiled.expansions == {}
    assert compiled.launch_plan.max_parallelism == 7


def test_an_array_runs_as_many_as_it_can_unless_told_otherwise(loaded: Load) -> None:
    array = compile_flow(loaded("tests/flows/foreach.py")).workflow.nodes[1].array_node
    assert array.WhichOneof("parallelism_option") is None


def test_a_switch_is_a_branch_node(loaded: Load) -> None:
    assert shape("switch", loaded) == {
        "start": "task_node",
        "start-chose": "branch_node start",
        "merge": "task_node start-chose",
        "end": "task_node merge",
    }
    branch = compile_flow(loaded("tests/flows/switch.py")).workflow.nodes[1]
    choice = branch.branch_node.if_else
    (second,) = choice.other
    first = choice.case
    assert [first.then_node.id, second.then_node.id] == ["fast", "careful"]
    comparison = second.condition.comparison
    assert [comparison.left_value.var, comparison.right_value.primitive.string_value] == [
        "choice",
        "careful",
    ]
    assert choice.error.message == "`start` chose none of its next steps"


def test_an_arm_of_several_steps_is_a_sub_workflow(loaded: Load) -> None:
    compiled = compile_flow(loaded("tests/flows/nested_switch.py"))
    choice = compiled.workflow.nodes[1].branch_node.if_else
    arm = choice.case.then_node
    assert [arm.id, arm.workflow_node.sub_workflow_ref.name] == [
        "again-to-end",
        "NestedSwitchFlow.again-to-end",
    ]
    (part,) = compiled.parts.values()
    assert [node.id for node in part.nodes] == ["again", "again-chose", "merge"]


def test_a_long_body_is_expanded_by_the_foreach_step(loaded: Load) -> None:
    assert shape("long_foreach", loaded) == {
        "start": "task_node",
        "join": "task_node start",
        "end": "task_node join",
    }
    body = compile_flow(loaded("tests/flows/long_foreach.py")).expansions["start"]["foreach"]
    travelling = dict.fromkeys(TRAVELLING, "same")
    assert body["inputs"] == {**travelling, PATH: "split"}
    assert [body["id"], body["tasks"], body["workflows"]] == [
        "first-to-join",
        ["first", "second"],
        ["first-to-join"],
    ]


def test_a_foreach_within_a_foreach_is_an_array_with_a_path(loaded: Load) -> None:
    compiled = compile_flow(loaded("tests/flows/nested_foreach.py"))
    (part,) = compiled.parts.values()
    assert [node.id for node in part.nodes] == ["outer", "inner", "inner-join"]
    assert list(part.nodes[1].array_node.bound_inputs) == sorted((*TRAVELLING, PATH))
    assert list(compiled.expansions) == ["start"]


def test_a_recursive_step_starts_itself(loaded: Load) -> None:
    expansions = compile_flow(loaded("tests/flows/recursive_switch.py")).expansions
    switch = expansions["loop"]["switch"]
    assert switch["end"] is None
    assert [switch["loop"]["id"], switch["loop"]["tasks"], switch["loop"]["workflows"]] == [
        "loop",
        ["loop"],
        [],
    ]
    assert switch["loop"]["inputs"][ITERATION] == "next"


def test_recursion_in_a_foreach_begins_anew_in_each_split(loaded: Load) -> None:
    compiled = compile_flow(loaded("tests/flows/recursive_in_foreach.py"))
    (part,) = compiled.parts.values()
    loop = part.nodes[1]
    bound = {b.var: b.binding for b in loop.inputs}
    assert bound[ITERATION].scalar.primitive.integer == 0
    assert bound[PATH].promise.var == PATH
    assert compiled.expansions["loop"]["switch"]["loop"]["inputs"][PATH] == "same"


# Bytes.

PRINT_DIGEST = """
import json, sys
from mfbuild.engine.model import Digest
from mfbuild.flow.codec import from_json
from mfbuild.flyte.compile import compile_flow
print(Digest.of(compile_flow(from_json(json.load(sys.stdin))).encode()))
"""


@pytest.mark.parametrize("name", ["decorated", "nested_foreach", "nested_switch", "parameters"])
def test_bytes_are_the_same_in_every_process(name: str, loaded: Load) -> None:
    import json

    from mfbuild.flow.codec import to_json

    spec = loaded(f"tests/flows/{name}.py")
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST],
            input=json.dumps(to_json(spec)),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "2")
    }
    assert digests == {str(Digest.of(compile_flow(spec).encode()))}


def test_golden(loaded: Load) -> None:
    """The digests change with the contract alone: then change them here, and FORMAT if need be."""
    spec = loaded("tests/flows/switch_in_foreach.py")
    compiled = compile_flow(spec)
    images = {step.name: f"registry.example.com/flows@sha256:{'0' * 64}" for step in spec.steps}
    site = Site("recsys", "staging", images, {"METAFLOW_DEFAULT_DATASTORE": "s3"})
    entities = resolve(compiled, site, version="f" * 40)
    assert entities.tasks["odd"].id.version == "9f0681e28107303b60cdeba729369770e99f9102"
    assert (
        Digest.of(compiled.encode()).hex
        == "c27b9b6d842d2971f5284ddaa36fa4d04d03672205dd4d5b92885416d30d1c0a"
    )
    assert Compiled.decode(compiled.encode()) == compiled
