"""A step as a Flyte task: its interface, command line, environment, resources and pod."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import KeyValuePair, RetryStrategy
from flyteidl.core.security_pb2 import Secret
from flyteidl.core.tasks_pb2 import (
    Container,
    Resources,
    RuntimeMetadata,
    TaskMetadata,
    TaskTemplate,
)
from flyteidl.core.types_pb2 import LiteralType

from mfbuild.flow.spec import FlowSpec, StepSpec
from mfbuild.flow.spec import Resources as Asked
from mfbuild.flyte.graph import FlowGraph, is_recursive
from mfbuild.flyte.literals import INTEGER, INTEGERS, STRING, interface
from mfbuild.flyte.names import (
    ALLOWED_RETRIES,
    CHOICE,
    COUNT,
    ITERATION,
    PATH,
    PLACED,
    SIZE,
    SPLIT,
    SPLITS,
    TRAVELLING,
    task_name,
)
from mfbuild.flyte.parameters import parameter_types
from mfbuild.flyte.pod_text import escaped
from mfbuild.flyte.pods import container_fields, pod_environment, pod_fields
from mfbuild.flyte.quantities import GPU, devices, is_guaranteed, mebibytes, requests
from mfbuild.flyte.secrets import flyte_secrets
from mfbuild.flyte.templates import entries, to_pod
from mfbuild.runtime.inputs import PREFIX

COMMAND = ("/opt/venv/bin/python", "-m", "mfbuild_runtime")
RUNTIME_VERSION = "1"
"""The version of the contract between templates and the runtime."""


def task_template(
    spec: FlowSpec, graph: FlowGraph, step: StepSpec, options: Sequence[str], asked: Asked
) -> TaskTemplate:
    """The template of a step's task: its image is `mfbuild:<step>`, its id has a name alone.

    `options` are Metaflow's top-level options, `asked` the step's resources after overrides.
    """
    inputs = step_inputs(spec, graph, step)
    template = TaskTemplate(
        id=Identifier(resource_type=ResourceType.TASK, name=task_name(spec.name, step.name)),
        type="python-task",
        metadata=_metadata(step),
        interface=interface(inputs, step_outputs(graph, step)),
        container=Container(
            image=f"mfbuild:{step.name}",
            command=COMMAND,
            args=_arguments(spec, step, inputs),
            env=_environment(spec, step, options),
            resources=_resources(step, asked),
        ),
    )
    for secret in flyte_secrets(step.secrets):
        template.security_context.secrets.add(
            group=secret.group,
            key=secret.key,
            env_var=secret.variable,
            mount_requirement=Secret.ENV_VAR,
        )
    if asked.shared_memory:
        memory = template.extended_resources.shared_memory
        memory.mount_name, memory.mount_path = "shared-memory", "/dev/shm"
        memory.size_limit = mebibytes(asked.shared_memory)
    pod, container = pod_fields(step), container_fields(step, asked)
    if pod or container:
        to_pod(template, pod, container)
    return template


def step_inputs(spec: FlowSpec, graph: FlowGraph, step: StepSpec) -> dict[str, LiteralType]:
    """The inputs of a step's task and their types."""
    types = {
        PATH: STRING if step.name in graph.inside else None,
        SPLIT: INTEGERS if step.name in graph.bodies else None,
        COUNT: INTEGER if step.name in graph.joins else None,
        ITERATION: INTEGER if is_recursive(step) else None,
    }
    parameters = parameter_types(spec) if step.name == spec.start else {}
    placed = {name: type_ for name, type_ in types.items() if type_ is not None}
    return dict.fromkeys(TRAVELLING, STRING) | placed | parameters


def step_outputs(graph: FlowGraph, step: StepSpec) -> dict[str, LiteralType]:
    """The outputs of a step's task: what decides which nodes follow, and how many."""
    if step.name in graph.branched:
        return {CHOICE: STRING}
    if step.type != "foreach":
        return {}
    return {SIZE: INTEGER, SPLITS: INTEGERS} if step.name in graph.flat else {SIZE: INTEGER}


def retries(step: StepSpec) -> int:
    """How often Flyte runs a step again: @catch has an attempt of its own, after the user's."""
    wanted = (step.retry.times if step.retry else 0) + (1 if step.catch else 0)
    return min(wanted, ALLOWED_RETRIES)


def _metadata(step: StepSpec) -> TaskMetadata:
    metadata = TaskMetadata(
        runtime=RuntimeMetadata(version=RUNTIME_VERSION, flavor="mfbuild"),
        retries=RetryStrategy(retries=retries(step)),
    )
    for field in ("labels", "annotations"):
        for name, value in (step.kubernetes.get(field) or {}).items():
            getattr(metadata.metadata, field)[name] = "" if value is None else str(value)
    return metadata


def _arguments(spec: FlowSpec, step: StepSpec, inputs: Mapping[str, LiteralType]) -> list[str]:
    """The command line of the contract; Flyte fills in the templates, each in one argument."""
    given = [name for name in (*TRAVELLING, *PLACED) if name in inputs]
    words = [step.name]
    for name in given:
        words += [f"--{name.removeprefix(PREFIX)}", "{{.inputs." + name + "}}"]
    words += ["--output", "{{.outputPrefix}}"]
    if step.name == spec.start:
        words += ["--input", "{{.input}}"]
    if step.retry and step.retry.times:
        words += ["--user-retries", str(min(step.retry.times, ALLOWED_RETRIES))]
        if delay := retry_delay(step):
            words += ["--retry-delay", str(delay)]
    return words


def retry_delay(step: StepSpec) -> int:
    """Seconds between two attempts; Flyte has no delay, so that the runtime waits."""
    return math.ceil(step.retry.minutes_between_retries * 60) if step.retry else 0


def _environment(spec: FlowSpec, step: StepSpec, options: Sequence[str]) -> list[KeyValuePair]:
    own = {
        "METAFLOW_RUNTIME_NAME": "flyte",
        "MFBUILD_FLOW_FILE": PurePosixPath(spec.file).name,
        "MFBUILD_OPTIONS": json.dumps(list(options)),
    }
    variables = {**step.environment, **pod_environment(step), **own}
    return [
        KeyValuePair(key=name, value=escaped(value)) for name, value in sorted(variables.items())
    ]


def _resources(step: StepSpec, asked: Asked) -> Resources:
    wanted = requests(asked)
    gpus = {name: amount for name, amount in devices(step, asked).items() if name == GPU}
    limits = wanted if is_guaranteed(step) else {}
    return Resources(requests=entries(wanted | gpus), limits=entries(limits | gpus))
