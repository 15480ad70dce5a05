"""The engine itself: each kind of node, retries and errors, on tasks made by hand."""

from __future__ import annotations

from collections import Counter

from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.errors_pb2 import ContainerError, ErrorDocument
from flyteidl.core.literals_pb2 import LiteralMap

from tests.cluster.compiler import closure
from tests.cluster.engine import Engine
from tests.cluster.handmade import (
    NUMBERS,
    TEXT,
    chooses,
    constants,
    contains,
    maps,
    numbers,
    output,
    runs,
    task,
    text,
    workflow,
    writes,
)

CODE = {"code": output("", "code")}


def shapes(image: str) -> CompiledWorkflowClosure:
    """start - a map - a branch to a sub-workflow - futures of two nodes - a flaky end."""
    made = writes(
        "outputs.pb", LiteralMap(literals={"choice": text("left"), "splits": numbers(range(3))})
    )
    late = [
        task("first", image, "nothing"),
        task("second", image, "nothing", "{{.inputs.split}}", inputs={"split": NUMBERS}),
    ]
    second = maps("second", {"split": constants(range(2))})
    second.upstream_node_ids.append("first")
    futures = writes("futures.pb", DynamicJobSpec(nodes=[runs("first"), second], tasks=late))
    started = {"choice": TEXT, "splits": NUMBERS}
    code = {"code": TEXT}
    tasks = [
        task("start", image, "task", "{{.outputPrefix}}", made, inputs=code, outputs=started),
        task("body", image, "nothing", "{{.inputs.split}}", "{{.inputs.code}}",
             inputs={"split": NUMBERS, **code}),
        task("inner", image, "nothing", "{{.inputs.code}}", inputs=code),
        task("right", image, "nothing"),
        task("dynamic", image, "task", "{{.outputPrefix}}", futures),
        task("end", image, "flaky", retries=1),
    ]  # fmt: skip
    nodes = [
        runs("start", CODE),
        maps("body", {"split": output("start", "splits"), **CODE}, ["code"]),
        chooses("choose", output("start", "choice"),
                {"left": contains("left", CODE), "right": runs("right")}),
        runs("dynamic", {}, "body", "choose"),
        runs("end", {}, "dynamic"),
    ]  # fmt: skip
    left = workflow("left", [runs("inner", CODE)], code)
    return closure(workflow("shapes", nodes, code), tasks, [left])


def test_every_kind_of_node_runs(flyte: Engine) -> None:
    inputs = LiteralMap(literals={"code": text("s3://code")})
    result = flyte.run(shapes(flyte.image), inputs)
    assert result.phase == "succeeded", result
    assert result.nodes["choose-right"] == "skipped"
    ran = Counter(pod.task for pod in result.pods)
    assert ran == Counter(start=1, body=3, inner=1, dynamic=1, first=1, second=2, end=2)
    mapped = {pod.args for pod in result.pods if pod.task in ("body", "second")}
    assert mapped == {
        *(("nothing", str(split), "s3://code") for split in range(3)),
        *(("nothing", str(split)) for split in range(2)),
    }
    assert [pod.exit_code for pod in result.pods if pod.task == "end"] == [1, 0]


def test_an_error_that_a_task_writes_is_not_retried(flyte: Engine) -> None:
    error = ContainerError(
        code="NoData", message="there is no data", kind=ContainerError.NON_RECOVERABLE
    )
    args = ("task", "{{.outputPrefix}}", writes("error.pb", ErrorDocument(error=error)))
    tasks = [task("start", flyte.image, *args, retries=3), task("end", flyte.image, "nothing")]
    nodes = [runs("start"), runs("end", {}, "start")]
    result = flyte.run(closure(workflow("failing", nodes), tasks), LiteralMap())
    assert result.phase == "failed"
    assert [pod.task for pod in result.pods] == ["start"]
    assert any("there is no data" in error for error in result.errors), result


def test_an_image_that_is_not_there_fails_the_run(flyte: Engine) -> None:
    image = f"{flyte.registry}/container@sha256:{'0' * 64}"
    made = closure(workflow("gone", [runs("start")]), [task("start", image, "nothing")])
    result = flyte.run(made, LiteralMap())
    assert result.phase == "failed"
    assert any("0000" in error for error in result.errors), result
