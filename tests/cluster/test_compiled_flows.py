"""What `mfbuild.flyte` makes of every shape of flow, held against Flyte's own compiler."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from hypothesis import HealthCheck, given, settings

from mfbuild.flow.load import load_flow
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.compare import differences
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.refuse import refuse
from mfbuild.flyte.resolve import Resolved, Site, closure, resolve
from mfbuild.runtime.arguments import parse
from mfbuild.runtime.futures import ExpansionPlan, of_foreach, of_switch
from mfbuild.runtime.literals import literal
from tests.cluster.compiler import check, compiled, expansion
from tests.flyte.shapes import Draw, shapes, whole
from tests.threeways.workspace import SHAPES

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_flyte_compiles_every_flow(name: str, tmp_path: Path) -> None:
    spec = load_flow(
        SHAPES[name],
        workspace=SHAPES[name].parent,
        python=Path(sys.executable),
        cache_dir=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    ).spec
    assert refuse(spec).problems == ()
    assert said(spec) == []
    assert additions(spec) == []


@given(shapes)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_flyte_compiles_any_flow(shape: Draw) -> None:
    spec = whole(shape)
    assert said(spec) == []
    assert additions(spec) == []


def said(spec: FlowSpec) -> list[str]:
    """What the compiler says against a flow's workflow, and against all that its steps start."""
    resolved = entities(spec)
    made = [closure(resolved), *expansions(resolved)]
    return [problem for each in made if (problem := check(each))]


def additions(spec: FlowSpec) -> list[str]:
    """What differs between a flow's workflow and what GetWorkflow would answer with."""
    sent = closure(entities(spec))
    found = compiled(sent)
    assert sent.primary != found.primary
    assert [task.template for task in sent.tasks] == [task.template for task in found.tasks]
    return differences(workflow_spec(sent), workflow_spec(found))


def entities(spec: FlowSpec) -> Resolved:
    images = {step.name: f"registry.example.com/image@sha256:{'0' * 64}" for step in spec.steps}
    return resolve(compile_flow(spec), Site("flows", "test", images, {}), version="f" * 40)


def workflow_spec(made: CompiledWorkflowClosure) -> WorkflowSpec:
    parts = [part.template for part in made.sub_workflows]
    return WorkflowSpec(template=made.primary.template, sub_workflows=parts)


def expansions(resolved: Resolved) -> Iterator[CompiledWorkflowClosure]:
    """The workflow of each futures.pb that a step of the plan can write."""
    content = resolved.expansion_plan
    plan = ExpansionPlan.from_json(content) if content else None
    for name, started in (plan.steps if plan else {}).items():
        interface = resolved.tasks[name].interface
        arguments = parse([name, "--run", "r", "--path", "0"], {})
        inputs = {
            variable: literal(0 if type_.type.simple == 1 else "text")
            for variable, type_ in interface.inputs.variables.items()
        }
        assert plan
        jobs = (
            [of_foreach(plan, arguments, inputs, 2)]
            if "foreach" in started
            else [of_switch(plan, arguments, inputs, arm) for arm in started["switch"]]
        )
        for job in filter(None, jobs):
            yield expansion(DynamicJobSpec.FromString(job), interface)
