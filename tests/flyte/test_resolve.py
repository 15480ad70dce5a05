"""Templates and a domain's record become entities with versions of their own."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core.tasks_pb2 import Resources, TaskTemplate
from flyteidl.core.workflow_pb2 import WorkflowTemplate
from google.protobuf.json_format import MessageToDict

from mfbuild.engine.model import Digest
from mfbuild.errors import BundleError, UsageError
from mfbuild.flow.spec import FlowSpec
from mfbuild.flow.spec import Resources as Asked
from mfbuild.flyte.compile import compile_flow
from mfbuild.flyte.names import CODE, PERSON, PLAN
from mfbuild.flyte.resolve import Resolved, Site, closure, resolve
from mfbuild.flyte.templates import Compiled, environment_of
from tests.specs import flow, step

Load = Callable[[str], FlowSpec]

VERSION = "f" * 40


def site(spec: FlowSpec, **changes: Any) -> Site:
    images = {s.name: f"registry.example.com/{s.name}@sha256:{'0' * 64}" for s in spec.steps}
    return replace(Site("recsys", "staging", images, {"METAFLOW_USER": "flows"}), **changes)


def entities(spec: FlowSpec, **changes: Any) -> Resolved:
    return resolve(compile_flow(spec), site(spec, **changes), version=VERSION)


def versions(resolved: Resolved) -> Mapping[str, str]:
    return {step: task.id.version for step, task in resolved.tasks.items()}


def test_entities_have_all_that_a_registration_needs(loaded: Load) -> None:
    resolved = entities(loaded("tests/flows/linear.py"), service_account="runner")
    ids = [
        resolved.tasks["start"].id,
        resolved.workflow.id,
        resolved.launch_plan_id,
        resolved.launch_plan.workflow_id,
    ]
    assert {(i.project, i.domain) for i in ids} == {("recsys", "staging")}
    names = ["LinearFlow.start", "LinearFlow", "LinearFlow", "LinearFlow"]
    assert [i.name for i in ids] == names
    assert [i.resource_type for i in ids] == [1, 2, 3, 2]
    assert [i.version for i in ids[1:]] == [VERSION] * 3
    assert resolved.workflow.nodes[0].task_node.reference_id == resolved.tasks["start"].id
    assert resolved.tasks["start"].container.image.startswith("registry.example.com/start@sha256:")
    assert environment_of(resolved.tasks["start"])["METAFLOW_USER"] == "flows"
    assert resolved.launch_plan.security_context.run_as.k8s_service_account == "runner"


def test_a_task_is_its_own_version(loaded: Load) -> None:
    task = entities(loaded("tests/flows/linear.py")).tasks["start"]
    blank = TaskTemplate()
    blank.CopyFrom(task)
    blank.id.version = ""
    digest = Digest.of(blank.SerializeToString(deterministic=True)).hex
    assert task.id.version == digest[:40]


def test_a_change_of_one_step_registers_one_task(loaded: Load) -> None:
    spec = loaded("tests/flows/linear.py")
    images = {**site(spec).images, "end": f"registry.example.com/end@sha256:{'1' * 64}"}
    before, after = versions(entities(spec)), versions(entities(spec, images=images))
    assert before["start"] == after["start"] and before["end"] != after["end"]


def test_the_environment_of_a_step_wins_over_the_domains(loaded: Load) -> None:
    spec = loaded("tests/flows/decorated.py")
    settings = {"MODE": "domain", "METAFLOW_RUNTIME_NAME": "domain", "ONE": "1"}
    variables = environment_of(entities(spec, environment=settings).tasks["start"])
    assert [variables[n] for n in ("MODE", "METAFLOW_RUNTIME_NAME", "ONE")] == [
        "test",
        "flyte",
        "1",
    ]
    assert list(variables) == sorted(variables)


def test_pull_secrets_make_pods(loaded: Load) -> None:
    spec = loaded("tests/flows/linear.py")
    asked = {"image_pull_secrets": ["own"], "service_account": "flows"}
    first, *others = spec.steps
    spec = replace(spec, steps=(replace(first, kubernetes=asked), *others))
    resolved = entities(spec, image_pull_secrets=("own", "domain"))
    pods = {n: MessageToDict(t.k8s_pod.pod_spec) for n, t in resolved.tasks.items()}
    both = [{"name": "own"}, {"name": "domain"}]
    assert {name: pod["imagePullSecrets"] for name, pod in pods.items()} == {
        "start": both,
        "end": both,
    }
    assert pods["start"]["serviceAccountName"] == "flows"
    assert pods["end"]["containers"][0]["image"].startswith("registry.example.com/end@")
    assert environment_of(resolved.tasks["end"])["METAFLOW_USER"] == "flows"


def test_a_prefix_comes_before_every_name(loaded: Load) -> None:
    spec = loaded("tests/flows/nested_switch.py")
    resolved = entities(spec, prefix="ml.test.")
    assert resolved.tasks["start"].id.name == "ml.test.NestedSwitchFlow.start"
    assert resolved.workflow.id.name == "ml.test.NestedSwitchFlow"
    (part,) = resolved.sub_workflows
    assert part.id.name == "ml.test.NestedSwitchFlow.again-to-end"
    arm = resolved.workflow.nodes[1].branch_node.if_else.case.then_node
    assert arm.workflow_node.sub_workflow_ref == part.id


def test_the_plan_depends_on_no_version_but_its_templates_own(loaded: Load) -> None:
    spec = loaded("tests/flows/switch_in_foreach.py")
    compiled = compile_flow(spec)
    first = resolve(compiled, site(spec), version="1" * 40)
    second = resolve(compiled, site(spec), version="2" * 40)
    assert first.expansion_plan == second.expansion_plan
    assert first.workflow != second.workflow


def test_the_plan_holds_what_is_registered(loaded: Load) -> None:
    resolved = entities(loaded("tests/flows/recursive_in_foreach.py"))
    plan = json.loads(resolved.expansion_plan or b"")
    for name, text in plan["tasks"].items():
        assert TaskTemplate.FromString(b64decode(text)) == resolved.tasks[name]
    (part,) = (WorkflowTemplate.FromString(b64decode(t)) for t in plan["workflows"].values())
    registered = {t.id.SerializeToString() for t in resolved.tasks.values()}
    assert {n.task_node.reference_id.SerializeToString() for n in part.nodes} <= registered
    assert set(plan["tasks"]) == {"begin", "loop", "leave"}


def test_push_fixes_the_addresses(loaded: Load) -> None:
    resolved = entities(loaded("tests/flows/linear.py"), person='{"user":"a"}')
    fixed = resolved.with_addresses({CODE: "s3://c#sha256=1", PLAN: ""})
    literals = fixed.launch_plan.fixed_inputs.literals
    assert {n: v.scalar.primitive.string_value for n, v in literals.items()} == {
        CODE: "s3://c#sha256=1",
        PLAN: "",
        PERSON: '{"user":"a"}',
    }
    before = resolved.launch_plan.fixed_inputs.literals[CODE]
    assert before.scalar.primitive.string_value == ""


def test_resolving_changes_no_template(loaded: Load) -> None:
    spec = loaded("tests/flows/switch_in_foreach.py")
    compiled = compile_flow(spec)
    before = compiled.encode()
    resolve(compiled, site(spec, image_pull_secrets=("a",), prefix="x."), version=VERSION)
    assert compiled.encode() == before


def test_a_closure_holds_everything(loaded: Load) -> None:
    resolved = entities(loaded("tests/flows/nested_switch.py"))
    whole = closure(resolved)
    assert whole.primary.template == resolved.workflow
    assert [part.template for part in whole.sub_workflows] == list(resolved.sub_workflows)
    assert [task.template for task in whole.tasks] == list(resolved.tasks.values())


def test_a_name_that_is_too_long() -> None:
    spec = flow(step("start", kind="end"))
    with pytest.raises(UsageError) as caught:
        entities(spec, prefix="p" * 250 + ".")
    name = f"{'p' * 250}.TrainFlow.start"
    assert str(caught.value) == f"the name `{name}` is longer than 255 characters"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"format":2}', b"\xff", b'{"format":1,"flow":"F"}'],
)
def test_templates_that_are_none(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^the templates of Flyte cannot be read: "):
        Compiled.decode(data)


def test_damaged_templates(loaded: Load) -> None:
    data = compile_flow(loaded("tests/flows/linear.py")).encode()
    with pytest.raises(BundleError, match=r"^the templates of Flyte cannot be read: "):
        Compiled.decode(data.replace(b'"workflow":"', b'"workflow":"AAAA'))


DEFAULTS = {"cpu": "1", "memory": "4096Mi", "ephemeral-storage": "10240Mi"}


def _asked(resolved: Resolved, name: str) -> dict[str, dict[str, str]]:
    """What a step's container asks for, by the names of Kubernetes."""
    task = resolved.tasks[name]
    if not task.HasField("container"):
        found: dict[str, dict[str, str]] = MessageToDict(task.k8s_pod.pod_spec)["containers"][
            0
        ].get("resources", {})
        return found
    own = task.container.resources
    kinds = {"requests": own.requests, "limits": own.limits}
    return {
        kind: {Resources.ResourceName.Name(e.name): e.value for e in amounts}
        for kind, amounts in kinds.items()
        if amounts
    }


