"""The launch plan: the inputs that travel, the Parameters' defaults, and the schedule."""

from __future__ import annotations

from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.literals_pb2 import LiteralMap

from mfbuild.engine.model import Digest
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.cron import flyte_cron
from mfbuild.flyte.literals import literal
from mfbuild.flyte.names import CODE, PERSON, PLAN
from mfbuild.flyte.parameters import default_inputs


def launch_plan(spec: FlowSpec, parallelism: int) -> LaunchPlanSpec:
    """The flow's launch plan; `code`, `plan` and `person` are empty until push fixes them.

    `parallelism` is the number of nodes that run at once, 0 for the platform's own.
    """
    plan = LaunchPlanSpec(
        workflow_id=Identifier(resource_type=ResourceType.WORKFLOW, name=spec.name),
        default_inputs=default_inputs(spec),
        fixed_inputs=fixed_inputs("", "", "{}"),
        max_parallelism=parallelism,
    )
    if spec.schedule:
        cron = flyte_cron(spec.schedule.cron, spec.schedule.timezone)
        plan.entity_metadata.schedule.cron_schedule.schedule = cron
    return plan


def fixed_inputs(code: str, plan: str, person: str) -> LiteralMap:
    """What push fixes: the addresses of the code and of the plan, and the person's JSON."""
    values = {CODE: code, PLAN: plan, PERSON: person}
    return LiteralMap(literals={name: literal(value) for name, value in values.items()})


def address(url: str, digest: Digest) -> str:
    """`<url>#sha256=<hex>`: where a blob is, and what it must be (docs/flyte.md)."""
    return f"{url}#sha256={digest.hex}"
