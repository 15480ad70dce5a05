"""Flyte's own compiler, which needs no engine: what it accepts, and what it says of the rest."""

from __future__ import annotations

import pytest
from flyteidl.core.literals_pb2 import LiteralMap

from tests.cluster.compiler import PLATFORM_RESOURCES, check, closure, resource
from tests.cluster.handmade import TEXT, output, runs, task, text, workflow

pytestmark = pytest.mark.usefixtures("compiler")
IMAGE = "registry.example.com/image:1"
CODE = {"code": output("", "code")}


def test_a_workflow_with_nothing_wrong() -> None:
    made = closure(workflow("good", [runs("start")]), [task("start", IMAGE, "nothing")])
    assert check(made) == ""


def test_an_input_that_nothing_binds() -> None:
    needy = task("start", IMAGE, "nothing", inputs={"code": TEXT})
    said = check(closure(workflow("bad", [runs("start")]), [needy]))
    assert "ParameterNotBound" in said and "code" in said


def test_a_node_that_nothing_leads_to() -> None:
    nodes = [runs("start", {}, "nowhere")]
    said = check(closure(workflow("bad", nodes), [task("start", IMAGE, "nothing")]))
    assert "UnreachableNodes" in said


def test_a_task_that_is_not_there() -> None:
    said = check(closure(workflow("bad", [runs("start")]), [task("other", IMAGE, "nothing")]))
    assert "TaskReferenceNotFound" in said


def test_the_resource_of_an_execution() -> None:
    needy = task("start", IMAGE, "nothing", inputs={"code": TEXT})
    made = closure(workflow("good", [runs("start", CODE)], {"code": TEXT}), [needy])
    found = resource(made, "f1", LiteralMap(literals={"code": text("s3://code")}))
    assert found["kind"] == "FlyteWorkflow"
    assert found["metadata"]["namespace"] == "flows-test"
    assert found["executionId"] == {"project": "flows", "domain": "test", "name": "f1"}
    assert found["executionConfig"]["TaskResources"] == PLATFORM_RESOURCES


def test_no_resource_without_its_inputs() -> None:
    needy = task("start", IMAGE, "nothing", inputs={"code": TEXT})
    made = closure(workflow("good", [runs("start", CODE)], {"code": TEXT}), [needy])
    with pytest.raises(ValueError, match="code"):
        resource(made, "f1", LiteralMap())
