"""What an execution runs: the registered launch plan or task, with the bundle of its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.workflow_pb2 import Node, NodeMetadata, TaskNode, WorkflowTemplate

from mfbuild.bundle.read import Bundle
from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError
from mfbuild.flyte.backend import describe
from mfbuild.flyte.literals import promise
from mfbuild.flyte.names import CODE, PLAN, base_name, node_id
from mfbuild.flyte.templates import environment_of, references
from mfbuild.local.embedded import bundles
from mfbuild.local.embedded.files import BLOBS
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from mfbuild.local.program import Program, kept, lay, workflow_inputs
from mfbuild.local.run_source import RunSource, from_bundle
from mfbuild.local.sandbox.pod import container_of
from mfbuild.local.workflow.model import Closure, Library, Values
from mfbuild.oci.layout import Extent
from mfbuild.runtime.inputs import PREFIX

_DIGEST = "#sha256="


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A registered workflow, or one task, with its inputs; a Runnable.

    `blobs` is the folder of what was uploaded; `parallelism` the number of nodes that may run at
    once, 0 for no bound of the launch plan's.
    """

    packaged: RunSource
    closure: Closure
    inputs: Values
    blobs: Path
    parallelism: int

    @property
    def first_image(self) -> str:
        steps = {base_name(task.id.name): task for task in self._tasks}
        alone = next(iter(self._tasks))
        return container_of(steps.get(self.packaged.spec.start, alone)).image

    @property
    def settings(self) -> dict[str, str]:
        """The METAFLOW_* settings of the domain, as far as all tasks have them."""
        found = [set(environment_of(task).items()) for task in self._tasks]
        return {n: v for n, v in set.intersection(*found) if n.startswith("METAFLOW_")}

    @property
    def _tasks(self) -> Iterable[TaskTemplate]:
        return self.closure.library.tasks.values()

    def program(self, folder: Path) -> Program:
        found = {name: self._laid(name, folder) for name in (CODE, PLAN) if name in self.inputs}
        addresses = {name: address for name, address in found.items() if address is not None}
        inputs = {**kept(self.packaged.spec, self.inputs, folder), **addresses}
        return Program(self.closure, inputs, addresses)

    def _laid(self, name: str, folder: Path) -> Literal | None:
        """The address of a copy beside the run of what was uploaded; None if that is elsewhere."""
        what = name.removeprefix(PREFIX)
        url, _, digits = self.inputs[name].scalar.primitive.string_value.partition(_DIGEST)
        if not url.startswith("file:"):
            return None
        blob = self.blobs / Path(digits).name
        if not digits or not blob.is_file():
            raise FlyteError(f"the {what} of the run is gone", where=url, hint="push it again")
        return lay(Extent(blob, 0, blob.stat().st_size), Digest(digits), folder / what)


def registered(
    entity: Identifier, given: Mapping[str, Literal], registrations: EmbeddedRegistrations
) -> RegisteredRun:
    """What runs when `entity`, a launch plan or a task, is started with the inputs `given`.

    FlyteError if it is not registered, or if its images are not kept.
    """
    if entity.resource_type == ResourceType.TASK:
        task = _found(registrations.get(entity), entity).template
        closure, inputs, parallelism = Closure(_alone(task), Library.of([task])), given, 0
    else:
        spec = _found(registrations.launch_plan(entity), entity).spec
        closure = _closure(spec.workflow_id, registrations)
        inputs, parallelism = workflow_inputs(spec, given), int(spec.max_parallelism)
    packaged = _packaged(entity, closure, inputs, registrations)
    return RegisteredRun(packaged, closure, inputs, registrations.files.root / BLOBS, parallelism)


def _closure(identifier: Identifier, registrations: EmbeddedRegistrations) -> Closure:
    workflow = _found(registrations.get(identifier), identifier)
    assert isinstance(workflow, WorkflowSpec), "BUG: a workflow's file has a task"
    templates = (workflow.template, *workflow.sub_workflows)
    tasks: dict[bytes, TaskTemplate] = {}
    for reference in references(node for template in templates for node in template.nodes):
        if reference.resource_type == ResourceType.TASK:
            key = reference.SerializeToString(deterministic=True)
            if key not in tasks:
                tasks[key] = _found(registrations.get(reference), reference).template
    return Closure(workflow.template, Library.of(tasks.values(), workflow.sub_workflows))


def _alone(task: TaskTemplate) -> WorkflowTemplate:
    """The workflow that flyteadmin makes of a single task, with the inputs of that."""
    inputs = task.interface.inputs
    workflow = WorkflowTemplate(id=task.id)
    workflow.id.resource_type = ResourceType.WORKFLOW
    workflow.interface.inputs.CopyFrom(inputs)
    step = base_name(task.id.name)
    node = Node(
        id=node_id(step),
        metadata=NodeMetadata(name=step, retries=task.metadata.retries),
        inputs=[promise(name, "", name) for name in sorted(inputs.variables)],
        task_node=TaskNode(reference_id=task.id),
    )
    workflow.nodes.append(node)
    return workflow


def _packaged(
    entity: Identifier, closure: Closure, inputs: Values, registrations: EmbeddedRegistrations
) -> RunSource:
    """The flow as it was packaged, its images under the names that they have in the tasks."""
    tasks = closure.library.tasks.values()
    images = {container_of(task).image: base_name(task.id.name) for task in tasks}
    for bundle in _bundles(entity, inputs, registrations):
        steps = bundle.manifest.steps
        if all(s in steps and n.endswith(f"@{steps[s].image.digest}") for n, s in images.items()):
            repository = next(iter(images)).rpartition("@")[0]
            named = {f"{repository}@{s.image.digest}": step for step, s in steps.items()}
            return replace(from_bundle(bundle), images=named)
    raise FlyteError(
        f"the images of the {describe(entity)} are not kept here",
        hint=f"push the flow to the domain `{entity.domain}` again",
    )


def _bundles(
    entity: Identifier, inputs: Values, registrations: EmbeddedRegistrations
) -> Iterator[Bundle]:
    """The kept bundles that may have the images: a launch plan's own, a task's those of its flow.

    The one whose code is meant comes first.
    """
    files = registrations.files
    if entity.resource_type == ResourceType.LAUNCH_PLAN:
        plan = _found(registrations.launch_plan(entity), entity)
        flow = base_name(entity.name)
        found = bundles.find(flow, plan.spec.workflow_id.version, files)
        yield from [found] if found else []
        return
    address = inputs[CODE].scalar.primitive.string_value if CODE in inputs else ""
    flow = entity.name.split(".")[-2] if "." in entity.name else ""
    of_flow = list(bundles.of_flow(flow, files))
    yield from sorted(of_flow, key=lambda b: not address.endswith(b.manifest.code.digest.hex))


_Found = TypeVar("_Found")


def _found(found: _Found | None, identifier: Identifier) -> _Found:
    if found is None:
        raise FlyteError(f"there is no {describe(identifier)}")
    return found
