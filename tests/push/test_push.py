"""Bundles become registrations: once, safely, again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType

from mfbuild.bundle.model import BundleManifest
from mfbuild.bundle.read import Bundle
from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError, PushError
from mfbuild.flow.spec import FlowSpec
from mfbuild.flyte.names import CODE, PERSON
from mfbuild.flyte.templates import fixed
from mfbuild.push.dry_run import DryRun
from mfbuild.push.names import FlowWord, find_launch_plan
from mfbuild.push.push import Pushed, resolved_of
from mfbuild.push.record import site_of
from mfbuild.push.registered import registered_bundle
from tests.flyte.shapes import foreach, plain, whole
from tests.push.conftest import Target
from tests.push.pushing import PROJECT, make_bundle, push_to, train_flow

STEPS = ("start", "fit", "end")


def send(target: Target, bundle: Bundle, domain: str = "staging", **options: Any) -> Pushed:
    activate = options.pop("activate", False)
    return push_to(target.at(domain), bundle, target.deployment(**options), activate=activate)


def kinds(pushed: Pushed) -> list[str]:
    return sorted(f"{ResourceType.Name(i.resource_type)} {i.name}" for i in pushed.sent)


def states(target: Target, domain: str = "staging") -> dict[str, bool]:
    plans = target.at(domain).backend.registrations.launch_plans(PROJECT, domain, "TrainFlow")
    return {plan.id.version: plan.active for plan in plans}


ALL = [
    "LAUNCH_PLAN TrainFlow",
    *sorted(f"TASK TrainFlow.{step}" for step in STEPS),
    "WORKFLOW TrainFlow",
]


def test_a_push_registers_everything_and_the_next_one_nothing(
    target: Target, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    first = send(target, bundle)
    assert (kinds(first), first.sent_images, first.active) == (ALL, True, False)
    assert first.launch_plan.version == bundle.manifest.version
    if target.double:
        target.double.calls.clear()
    again = send(target, bundle)
    assert (again.sent, again.sent_images, again.notes) == ((), False, ())
    assert again.launch_plan == first.launch_plan
    if target.double:
        assert dict(target.double.calls) == {"GetLaunchPlan": 1}


@pytest.mark.parametrize("target", ["local"], indirect=True)
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_what_the_embedded_backend_has_lost_is_sent_again(
    tmp_path: Path, target: Target, damage: str
) -> None:
    with_plan = whole(foreach(foreach(plain)))
    bundle = make_bundle(tmp_path / "a", with_plan, domains=target.domains)
    first = send(target, bundle)
    folder = target.config.root / ".mfbuild/flyte"
    kept = folder / f"bundles/TrainFlow-{bundle.manifest.version}"
    files = sorted(p for p in (*folder.glob("blobs/*"), *kept.rglob("*")) if p.is_file())
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        file.unlink()
        if damage == "cut":
            file.write_bytes(content[:-1])
        dry = DryRun(target.at())
        push_to(dry.whole(), bundle, target.deployment(), activate=False)
        assert [call.split()[0] for call in dry.calls] in (["push"], ["upload"])
        again = send(target, bundle)
        assert (again.sent, again.launch_plan) == ((), first.launch_plan)
        (note,) = again.notes
        assert again.sent_images == (kept in file.parents)
        lost = "images" if again.sent_images else "code"
        assert note.startswith(f"the {lost} of launch plan `flows/staging/TrainFlow@")
        assert file.read_bytes() == content
        assert send(target, bundle).notes == ()


def test_one_line_of_a_step_registers_no_task_and_no_image(target: Target, tmp_path: Path) -> None:
    send(target, make_bundle(tmp_path / "a", domains=target.domains))
    changed = make_bundle(tmp_path / "b", domains=target.domains, code={"train.py": b"changed"})
    if target.double:
        target.double.calls.clear()
    pushed = send(target, changed)
    assert kinds(pushed) == ["LAUNCH_PLAN TrainFlow", "WORKFLOW TrainFlow"]
    if target.double:
        calls = target.double.calls
        assert (calls["CreateTask"], calls["CreateWorkflow"], calls["CreateLaunchPlan"]) == (
            0,
            1,
            1,
        )
        assert calls["PUT"] == 1


def test_other_packages_of_a_step_register_that_task_alone(target: Target, tmp_path: Path) -> None:
    send(target, make_bundle(tmp_path / "a", domains=target.domains))
    other = make_bundle(tmp_path / "b", domains=target.domains, packages={"fit": "pandas==2"})
    assert kinds(send(target, other)) == [
        "LAUNCH_PLAN TrainFlow",
        "TASK TrainFlow.fit",
        "WORKFLOW TrainFlow",
    ]


def test_the_addresses_are_of_what_was_uploaded(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    pushed = send(target, bundle, owner="bob")
    plan = target.at().backend.registrations.launch_plan(pushed.launch_plan)
    assert plan is not None
    url, _, digest = fixed(plan.spec, CODE).partition("#sha256=")
    assert digest == bundle.manifest.code.digest.hex
    data = (
        target.double.uploaded(url)
        if target.double
        else Path(url.removeprefix("file://")).read_bytes()
    )
    assert Digest.of(data).hex == digest
    assert fixed(plan.spec, PERSON) == '{"user":"bob"}'


def test_one_version_is_active_at_most(target: Target, tmp_path: Path) -> None:
    first = make_bundle(tmp_path / "a", domains=target.domains)
    second = make_bundle(tmp_path / "b", domains=target.domains, code={"train.py": b"changed"})
    versions = [bundle.manifest.version for bundle in (first, second)]
    assert send(target, first, activate=True).active
    assert not send(target, second).active
    assert states(target) == {versions[1]: False, versions[0]: True}
    assert send(target, second, activate=True).active
    assert states(target) == {versions[1]: True, versions[0]: False}
    assert send(target, first, activate=True).sent == ()
    assert states(target) == {versions[1]: False, versions[0]: True}


def test_who_pushed_first_is_told_and_kept(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    send(target, bundle)
    pushed = send(target, bundle, owner="bob")
    assert pushed.sent == ()
    assert pushed.notes == (
        f"launch plan `flows/staging/TrainFlow@{bundle.manifest.version[:12]}` was registered as "
        '{"user":"alice"}',
    )


def test_a_persons_words_are_nobody_elses_digest_and_the_token_is_not_told(
    target: Target, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    send(target, bundle, tags=("a#b",), production_token="production-secret")
    (note,) = send(target, bundle, tags=("a#c",), production_token="another-secret").notes
    assert note.endswith('was registered as {"tags":["a#b"],"user":"alice"}')


def test_a_production_token_is_in_the_launch_plan_alone(target: Target, tmp_path: Path) -> None:
    """Where Metaflow's own deployments have it too: with what runs in its name."""
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    pushed = send(target, bundle, production_token="production-secret", activate=True)
    assert "production-secret" not in repr(pushed)
    kinds = set()
    if target.double:
        state = target.double.state
        for table in (state.tasks, state.workflows, state.launch_plans):
            rows = "".join(str(row.message) for row in table.in_order())
            kinds |= {table.kind.lower()} if "production-secret" in rows else set()
    else:
        for file in target.config.root.rglob("*"):
            if file.is_file() and b"production-secret" in file.read_bytes():
                kinds.add(file.relative_to(target.config.root / ".mfbuild/flyte").parts[2])
    assert kinds == {"launch_plan"}


