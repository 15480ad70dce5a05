"""The launch plan: the inputs that travel, the Parameters' defaults, and the schedule."""

from __future__ import annotations

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.cron import flyte_cron
from mfbuild.flyte.names import CODE, PERSON, PLAN
from mfbuild.flyte.parameters import default_inputs
from mfbuild.flyte.templates import fix


def launch_plan(spec: FlowSpec, parallelism: int) -> LaunchPlanSpec:
    """The flow's launch plan; `code`, `plan` and `person` are empty until push fixes them.

    `parallelism` is the number of nodes that run at once, 0 for the platform's own.
    """
    plan = LaunchPlanSpec(
        workflow_id=Identifier(resource_type=ResourceType.WORKFLOW, name=spec.name),
        default_inputs=default_inputs(spec),
        max_parallelism=parallelism,
    )
    fix(plan, {CODE: "", PLAN: "", PERSON: "{}"})
    if spec.schedule:
        cron = flyte_cron(spec.schedule.cron, spec.schedule.timezone)
        plan.entity_metadata.schedule.cron_schedule.schedule = cron
    return plan