def test_a_step_that_asks_for_nothing_gets_the_sites_resources() -> None:
    spec = flow(
        step("start", next=("end",)), replace(step("end"), resources=Asked(memory=8000, gpu=1))
    )
    found = entities(spec, resources=DEFAULTS)
    assert _asked(found, "start") == {
        "requests": {"CPU": "1", "MEMORY": "4096Mi", "EPHEMERAL_STORAGE": "10240Mi"}
    }
    assert _asked(found, "end") == {
        "requests": {
            "MEMORY": "8000Mi",
            "GPU": "1",
            "CPU": "1",
            "EPHEMERAL_STORAGE": "10240Mi",
        },
        "limits": {"GPU": "1"},
    }
    assert _asked(entities(spec), "start") == {}


@pytest.mark.parametrize("secrets", [(), ("pull",)])
def test_a_pod_that_asks_for_nothing_gets_them_too(secrets: tuple[str, ...]) -> None:
    selected = {"node_selector": {"disk": "ssd"}}
    spec = flow(
        replace(step("start", next=("end",)), kubernetes=selected),
        replace(step("end"), kubernetes=selected, resources=Asked(cpu=2)),
    )
    found = entities(spec, resources=DEFAULTS, image_pull_secrets=secrets)
    assert _asked(found, "start") == {"requests": DEFAULTS}
    assert _asked(found, "end") == {"requests": {**DEFAULTS, "cpu": "2"}}
    assert _asked(entities(spec), "start") == {}