def test_another_content_under_the_same_version_is_refused(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    pushed = send(target, bundle)
    document = json.loads(bundle.manifest.encode())
    document["domains"]["staging"]["service_account"] = "robot"
    forged = replace(bundle, manifest=BundleManifest.parse(json.dumps(document).encode()))
    if target.double:  # the registry is asked first, and has another bundle of that version
        with pytest.raises(PushError, match="is there, and is something else"):
            send(target, forged)
        return
    with pytest.raises(FlyteError, match="has other content") as caught:
        send(target, forged)
    assert pushed.launch_plan.version[:12] in str(caught.value)
    assert "robot" in str(caught.value)


def test_what_differs_of_a_registered_task_is_told(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    wanted = resolved_of(bundle, site_of(bundle.manifest, target.at(), target.deployment()))
    other = TaskSpec(template=wanted.tasks["fit"])
    other.template.container.args.append("--more")
    assert target.at().backend.registrations.create(wanted.tasks["fit"].id, other)
    with pytest.raises(FlyteError) as caught:
        send(target, bundle)
    (problem,) = caught.value.problems
    version = wanted.tasks["fit"].id.version[:12]
    assert problem.message.startswith(
        f"task `flows/staging/TrainFlow.fit@{version}` has other content:\n  "
    )
    assert "--more" in problem.message
    assert states(target) == {}


def test_a_dry_run_changes_nothing_and_names_the_calls(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    dry = DryRun(target.at())
    push_to(dry.whole(), bundle, target.deployment(), activate=True)
    version = bundle.manifest.version
    assert sorted(call.split()[0] for call in dry.calls) == [
        *["CreateLaunchPlan", *["CreateTask"] * 3, "CreateWorkflow", "UpdateLaunchPlan"],
        *["push", "upload"],
    ]
    assert f"CreateLaunchPlan flows/staging/TrainFlow@{version}" in dry.calls
    assert states(target) == {}
    assert send(target, bundle).sent_images
    dry = DryRun(target.at())
    push_to(dry.whole(), bundle, target.deployment(), activate=False)
    assert dry.calls == []


def test_the_calls_of_a_dry_run_have_one_order(target: Target) -> None:
    """Whichever of the threads that register tasks comes first."""
    dry = DryRun(target.at())
    dry.upload("flows", "staging", "code.tar.gz", b"")
    for name in ("b", "c", "a"):
        task = Identifier(resource_type=ResourceType.TASK, project="flows", domain="d", name=name)
        dry.create(task, TaskSpec())
    tasks = [f"CreateTask flows/d/{name}@" for name in ("a", "b", "c")]
    assert dry.calls == ["upload flows/staging/e3b0c44298fc/code.tar.gz (0 B)", *tasks]


def test_a_version_is_promoted_as_it_is(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", domains=target.domains)
    version = send(target, bundle, activate=True).launch_plan.version
    found = registered_bundle(target.at(), FlowWord.parse(f"TrainFlow@{version[:8]}"))
    robot = target.deployment(owner="robot")
    pushed = push_to(target.at("production"), found, robot, activate=True)
    assert kinds(pushed) == ALL
    assert states(target, "production") == {version: True}
    assert states(target) == {version: True}


def test_project_prefixes_every_name(target: Target, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a", spec=in_project(), domains=target.domains)
    pushed = send(target, bundle, branch="exp")
    assert {i.name for i in pushed.sent} == {
        "recsys.test.exp.TrainFlow",
        *(f"recsys.test.exp.TrainFlow.{step}" for step in STEPS),
    }
    other = send(target, bundle, production=True)
    assert other.launch_plan.name == "recsys.prod.TrainFlow"
    found = find_launch_plan(target.at(), FlowWord("recsys.test.exp.TrainFlow"))
    assert '"branch":"exp"' in fixed(found.spec, PERSON)


def in_project() -> FlowSpec:
    from mfbuild.flow.spec import DecoratorSpec, Project

    decorator = DecoratorSpec("project", {"name": "recsys"}, explicit=True)
    return train_flow(project=Project("recsys"), decorators=(decorator,))
