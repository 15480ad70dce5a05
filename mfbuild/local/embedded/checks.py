"""What flyteadmin would refuse to register or to start, as far as that can be told from here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.interface_pb2 import VariableMap
from flyteidl.core.literals_pb2 import Literal
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import LiteralType, SimpleType
from flyteidl.core.workflow_pb2 import Node, WorkflowTemplate

from mfbuild.flyte.backend import KINDS, Spec, describe
from mfbuild.flyte.names import LONGEST_NAME
from mfbuild.flyte.templates import inner_nodes, references

Find = Callable[[Identifier], TaskSpec | WorkflowSpec | None]

_TYPES = {TaskSpec: "task", WorkflowSpec: "workflow", LaunchPlanSpec: "launch plan"}
_VERSION = re.compile(r"[A-Za-z0-9_.-]{1,63}\Z")  # Flyte 2 takes no longer ones
_PRIMITIVES = {
    "integer": SimpleType.INTEGER,
    "float_value": SimpleType.FLOAT,
    "string_value": SimpleType.STRING,
    "boolean": SimpleType.BOOLEAN,
    "datetime": SimpleType.DATETIME,
    "duration": SimpleType.DURATION,
}


def wrong_identifier(identifier: Identifier, spec: Spec) -> Iterator[str]:
    """What is wrong with the name under which `spec` is to be registered."""
    if KINDS.get(identifier.resource_type) != _TYPES[type(spec)]:
        yield f"it is a {_TYPES[type(spec)]}"
    if not 0 < len(identifier.name) <= LONGEST_NAME:
        yield f"its name has {len(identifier.name)} characters, not 1 to {LONGEST_NAME}"
    if not _VERSION.match(identifier.version):
        yield f"the version `{identifier.version}` is not 1 to 63 letters, digits, `.`, `_` or `-`"


def wrong_spec(identifier: Identifier, spec: Spec, find: Find) -> Iterator[str]:
    """What is wrong with `spec`; `find` gives what is registered (flyteadmin, validation/*.go)."""
    if isinstance(spec, TaskSpec):
        yield from _wrong_id(identifier, spec.template.id)
        yield from _wrong_task(spec.template)
    elif isinstance(spec, WorkflowSpec):
        yield from _wrong_id(identifier, spec.template.id)
        yield from _wrong_workflow(spec, find)
    else:
        yield from _wrong_launch_plan(spec, find)


def wrong_inputs(
    given: Mapping[str, Literal],
    wanted: VariableMap,
    *,
    defaults: Iterable[str] = (),
    fixed: Iterable[str] = (),
) -> Iterator[str]:
    """What keeps an execution from starting with `given`, of an entity that wants `wanted`."""
    variables = wanted.variables
    for name, value in sorted(given.items()):
        if name in fixed:
            yield f"the input `{name}` is fixed"
        elif name not in variables:
            yield f"there is no input `{name}`"
        elif not fits(value, variables[name].type):
            yield f"the input `{name}` has a value of another type"
    for name in sorted(variables.keys() - {*given, *defaults, *fixed}):
        yield f"the input `{name}` is missing"


def fits(value: Literal, kind: LiteralType) -> bool:
    """Whether a literal is of a type; of a union it may be plain or in a `Scalar.union`."""
    which = kind.WhichOneof("type")
    if which == "union_type":
        plain = value.scalar.union.value if value.scalar.HasField("union") else value
        return any(fits(plain, variant) for variant in kind.union_type.variants)
    if which == "collection_type":
        elements = value.collection.literals
        is_list = value.WhichOneof("value") == "collection"
        return is_list and all(fits(element, kind.collection_type) for element in elements)
    scalar = value.scalar.WhichOneof("value")
    if scalar == "none_type":
        return bool(kind.simple == SimpleType.NONE)
    primitive = value.scalar.primitive.WhichOneof("value") if scalar == "primitive" else None
    return which == "simple" and bool(_PRIMITIVES.get(primitive or "") == kind.simple)


def _wrong_id(identifier: Identifier, own: Identifier) -> Iterator[str]:
    """An entity is found by its identifier, and runs under the one in its template."""
    if own != identifier:
        yield f"its template is that of the {describe(own)}"


def _wrong_task(template: TaskTemplate) -> Iterator[str]:
    for field in ("metadata", "interface"):
        if not template.HasField(field):
            yield f"its template has no `{field}`"
    if not template.type:
        yield "its template has no `type`"
    target, container = template.WhichOneof("target"), template.container
    if target not in ("container", "k8s_pod"):
        yield "its template has no container"
    elif target == "container" and not container.image:
        yield "its container has no image"
    elif target == "container" and not (container.command or container.args):
        yield "its container has no command"


def _wrong_workflow(spec: WorkflowSpec, find: Find) -> Iterator[str]:
    parts = {bytes(p.id.SerializeToString(deterministic=True)) for p in spec.sub_workflows}
    for template in (spec.template, *spec.sub_workflows):
        yield from _wrong_nodes(template)
        for reference in references(template.nodes):
            if reference.resource_type == ResourceType.TASK:
                if find(reference) is None:
                    yield f"there is no {describe(reference)}"
            elif reference.SerializeToString(deterministic=True) not in parts:
                yield f"the {describe(reference)} is not among its sub-workflows"


def _wrong_nodes(template: WorkflowTemplate) -> Iterator[str]:
    """Nodes that do not make a graph."""
    nodes = list(_all_nodes(template.nodes))
    names = [node.id for node in nodes]
    if not nodes:
        yield f"the {describe(template.id)} has no nodes"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two nodes of the {describe(template.id)} have the id `{name}`"
    strangers = {up for node in nodes for up in node.upstream_node_ids} - {*names, "start-node"}
    for name in sorted(strangers):
        yield f"a node of the {describe(template.id)} waits for `{name}`, which is none"


def _all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes and the arms of their choices; what an ArrayNode maps is no node of the graph."""
    for node in nodes:
        yield node
        if node.HasField("branch_node"):
            yield from _all_nodes(inner_nodes(node))


def _wrong_launch_plan(spec: LaunchPlanSpec, find: Find) -> Iterator[str]:
    workflow = find(spec.workflow_id)
    if not isinstance(workflow, WorkflowSpec):
        yield f"there is no {describe(spec.workflow_id)}"
        return
    wanted, parameters = workflow.template.interface.inputs, spec.default_inputs.parameters
    values = {**defaults_of(spec), **spec.fixed_inputs.literals}
    for name in sorted(parameters.keys() & spec.fixed_inputs.literals.keys()):
        yield f"its input `{name}` is both fixed and a default"
    for name in sorted(parameters.keys() - wanted.variables.keys() - values.keys()):
        yield f"there is no input `{name}`"
    yield from wrong_inputs(values, wanted, defaults=wanted.variables)
    if spec.entity_metadata.HasField("schedule"):
        for name in sorted(wanted.variables.keys() - values.keys()):
            yield f"it has a schedule, and its input `{name}` no value"


def defaults_of(spec: LaunchPlanSpec) -> dict[str, Literal]:
    """The inputs of a launch plan that an execution may override, as far as they have a value."""
    return {
        name: parameter.default
        for name, parameter in spec.default_inputs.parameters.items()
        if parameter.WhichOneof("behavior") == "default"
    }
