"""The skeleton that flyteadmin puts around a task that is run alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flyteidl.admin.launch_plan_pb2 import INACTIVE, LaunchPlan, LaunchPlanClosure, LaunchPlanSpec
from flyteidl.admin.workflow_pb2 import WorkflowCreateRequest, WorkflowSpec
from flyteidl.core.identifier_pb2 import LAUNCH_PLAN, WORKFLOW, Identifier
from flyteidl.core.literals_pb2 import Binding, BindingData, RetryStrategy
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.core.types_pb2 import OutputReference
from flyteidl.core.workflow_pb2 import Node, NodeMetadata, TaskNode, WorkflowTemplate

from tests.flyteadmin.launch_plans import checked_spec
from tests.flyteadmin.node_ids import short_id
from tests.flyteadmin.refusals import not_found
from tests.flyteadmin.registration import columns_of, create_workflow
from tests.flyteadmin.state import Row, State, digest_of, key_of, now

PREFIX = ".flytegen."
RETRIES = 3


def launch_plan_of_task(state: State, identifier: Identifier) -> LaunchPlan:
    """The launch plan of a workflow of one node, `.flytegen.<task>`; both are made once."""
    row = state.tasks.rows.get(key_of(identifier))
    if row is None:
        raise not_found("TASK", identifier)
    template = row.message.closure.compiled_task.template
    workflow_id, plan_id = Identifier(), Identifier()
    for made, type_ in ((workflow_id, WORKFLOW), (plan_id, LAUNCH_PLAN)):
        made.CopyFrom(identifier)
        made.resource_type = type_
        made.name = PREFIX + identifier.name
    if key_of(workflow_id) not in state.workflows.rows:
        spec = WorkflowSpec(template=_skeleton(template))
        create_workflow(state, WorkflowCreateRequest(id=workflow_id, spec=spec))
    if key_of(plan_id) not in state.launch_plans.rows:
        _add_launch_plan(state, plan_id, workflow_id, template)
    return state.launch_plans.rows[key_of(plan_id)].message


def node_id(task: str) -> str:
    """The id of the skeleton's node: what a node's id may have of the task's name."""
    return short_id(re.sub(r"[^\w-]|_", "", task))


def _skeleton(task: TaskTemplate) -> WorkflowTemplate:
    name = node_id(task.id.name)
    retries = RetryStrategy(retries=RETRIES)
    if task.metadata.HasField("retries"):
        retries = task.metadata.retries
    node = Node(
        id=name,
        metadata=NodeMetadata(name=name, retries=retries),
        inputs=_bindings(task.interface.inputs.variables, ""),
        task_node=TaskNode(reference_id=task.id),
    )
    return WorkflowTemplate(
        interface=task.interface,
        nodes=[node],
        outputs=_bindings(task.interface.outputs.variables, name),
    )


def _bindings(names: Iterable[str], node: str) -> list[Binding]:
    return [
        Binding(var=name, binding=BindingData(promise=OutputReference(node_id=node, var=name)))
        for name in sorted(names)
    ]


def _add_launch_plan(
    state: State, plan_id: Identifier, workflow_id: Identifier, task: TaskTemplate
) -> None:
    spec = checked_spec(LaunchPlanSpec(workflow_id=workflow_id), task.interface)
    created = now()
    closure = LaunchPlanClosure(
        state=INACTIVE,
        expected_inputs=spec.default_inputs,
        expected_outputs=task.interface.outputs,
        created_at=created,
        updated_at=created,
    )
    message = LaunchPlan(id=plan_id, spec=spec, closure=closure)
    columns = columns_of(plan_id, created) | {"state": INACTIVE}
    state.launch_plans.write(key_of(plan_id), Row(message, columns, digest_of(message)))
