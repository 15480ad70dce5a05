"""What differs between a spec and what is registered, but for what a server adds of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import takewhile, zip_longest
from typing import Any

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.workflow_pb2 import Node
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString

from mfbuild.flyte.backend import Spec
from mfbuild.flyte.names import END, START
from mfbuild.flyte.templates import inner_nodes

WIDTH = 60


def differences(sent: Spec, found: Spec) -> list[str]:
    """A line for each difference between two specs of one kind, with its path and both values:
    `nodes[fit].task_node.reference_id.version: "a1" here, "b2" there`.

    Not counted is what a server adds, and nothing else:

    - `start-node` and `end-node` among a workflow's nodes; a promise of the workflow's input names
      `start-node`; the id of a branch's arm begins with the branch's; upstream node ids are
      sorted; an interface is there, with inputs and outputs (flytepropeller's pkg/compiler:
      workflow_compiler.go and, below validators/, bindings.go, branch.go, node.go, interface.go);
    - a launch plan's default inputs say of every workflow input that has neither a default nor
      a fixed value that it is required (flyteadmin's validation/launch_plan_validator.go).
    """
    here, there = deepcopy(sent), deepcopy(found)
    if isinstance(here, LaunchPlanSpec):
        _drop_required(here, there)
    for side in (here, there):
        for message in _all_messages(side):
            _unify(message)
    if isinstance(here, WorkflowSpec):
        _rename_arms(here, there)
    return list(_of_messages(here, there, ""))


def _drop_required(sent: LaunchPlanSpec, found: LaunchPlanSpec) -> None:
    ours, theirs = sent.default_inputs.parameters, found.default_inputs.parameters
    for name in [name for name, p in theirs.items() if p.required and name not in ours]:
        del theirs[name]


def _rename_arms(sent: WorkflowSpec, found: WorkflowSpec) -> None:
    """Give the arms of branches the ids that were sent, where more is only their branch's."""
    ours = {t.id.name: t.nodes for t in (sent.template, *sent.sub_workflows)}
    theirs = {t.id.name: t.nodes for t in (found.template, *found.sub_workflows)}
    for name in ours.keys() & theirs.keys():
        nodes = {node.id: node for node in theirs[name]}
        for node in ours[name]:
            if node.id in nodes:
                _rename_inner(node, nodes[node.id])


def _rename_inner(sent: Node, found: Node) -> None:
    for ours, theirs in zip(inner_nodes(sent), inner_nodes(found), strict=False):
        _rename_inner(ours, theirs)
        if found.HasField("branch_node") and theirs.id == f"{found.id}-{ours.id}":
            theirs.id = ours.id


def _all_messages(message: Message) -> Iterator[Message]:
    """A message and all in it; what is changed of one that was given counts for what follows."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for inner in value.values():
                    yield from _all_messages(inner)
        elif isinstance(value, Message):
            yield from _all_messages(value)
        else:
            for inner in value:
                yield from _all_messages(inner)


def _unify(message: Message) -> None:
    """Give a message the form that it has with and without a server's additions."""
    if change := _CHANGES.get(message.DESCRIPTOR.full_name):
        change(message)


def _unify_workflow(template: Any) -> None:
    template.interface.SetInParent()
    template.interface.inputs.SetInParent()
    template.interface.outputs.SetInParent()
    own = [n for n in template.nodes if n.id not in (START, END) or n.WhichOneof("target")]
    if len(own) < len(template.nodes):
        kept = [deepcopy(node) for node in own]
        del template.nodes[:]
        template.nodes.extend(kept)


def _unify_node(node: Any) -> None:
    node.upstream_node_ids.sort()


def _unify_promise(promise: Any) -> None:
    if promise.node_id == START:
        promise.node_id = ""


def _unify_launch_plan(spec: Any) -> None:
    spec.default_inputs.SetInParent()


_CHANGES: Mapping[str, Callable[[Any], None]] = {
    "flyteidl.core.WorkflowTemplate": _unify_workflow,
    "flyteidl.core.Node": _unify_node,
    "flyteidl.core.OutputReference": _unify_promise,
    "flyteidl.admin.LaunchPlanSpec": _unify_launch_plan,
}
_KEYS: Mapping[str, Callable[[Any], str]] = {
    "flyteidl.core.WorkflowTemplate": lambda template: template.id.name,
    "flyteidl.core.Node": lambda node: node.id,
    "flyteidl.core.Binding": lambda binding: binding.var,
    "flyteidl.core.KeyValuePair": lambda pair: pair.key,
}
"""What the items of a list are told apart by."""

_NAMELESS = ("google.protobuf.Value", "google.protobuf.ListValue")
"""Messages whose fields say nothing to people."""


def _of_messages(here: Message, there: Message, path: str) -> Iterator[str]:
    nameless = _is_only_map(here) or here.DESCRIPTOR.full_name in _NAMELESS
    for field in here.DESCRIPTOR.fields:
        inner = path if nameless else f"{path}.{field.name}".lstrip(".")
        ours, theirs = _present(here, field), _present(there, field)
        if _is_map(field):
            yield from _of_maps(ours, theirs, field, inner)
        elif not isinstance(ours, Message) and hasattr(ours, "extend"):
            yield from _of_lists(ours, theirs, field, inner)
        else:
            yield from _of_values(ours, theirs, field, inner)


def _of_maps(here: Any, there: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    value = field.message_type.fields_by_name["value"]
    for key in sorted({*here, *there}):
        yield from _of_values(here.get(key), there.get(key), value, f"{path}[{key}]")


def _of_lists(here: Any, there: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    key_of = _KEYS.get(field.message_type.full_name) if field.message_type else None
    if key_of is not None:
        ours, theirs = ({key_of(item): item for item in side} for side in (here, there))
        if len(ours) == len(here) and len(theirs) == len(there):
            yield from _of_keyed(ours, theirs, field, path)
            return
    for index, (one, other) in enumerate(zip_longest(here, there)):
        yield from _of_values(one, other, field, f"{path}[{index}]")


def _of_keyed(
    here: Mapping[str, Any], there: Mapping[str, Any], field: FieldDescriptor, path: str
) -> Iterator[str]:
    for key in [*here, *(key for key in there if key not in here)]:
        yield from _of_values(here.get(key), there.get(key), field, f"{path}[{key}]")
    ours, theirs = [k for k in here if k in there], [k for k in there if k in here]
    if ours != theirs:
        yield f"{path}: {_cut(', '.join(ours))} here, {_cut(', '.join(theirs))} there"


def _of_values(here: Any, there: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    """One value on each side, None where there is none."""
    here, there = _whole_map(here, there), _whole_map(there, here)
    if isinstance(here, Message) and isinstance(there, Message):
        yield from _of_messages(here, there, path)
    elif here is not there and repr(here) != repr(there):
        one, other = _shown(here, field), _shown(there, field)
        if isinstance(here, str) and isinstance(there, str):
            one, other = _around(one, other)
        yield f"{path}: {_cut(one)} here, {_cut(other)} there"


def _whole_map(value: Any, other: Any) -> Any:
    """`value`, or an empty message where there is none and the other one is but a filled map."""
    if value is None and isinstance(other, Message) and _is_only_map(other) and other.ListFields():
        return type(other)()
    return value


def _present(message: Message, field: FieldDescriptor) -> Any:
    """The value of a field; None where it can be absent, and is."""
    if field.has_presence and not message.HasField(field.name):
        return None
    return getattr(message, field.name)


def _shown(value: Any, field: FieldDescriptor) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Message):
        return f"{{{MessageToString(value, as_one_line=True)}}}"
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return str(field.enum_type.values_by_number[value].name)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _around(one: str, other: str) -> tuple[str, str]:
    """Two long strings from a little before where they differ."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    start = sum(1 for _ in same) - WIDTH // 4
    if start <= 0 or max(len(one), len(other)) <= WIDTH:
        return one, other
    return f"…{one[start:]}", f"…{other[start:]}"


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}…"


def _is_only_map(message: Message) -> bool:
    """Whether a message is a map and nothing else, like a LiteralMap."""
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields
    return len(fields) == 1 and _is_map(fields[0])


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
