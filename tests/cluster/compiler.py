"""Flyte's own compiler, on templates that were not registered anywhere."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyteidl.core.compiler_pb2 import CompiledTask, CompiledWorkflow, CompiledWorkflowClosure
from flyteidl.core.dynamic_job_pb2 import DynamicJobSpec
from flyteidl.core.identifier_pb2 import WORKFLOW, Identifier
from flyteidl.core.interface_pb2 import TypedInterface
from flyteidl.core.literals_pb2 import LiteralMap
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate

from tests.cluster.build import program


def closure(
    workflow: WorkflowTemplate,
    tasks: Sequence[TaskTemplate],
    sub_workflows: Sequence[WorkflowTemplate] = (),
) -> CompiledWorkflowClosure:
    """The templates of a workflow in one message, in which nothing is compiled yet."""
    return CompiledWorkflowClosure(
        primary=CompiledWorkflow(template=workflow),
        sub_workflows=[CompiledWorkflow(template=sub) for sub in sub_workflows],
        tasks=[CompiledTask(template=task) for task in tasks],
    )


def expansion(job: DynamicJobSpec, interface: TypedInterface) -> CompiledWorkflowClosure:
    """The workflow that propeller makes of the futures.pb of a task with this interface."""
    workflow = WorkflowTemplate(
        id=Identifier(resource_type=WORKFLOW, name="dynamic"),
        interface=TypedInterface(outputs=interface.outputs),
        nodes=job.nodes,
        outputs=job.outputs,
    )
    return closure(workflow, job.tasks, job.subworkflows)


def check(templates: CompiledWorkflowClosure) -> str:
    """What the compiler that flyteadmin calls at CreateWorkflow says against it; "" if nothing."""
    done = _run(templates)
    return done.stderr.decode() if done.returncode else ""


def compiled(templates: CompiledWorkflowClosure) -> CompiledWorkflowClosure:
    """The same, compiled, as GetWorkflow answers with; ValueError with the compiler's words."""
    done = _run(templates)
    if done.returncode:
        raise ValueError(done.stderr.decode())
    return CompiledWorkflowClosure.FromString(done.stdout)


PLATFORM_RESOURCES = {"Requests": {"Memory": "500Mi"}, "Limits": {"Memory": "1Gi"}}
"""What flyteadmin gives each execution by its charts: memory of a task that asks for none, and at
most. CPU is left to propeller: the machines of tests have little."""


def resource(templates: CompiledWorkflowClosure, execution: str, inputs: LiteralMap) -> Any:
    """The FlyteWorkflow resource of an execution, as JSON; ValueError if it does not compile.

    `inputs` are all that the workflow takes; the namespace is `<project>-<domain>`.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(inputs.SerializeToString())
        file.flush()
        done = _run(templates, "-execution", execution, "-inputs", file.name)
    if done.returncode:
        raise ValueError(done.stderr.decode())
    made = json.loads(done.stdout)
    made["executionConfig"]["TaskResources"] = PLATFORM_RESOURCES
    return made


def _run(
    templates: CompiledWorkflowClosure, *options: str | Path
) -> subprocess.CompletedProcess[bytes]:
    argv = [program("flyteworkflow"), *options]
    return subprocess.run(argv, input=templates.SerializeToString(), capture_output=True)
