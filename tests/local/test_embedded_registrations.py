"""Registrations in files: written once, checked as flyteadmin checks them, one version active."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.launch_plan_pb2 import LaunchPlanSpec
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from flyteidl.core.identifier_pb2 import Identifier, ResourceType
from flyteidl.core.types_pb2 import LiteralType

from mfbuild.engine.model import Digest
from mfbuild.errors import FlyteError
from mfbuild.flyte.backend import Spec
from mfbuild.flyte.literals import BOOLEAN, INTEGER, INTEGERS, STRING, literal, none, optional
from mfbuild.flyte.names import CODE, RUN
from mfbuild.local.embedded.checks import fits
from mfbuild.local.embedded.files import component
from mfbuild.local.embedded.registrations import EmbeddedRegistrations
from tests.local.registering import FIRST, SECOND, backend, entities, register, resolved
from tests.local.workflows import numbers

TASK, WORKFLOW, LAUNCH_PLAN = ResourceType.TASK, ResourceType.WORKFLOW, ResourceType.LAUNCH_PLAN


@pytest.fixture
def registrations(tmp_path: Path) -> EmbeddedRegistrations:
    return backend(tmp_path).registrations


def of(kind: type[Spec], version: str = FIRST) -> tuple[Identifier, Any]:
    """The first entity of its kind in the sample flow, to be changed at will."""
    identifier, spec = next(e for e in entities(resolved(version)) if isinstance(e[1], kind))
    mine, own = Identifier(), kind()
    mine.CopyFrom(identifier)
    own.CopyFrom(spec)
    return mine, own


def test_what_is_registered_is_given_back_as_it_was_sent(
    registrations: EmbeddedRegistrations,
) -> None:
    found = resolved()
    assert register(registrations, found) == [True] * 5
    assert register(registrations, found) == [False] * 5
    for identifier, spec in entities(found):
        if isinstance(spec, LaunchPlanSpec):
            plan = registrations.launch_plan(identifier)
            assert plan is not None
            assert (plan.id, plan.spec, plan.active) == (identifier, spec, True)
        else:
            assert registrations.get(identifier) == spec


def test_what_is_there_never_changes(registrations: EmbeddedRegistrations) -> None:
    register(registrations, resolved())
    for kind in (TaskSpec, WorkflowSpec, LaunchPlanSpec):
        identifier, _ = of(kind)
        assert registrations.create(identifier, kind()) is False  # whatever it is
    for identifier, spec in entities(resolved()):
        if not isinstance(spec, LaunchPlanSpec):
            assert registrations.get(identifier) == spec


def test_nothing_is_there_before(registrations: EmbeddedRegistrations) -> None:
    for kind in (TaskSpec, WorkflowSpec):
        assert registrations.get(of(kind)[0]) is None
    assert registrations.launch_plan(of(LaunchPlanSpec)[0]) is None
    assert list(registrations.launch_plans("local", "staging", "TrainFlow")) == []
    assert registrations.projects() == {"local": ("staging", "production")}


def test_one_version_is_active(registrations: EmbeddedRegistrations) -> None:
    def states() -> list[tuple[str, bool]]:
        plans = registrations.launch_plans("local", "staging", "TrainFlow")
        return [(plan.id.version, plan.active) for plan in plans]

    first, second = resolved(FIRST), resolved(SECOND, memory=200)
    register(registrations, first)
    register(registrations, second)
    assert states() == [(SECOND, True), (FIRST, False)]  # the newest first
    registrations.set_active(first.launch_plan_id, active=True)
    assert states() == [(SECOND, False), (FIRST, True)]
    registrations.set_active(second.launch_plan_id, active=False)
    assert states() == [(SECOND, False), (FIRST, True)]  # it was not the one
    for _ in range(2):
        registrations.set_active(first.launch_plan_id, active=False)
        assert states() == [(SECOND, False), (FIRST, False)]
    identifier, _ = of(LaunchPlanSpec)
    identifier.version = "3" * 40
    with pytest.raises(FlyteError, match=r"there is no launch plan `local/staging/TrainFlow@333"):
        registrations.set_active(identifier, active=True)


def test_content_is_uploaded_once(registrations: EmbeddedRegistrations, tmp_path: Path) -> None:
    url = registrations.upload("local", "staging", "code", b"some")
    assert url.startswith((tmp_path / ".mfbuild/flyte/blobs").as_uri())
    path = Path(url.removeprefix("file://"))
    inode = path.stat().st_ino
    assert registrations.upload("local", "production", "../other", b"some") == url
    assert path.stat().st_ino == inode
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert registrations.upload("local", "staging", "code", b"some") == url
    assert path.read_bytes() == b"some"


HOSTILE = ("../../x", "..", ".", ".hidden", "a/b", "a%2Fb", "bundles", "tmp", "lock", "Flöw", " \n")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "one/two/three"
    registrations = backend(inner, projects={name: (name,)}).registrations
    identifier, spec = of(TaskSpec)
    for each in (identifier, spec.template.id):
        each.project = each.domain = each.name = name
    assert registrations.create(identifier, spec) is True
    assert registrations.get(identifier) == spec
    assert registrations.projects() == {name: (name,)}
    others = backend(inner, projects={}).registrations
    assert others.projects() == {name: (name,)}
    assert {p.name for p in tmp_path.iterdir()} == {"one"}
    assert {p.name for p in inner.iterdir()} == {".mfbuild", "store"}
    assert {p.name for p in (inner / ".mfbuild").iterdir()} == {"flyte"}


def test_names_stand_for_one_thing_each() -> None:
    names = [*HOSTILE, "x", "%2E.%2F..%2Fx", "%2E.", "%62undles", "flow.py"]
    assert len({component(name) for name in names}) == len(names)
    assert component("recsys.test.b_1.TrainFlow") == "recsys.test.b_1.TrainFlow"


Change = Callable[[Identifier, Any], object]

WRONG: list[tuple[type[Spec], Change, str]] = [
    (TaskSpec, lambda i, s: i.MergeFrom(Identifier(project="no")), "there is no project `no`"),
    (
        TaskSpec,
        lambda i, s: i.MergeFrom(Identifier(domain="stagin")),
        "the project `local` has no domain `stagin`",
    ),
    (TaskSpec, lambda i, s: i.MergeFrom(Identifier(name="n" * 256)), "its name has 256 characters"),
    (TaskSpec, lambda i, s: i.ClearField("name"), "its name has 0 characters, not 1 to 255"),
    (TaskSpec, lambda i, s: i.ClearField("version"), "the version `` is not 1 to 63 letters"),
    (TaskSpec, lambda i, s: i.MergeFrom(Identifier(version="v/1")), "the version `v/1` is not"),
    (TaskSpec, lambda i, s: i.MergeFrom(Identifier(version="v2")), "its template is that of the"),
    (TaskSpec, lambda i, s: i.MergeFrom(Identifier(resource_type=WORKFLOW)), "it is a task"),
    (TaskSpec, lambda i, s: s.template.ClearField("type"), "its template has no `type`"),
    (TaskSpec, lambda i, s: s.template.ClearField("metadata"), "its template has no `metadata`"),
    (TaskSpec, lambda i, s: s.template.ClearField("interface"), "its template has no `interface`"),
    (TaskSpec, lambda i, s: s.template.ClearField("container"), "its template has no container"),
    (TaskSpec, lambda i, s: s.template.container.ClearField("image"), "has no image"),
    (
        TaskSpec,
        lambda i, s: [s.template.container.ClearField(f) for f in ("args", "command")],
        "its container has no command",
    ),
    (
        WorkflowSpec,
        lambda i, s: s.template.nodes[1].task_node.reference_id.MergeFrom(Identifier(version="7")),
        "there is no task `local/staging/TrainFlow.train@7`",
    ),
    (WorkflowSpec, lambda i, s: s.template.ClearField("nodes"), "has no nodes"),
    (
        WorkflowSpec,
        lambda i, s: s.template.nodes.append(s.template.nodes[0]),
        "two nodes of the workflow `local/staging/TrainFlow@111111111111` have the id `start`",
    ),
    (
        WorkflowSpec,
        lambda i, s: s.template.nodes[0].upstream_node_ids.append("gone"),
        "waits for `gone`, which is none",
    ),
    (
        WorkflowSpec,
        lambda i, s: s.template.nodes.add(id="part").workflow_node.sub_workflow_ref.CopyFrom(i),
        "the workflow `local/staging/TrainFlow@111111111111` is not among its sub-workflows",
    ),
    (
        LaunchPlanSpec,
        lambda i, s: s.workflow_id.MergeFrom(Identifier(name="Other")),
        "there is no workflow `local/staging/Other@111111111111`",
    ),
    (
        LaunchPlanSpec,
        lambda i, s: s.fixed_inputs.literals["none"].CopyFrom(literal("x")),
        "there is no input `none`",
    ),
    (
        LaunchPlanSpec,
        lambda i, s: s.fixed_inputs.literals[CODE].CopyFrom(literal(7)),
        "the input `_code` has a value of another type",
    ),
    (
        LaunchPlanSpec,
        lambda i, s: s.fixed_inputs.literals[RUN].CopyFrom(literal("")),
        "its input `_run` is both fixed and a default",
    ),
    (
        LaunchPlanSpec,
        lambda i, s: (
            s.fixed_inputs.literals.pop(CODE),
            s.entity_metadata.schedule.cron_schedule.MergeFrom(
                type(s.entity_metadata.schedule.cron_schedule)(schedule="CRON_TZ=UTC 0 0 * * *")
            ),
        ),
        "it has a schedule, and its input `_code` no value",
    ),
]


@pytest.mark.parametrize(("kind", "change", "message"), WRONG, ids=[w[2] for w in WRONG])
def test_what_flyteadmin_refuses_is_refused(
    registrations: EmbeddedRegistrations, kind: type[Spec], change: Change, message: str
) -> None:
    for identifier, spec in entities(resolved()):
        if not isinstance(spec, kind) or isinstance(spec, TaskSpec):
            registrations.create(identifier, spec)
        else:
            break
    identifier, spec = of(kind, SECOND if kind is TaskSpec else FIRST)
    if kind is TaskSpec:
        identifier.version = spec.template.id.version = "v1"
    change(identifier, spec)
    with pytest.raises(FlyteError, match=r".") as caught:
        registrations.create(identifier, spec)
    assert any(message in problem.message for problem in caught.value.problems)


def test_all_that_is_wrong_is_told_at_once(registrations: EmbeddedRegistrations) -> None:
    identifier, spec = of(WorkflowSpec)
    with pytest.raises(FlyteError) as caught:
        registrations.create(identifier, spec)
    assert [p.message for p in caught.value.problems] == [
        "registering the workflow `local/staging/TrainFlow@111111111111`: there is no task "
        f"`local/staging/TrainFlow.{step}@{task.id.version[:12]}`"
        for step, task in resolved().tasks.items()
    ]


def _flipped(data: bytes) -> bytes:
    return data[:9] + bytes([data[9] ^ 1]) + data[10:]


@pytest.mark.parametrize("damage", [_flipped, lambda data: data[:-1], lambda data: b""])
def test_a_damaged_registration_counts_as_none_is_told_once_and_can_be_made_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    told: list[str] = []
    registrations = backend(tmp_path, warn=told.append).registrations
    register(registrations, resolved())
    plan, _ = of(LaunchPlanSpec)
    whole = registrations.launch_plan(plan)
    paths = list((tmp_path / ".mfbuild/flyte/local").rglob("*.pb"))
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o444
        path.chmod(0o644)
        path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        assert registrations.get(of(TaskSpec)[0]) is None
        assert registrations.get(of(WorkflowSpec)[0]) is None
        assert registrations.launch_plan(plan) is None
        assert list(registrations.launch_plans("local", "staging", plan.name)) == []
    assert len(told) == 3
    assert all(line.startswith("a registration is damaged: push it again (") for line in told)
    register(registrations, resolved())
    assert whole is not None
    found = registrations.launch_plan(plan)
    assert found is not None
    assert (found.id, found.spec) == (whole.id, whole.spec)
    again = backend(tmp_path).registrations
    assert again.get(of(TaskSpec)[0]) is not None  # and nobody is warned


def test_the_registration_of_another_name_is_none(
    registrations: EmbeddedRegistrations, tmp_path: Path
) -> None:
    register(registrations, resolved())
    first, second, *_ = sorted((tmp_path / ".mfbuild/flyte/local/staging/task").rglob("*.pb"))
    second.unlink()
    first.rename(second)
    found = [registrations.get(task.id) for task in resolved().tasks.values()]
    assert [f.template.id.name for f in found if f] == [
        task.id.name for task, f in zip(resolved().tasks.values(), found, strict=True) if f
    ]
    assert len([f for f in found if f]) == len(found) - 2


def test_a_damaged_mark_of_the_active_version_is_told(
    registrations: EmbeddedRegistrations, tmp_path: Path
) -> None:
    register(registrations, resolved())
    plan, _ = of(LaunchPlanSpec)
    registrations.set_active(plan, active=True)
    (marker,) = (tmp_path / ".mfbuild/flyte/local/staging/active").iterdir()
    marker.write_bytes(marker.read_bytes().replace(b"1", b"2"))
    told: list[str] = []
    again = backend(tmp_path, warn=told.append).registrations
    assert [p.active for p in again.launch_plans("local", "staging", plan.name)] == [False]
    assert told == [f"which version of `{plan.name}` is active is not known ({marker})"]
    again.set_active(plan, active=True)
    found = registrations.launch_plan(plan)
    assert found is not None
    assert found.active


def test_a_file_that_was_sent_and_is_damaged_is_not_kept(
    registrations: EmbeddedRegistrations, tmp_path: Path
) -> None:
    data = b"code" * 9
    registrations.upload("local", "staging", "code", data)
    assert registrations.keeps(Digest.of(data), len(data))
    (file,) = (tmp_path / ".mfbuild/flyte/blobs").iterdir()
    file.chmod(0o644)
    file.write_bytes(b"x" * len(data))
    assert not registrations.keeps(Digest.of(data), len(data))


def test_a_folder_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / ".mfbuild").write_text("a file")
    with pytest.raises(FlyteError, match="the embedded backend cannot be used: not a directory"):
        backend(tmp_path).registrations.upload("local", "staging", "code", b"some")


@pytest.mark.parametrize(
    ("value", "kind", "answer"),
    [
        (literal("a"), STRING, True),
        (literal(1), STRING, False),
        (literal(True), INTEGER, False),
        (literal(False), BOOLEAN, True),
        (numbers([1, 2]), INTEGERS, True),
        (literal(1), INTEGERS, False),
        (literal("a"), optional(STRING), True),
        (none(), optional(STRING), True),
        (literal(1), optional(STRING), False),
        (none(), STRING, False),
        (literal("a"), LiteralType(), False),
    ],
)
def test_literals_fit_their_types(value: Any, kind: LiteralType, answer: bool) -> None:
    assert fits(value, kind) is answer
