"""futures.pb: the plan's nodes with their ids and constants, as flyteidl reads them."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node, NodeMetadata, TaskNode, WorkflowTemplate
from google.protobuf.duration_pb2 import Duration

from mfbuild.runtime import futures
from mfbuild.runtime.arguments import Arguments, parse
from mfbuild.runtime.errors import NonRecoverable
from mfbuild.runtime.literals import literal, message

NODE = Node(
    metadata=NodeMetadata(name="outer", timeout=Duration(seconds=60)),
    task_node=TaskNode(reference_id=Identifier(name="F.outer", version="v")),
)
TASK = TaskTemplate(id=Identifier(name="F.outer"), type="python-task")
BODY = WorkflowTemplate(id=Identifier(name="F.outer-to-join"), nodes=[Node(id="a")])


def encoded(message: Any) -> str:
    return b64encode(message.SerializeToString()).decode()


def expansion(name: str, **inputs: str) -> dict[str, Any]:
    return {
        "id": name,
        "node": encoded(NODE),
        "inputs": inputs,
        "tasks": ["outer"],
        "workflows": ["outer-to-join"],
    }


PLAN = futures.ExpansionPlan.from_json(
    json.dumps(
        {
            "format": 1,
            "flow": "F",
            "steps": {
                "fan": {
                    "foreach": expansion(
                        "outer",
                        _path="split",
                        _code="same",
                        _iteration="first",
                    )
                },
                "loop": {
                    "switch": {
                        "loop": expansion(
                            "loop",
                            _iteration="next",
                            _path="same",
                            _run="same",
                        ),
                        "end": None,
                    }
                },
            },
            "tasks": {"outer": encoded(TASK), "other": encoded(TASK)},
            "workflows": {"outer-to-join": encoded(BODY)},
        }
    ).encode()
)


def read(data: bytes | None) -> tuple[DynamicJobSpec, dict[str, dict[str, Any]]]:
    """The job, and the constants of each node by the node's id."""
    assert data is not None
    job = DynamicJobSpec.FromString(data)
    constants = {}
    for node in job.nodes:
        bound = {b.var: b.binding.scalar.primitive for b in node.inputs}
        constants[node.id] = {k: getattr(p, p.WhichOneof("value")) for k, p in bound.items()}
        assert [b.var for b in node.inputs] == sorted(bound)
    return job, constants


def arguments(argv: str) -> Arguments:
    return parse(argv.split(), {})


def inputs(of: Arguments) -> dict[str, bytes]:
    return {name: literal(value) for name, value in of.inputs.items()}


@pytest.mark.parametrize(("argv", "prefix"), [("fan", ""), ("fan --path 4/0", "4/0/")])
def test_a_foreach_starts_a_node_for_each_split(argv: str, prefix: str) -> None:
    step = arguments(f"{argv} --code s3://b/c")
    job, constants = read(futures.of_foreach(PLAN, step, inputs(step), 3))
    assert constants == {
        f"outer-{i}": {
            "_path": f"{prefix}{i}",
            "_code": "s3://b/c",
            "_iteration": 0,
        }
        for i in range(3)
    }
    assert job.min_successes == 3
    assert [job.tasks[:], job.subworkflows[:]] == [[TASK], [BODY]]
    assert [(o.var, o.binding.scalar.primitive.integer) for o in job.outputs] == [("count", 3)]
    for node in job.nodes:
        assert (node.metadata, node.task_node) == (NODE.metadata, NODE.task_node)


def test_a_loop_starts_itself_with_the_next_iteration() -> None:
    step = arguments("loop --iteration 6 --path 2 --run r")
    job, constants = read(futures.of_switch(PLAN, step, inputs(step), "loop"))
    assert constants == {"loop": {"_iteration": 7, "_path": "2", "_run": "r"}}
    assert (job.min_successes, len(job.outputs)) == (1, 0)


def test_the_end_of_a_loop_starts_nothing() -> None:
    step = arguments("loop --iteration 6")
    assert futures.of_switch(PLAN, step, inputs(step), "end") is None
    assert futures.is_dynamic(PLAN, "loop")


def test_a_step_that_the_plan_does_not_know_is_not_dynamic() -> None:
    step = arguments("flat")
    assert futures.of_foreach(PLAN, step, {}, 3) is None
    assert futures.of_switch(PLAN, step, {}, "a") is None
    assert not futures.is_dynamic(PLAN, "flat")


def test_the_bytes_are_those_of_the_contract() -> None:
    step = arguments("loop --iteration 0 --path 1 --run r")
    job, _ = read(futures.of_switch(PLAN, step, inputs(step), "loop"))
    node = NODE.SerializeToString()
    own = Node(id="loop", inputs=job.nodes[0].inputs).SerializeToString(deterministic=True)
    bare = DynamicJobSpec(min_successes=1, tasks=[TASK], subworkflows=[BODY]).SerializeToString()
    start = message(1, node + own)
    assert futures.of_switch(PLAN, step, inputs(step), "loop") == start + bare


def test_more_than_propeller_reads_is_refused_with_what_to_do() -> None:
    step = arguments("fan --code c")
    assert futures.of_foreach(PLAN, step, inputs(step), 19_000) is not None
    with pytest.raises(
        NonRecoverable, match="step `fan` starts 30000 tasks at once, which takes"
    ) as e:
        futures.of_foreach(PLAN, step, inputs(step), 30_000)
    assert "two nested foreaches" in str(e.value) and "maxDownloadMBs" in str(e.value)
    wide = parse(["fan", "--code", "c"], {"MFBUILD_MAX_FUTURES_MB": "10"})
    assert futures.of_foreach(PLAN, wide, inputs(step), 30_000) is not None


def test_a_plan_of_another_time_is_refused() -> None:
    with pytest.raises(NonRecoverable, match="the plan has format `2`; this image reads 1"):
        futures.ExpansionPlan.from_json(b'{"format": 2}')
    step = replace(arguments("fan --code c"), step="x")
    plan = futures.ExpansionPlan({"x": {"foreach": expansion("x", code="copied")}}, {}, {})
    with pytest.raises(NonRecoverable, match="the plan binds `code` to `copied`"):
        futures.of_foreach(plan, step, {}, 1)
